"""Train the teacher: VoiceGrad in its DDPM form (FastVoiceGrad section 2; arXiv 2010.02977).

E over t, eps of |prediction - prediction*|_1, where the prediction is eps as published or v (a setting), and
everything, x0, speaker and content, is of one voice.
"""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from ...diffusion import InitialState, cosine_schedule, diffuse
from ...errors import InputError
from ..checkpoint import load_network, read_meta
from ..data.crops import Crop, Crops, statistics
from ..data.embed import load_speaker
from ..data.perturb import PerturbConfig, draw_perturbations
from ..data.store import Store
from ..loop import Batch, LoopConfig, Scalars, Task
from ..models.blocks import inner
from ..models.speaker import SpeakerEncoder
from ..models.unet import UNet, UNetConfig
from ..recipe import build


@dataclass(frozen=True)
class ScheduleConfig:
    """The cosine schedule and the step at which conversion starts."""

    steps: int = 1000
    offset: float = 0.008
    max_beta: float = 0.999
    start: int = 950  # S_K; never `steps` itself, where nothing of the source is left
    initial: InitialState = "diffused"  # what is read as x_{S_K}

    def alpha_bar(self) -> Tensor:
        return torch.from_numpy(cosine_schedule(self.steps, self.offset, self.max_beta)).float()


@dataclass(frozen=True)
class ConversionData:
    """What teacher and student read."""

    store: str
    frames: int = 128  # of a crop
    corpora: dict[str, float] = field(default_factory=dict)
    parallel: float = 0.0  # how often the source is another voice's recording of the text, where there is one
    other_recording: float = 0.5  # how often the speaker embedding is of another recording of the voice
    reference_frames: int = 0  # of the voice, never of the crop: for a draft
    reference_windows: int = 3  # that they come from
    margin: int = 8  # frames around the crop that no reference shows either
    context: int = 0  # frames around a crop that a content encoder in training hears, too, `margin` of them after it
    # How often a crop and its references move to a voice that nobody has, so that a corpus of few voices teaches
    # to follow any; what moves them; and the speaker encoder's checkpoint, which says who that is.
    augmented_voices: float = 0.0
    voice_augmentation: PerturbConfig = field(
        default_factory=lambda: PerturbConfig(formant=1.15, pitch=1.3, equaliser=0.3, gain=0.0, noise=0.0)
    )
    speaker: str = ""


@dataclass(frozen=True)
class TeacherRecipe:
    data: ConversionData
    loop: LoopConfig
    model: UNetConfig = field(default_factory=UNetConfig)
    schedule: ScheduleConfig = field(default_factory=ScheduleConfig)


def require_references(data: ConversionData) -> None:
    """Raises InputError where there are none."""
    if not data.reference_frames:
        raise InputError("a draft needs data.reference_frames above 0; set it, e.g. to 384")


def require_speaker(data: ConversionData) -> None:
    """Raises InputError where new voices could not be speaker_conditions."""
    if not (data.speaker and data.reference_frames):
        raise InputError(
            "data.augmented_voices needs data.reference_frames above 0 and data.speaker, the speaker encoder's checkpoint"
        )


class ConversionCrops:
    """Crops of (mel, speaker, content) of one voice; all networks of a conversion are trained on these."""

    def __init__(self, data: ConversionData, split: str, describe: bool = False) -> None:
        """With `describe`, batches say what the speaker teacher makes of the voices."""
        self.data, self.describe = data, describe
        self.store = Store(data.store)
        self.crops = Crops(self.store, split, data.frames, data.corpora if split == "train" else None)
        self.by_voice: dict[str, list[int]] = defaultdict(list)
        for row, entry in enumerate(self.store.entries):
            self.by_voice[entry.recording.voice].append(row)
        self.speaker = None
        if data.augmented_voices and split == "train":
            require_speaker(data)
            self.speaker = load_speaker(data.speaker)
        self.median_pitch = {voice: self._median_pitch(rows) for voice, rows in self.by_voice.items()}
        self.starts = np.array([entry.start for entry in self.store.entries])

    def _median_pitch(self, rows: list[int]) -> float:
        pitch = np.concatenate([self.store.array("pitch")[self.store.entries[row].slice] for row in rows])
        return float(np.median(pitch[pitch > 0])) if (pitch > 0).any() else 150.0  # never voiced: of no matter

    def verified(self, voice: str) -> np.ndarray:
        """The speaker teacher's embedding of a voice, (192,): the mean of what it was asked about."""
        embeddings = self.store.array("speaker_teacher")[self.by_voice[voice]]
        mean = embeddings[np.isfinite(embeddings[:, 0])].mean(0)
        return np.asarray(mean / np.linalg.norm(mean))

    def speaker_row(self, crop: Crop, random: np.random.Generator) -> int:
        if random.random() >= self.data.other_recording:
            return crop.row
        return int(random.choice(self.by_voice[self.store.entries[crop.row].recording.voice]))

    def reference(self, crop: Crop, random: np.random.Generator) -> np.ndarray:
        """Numbers of `reference_frames` frames of the crop's voice, in windows, none from the crop itself."""
        rows = self.by_voice[self.store.entries[crop.row].recording.voice]
        frames = np.concatenate([np.r_[self.store.entries[row].slice] for row in rows])
        first, last = crop.start - self.data.margin, crop.start + crop.frames + self.data.margin
        free = frames[(frames < first) | (frames >= last)]
        free = free if len(free) >= self.data.margin else frames
        starts = random.integers(len(free), size=self.data.reference_windows)
        lengths = [len(part) for part in np.array_split(range(self.data.reference_frames), len(starts))]
        return np.concatenate([free[(a + np.arange(n)) % len(free)] for a, n in zip(starts, lengths, strict=True)])

    def source(self, crop: Crop, random: np.random.Generator) -> np.ndarray:
        """Numbers of the frames that say what the crop says: its own, or its twin's."""
        own = np.arange(crop.start, crop.start + crop.frames)
        if random.random() < self.data.parallel:
            twin = self.store.array("twin")[own]
            return own if (twin < 0).any() else twin
        return own

    def heard(self, frames: np.ndarray) -> tuple[Tensor, Tensor]:
        """The mel (B, 80, T + context) around frames (B, T) of one recording each, and where in it they are, (B, T).

        A recording's first or last frame stands for what lies beyond; what says the crop very slowly loses its start.
        """
        length = frames.shape[1] + self.data.context
        first = frames.max(1, keepdims=True) + 1 + self.data.margin - length
        entries = [self.store.entries[i] for i in np.searchsorted(self.starts, frames[:, 0], "right") - 1]
        bounds = np.array([(e.start, e.start + e.frames - 1) for e in entries])
        window = np.clip(first + np.arange(length), bounds[:, :1], bounds[:, 1:])
        return self._frames("mel", window), torch.from_numpy((frames - first).clip(min=0))

    def _frames(self, name: str, frames: np.ndarray) -> Tensor:
        """An array of the store at frames (B, N), transposed: (B, C, N)."""
        return torch.from_numpy(self.store.array(name)[frames].astype(np.float32)).transpose(1, 2).contiguous()

    def draw(self, random: np.random.Generator, size: int) -> Batch:
        """mel (B, 80, T), crop_content (B, C, T), speaker (B, S), pitch (B, T) and median_pitch (B,) of the voice in
        Hz; of what is to be said source (B, 80, T), a mel, and content (B, C, T); with `reference_frames` N also
        reference (B, 80, N) and reference_content (B, C, N); to describe the voices voice (B, S'); with `augmented_voices`
        augmented (B,), whose voice is a new one, in all but `source`, `voice` and the contents; with `context` L the
        crop's units (B, T) and, for who hears contents anew, heard and crop_context (B, 80, T + L) around what is to be
        said and around the crop, and source_context_index and crop_context_index (B, T), where in these that is."""
        drawn = self.crops.draw(random, size)
        sources = np.stack([self.source(crop, random) for crop in drawn])
        rows = [self.speaker_row(crop, random) for crop in drawn]
        voices = [self.store.entries[crop.row].recording.voice for crop in drawn]
        batch = {
            "mel": self.crops.take("mel", drawn),
            "source": self._frames("mel", sources),
            "content": self._frames("content", sources),
            "speaker": torch.from_numpy(np.asarray(self.store.array("speaker")[rows], dtype=np.float32)),
            "pitch": self.crops.take("pitch", drawn),
            "median_pitch": torch.tensor([self.median_pitch[v] for v in voices]),
            "crop_content": self.crops.take("content_unperturbed", drawn),
        }
        if self.describe:
            batch["voice"] = torch.from_numpy(np.stack([self.verified(v) for v in voices]))
        if self.data.reference_frames:
            frames = np.stack([self.reference(crop, random) for crop in drawn])
            batch["reference"] = self._frames("mel", frames)
            batch["reference_content"] = self._frames("content_unperturbed", frames)
        if self.data.context:
            batch["units"] = self.crops.take("units", drawn)
            batch["heard"], batch["source_context_index"] = self.heard(sources)
            own = np.stack([np.arange(crop.start, crop.start + crop.frames) for crop in drawn])
            batch["crop_context"], batch["crop_context_index"] = self.heard(own)
        return batch if self.speaker is None else self._move(batch, random, self.speaker)

    @torch.no_grad()
    def _move(self, batch: Batch, random: np.random.Generator, speaker: SpeakerEncoder) -> Batch:
        """Some items to new voices."""
        size = len(batch["mel"])
        augmented = torch.from_numpy(random.random(size) < self.data.augmented_voices)
        voices = draw_perturbations(random, size, self.data.voice_augmentation)
        changed = {name: voices(batch[name]) for name in ("mel", "reference")}
        changed["pitch"] = batch["pitch"] * voices.pitch[:, None]
        changed["median_pitch"] = batch["median_pitch"] * voices.pitch
        changed["speaker"] = speaker(changed["reference"])
        apart = {name: augmented.view(-1, *[1] * (value.ndim - 1)) for name, value in changed.items()}
        return batch | {n: torch.where(apart[n], x, batch[n]) for n, x in changed.items()} | {"augmented": augmented}


def normal(random: np.random.Generator, like: Tensor) -> Tensor:
    return torch.from_numpy(random.standard_normal(like.shape, dtype=np.float32))


def draw_steps(random: np.random.Generator, size: int, first: int, last: int) -> Tensor:
    """t uniform in first..last."""
    return torch.from_numpy(random.integers(first, last + 1, size))


def hints_of(unet: UNet, batch: Batch) -> Tensor | None:
    """What a network sees beside x_t of a batch's crops; None for one that sees nothing."""
    return unet.hints(batch["content"], batch.get("reference_content"), batch.get("reference"), batch.get("pitch"))


def load_unet(path: str | Path) -> UNet:
    """The U-Net of a teacher's or a student's checkpoint."""
    model = UNet(build(UNetConfig, read_meta(path)["model"]))
    load_network(path, model)
    return model


class TeacherTask(Task):
    name = "teacher"

    def __init__(self, recipe: TeacherRecipe) -> None:
        self.recipe, self.loop = recipe, recipe.loop
        if recipe.model.retrieval:
            require_references(recipe.data)
        self.train_crops = ConversionCrops(recipe.data, "train")
        self.valid_crops = ConversionCrops(recipe.data, "valid")
        torch.manual_seed(recipe.loop.seed)
        model = UNet(recipe.model)
        model.norm.fit(statistics(self.train_crops.store, self.train_crops.crops, "mel"))
        if model.retrieval is not None:
            model.retrieval.fit(statistics(self.train_crops.store, self.train_crops.crops, "content"))
        self.modules = {"teacher": model}
        self.frozen = {}
        self.alpha_bar = recipe.schedule.alpha_bar()

    def model_config(self) -> UNetConfig:
        return self.recipe.model

    def _noised(self, batch: Batch, random: np.random.Generator) -> Batch:
        size = len(batch["mel"])
        return batch | {
            "step": draw_steps(random, size, 1, self.recipe.schedule.steps),
            "noise": normal(random, batch["mel"]),
        }

    def batch(self, random: np.random.Generator, size: int) -> Batch:
        return self._noised(self.train_crops.draw(random, size), random)

    def losses(self, batch: Batch) -> dict[str, Tensor]:
        model = self.modules["teacher"]
        unet: UNet = inner(model)
        x0, eps = unet.norm(batch["mel"]), batch["noise"]
        ab = self.alpha_bar.to(x0.device)[batch["step"]][:, None, None]
        out = model(diffuse(x0, eps, ab), batch["step"], batch["speaker"], batch["content"], hints_of(unet, batch))
        target = {"eps": eps, "v": ab.sqrt() * eps - (1 - ab).sqrt() * x0, "x0": x0}[self.recipe.model.prediction]
        return {self.recipe.model.prediction: (out - target).abs().mean()}

    def total(self, losses: dict[str, Tensor]) -> Tensor:
        return torch.stack(list(losses.values())).sum()

    def validate(self) -> Scalars:
        random = np.random.default_rng(1)
        device = self.alpha_bar.device
        batch = {k: v.to(device) for k, v in self._noised(self.valid_crops.draw(random, 64), random).items()}
        return {key: float(value) for key, value in self.losses(batch).items()}

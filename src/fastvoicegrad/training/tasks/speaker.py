"""Train the speaker encoder: a pretrained verifier's embeddings from this project's mel, for windows of any length.

The targets are the verifier's embeddings of whole recordings, from the store. With `teacher` they are its embeddings of
the very windows, which also allows augmented voices.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from hashlib import sha256

import numpy as np
import torch
from torch import Tensor

from ...errors import InputError
from ..data.crops import Crops, statistics
from ..data.perturb import PerturbConfig, draw_perturbations, perturb
from ..data.store import Store
from ..data.teachers import MelSpeakerTeacher
from ..losses import weighted_sum
from ..models.speaker import SpeakerConfig, SpeakerEncoder
from ..task import Batch, LoopConfig, Scalars, Task
from ..verification import equal_error, verification_scores

LENGTHS = 4  # window lengths, from `shortest` to `longest`
FITTED = 96  # windows on which the teacher's front-end is fitted
VALIDATED, VALIDATION_SEED = 192, 1  # held-out windows


@dataclass(frozen=True)
class SpeakerRecipe:
    store: str
    loop: LoopConfig
    model: SpeakerConfig = field(default_factory=SpeakerConfig)
    # Room and microphone, which leave the voice as it is: no stretching.
    perturb: PerturbConfig = field(
        default_factory=lambda: PerturbConfig(formant=1.0, pitch=1.0, equaliser=0.15, gain=0.2, noise=0.2)
    )
    teacher: str = ""  # path of CAM++'s checkpoint; "": the embeddings in the store
    views: int = 1  # parts of every window, at least half as long, that have the window's embedding as target
    repeat_after: int = 0  # steps after which the windows repeat, with new views and known targets; 0: never
    augmented_voices: float = 0.0  # probability that a window gets another voice; needs the teacher
    voice_augmentation: PerturbConfig = field(
        default_factory=lambda: PerturbConfig(formant=1.15, pitch=1.3, equaliser=0.3, gain=0.0, noise=0.0)
    )
    shortest: int = 96  # frames of a window: 1.1 s
    longest: int = 320
    corpora: dict[str, float] = field(default_factory=dict)  # weight by corpus; default 1
    weights: dict[str, float] = field(default_factory=lambda: {"cosine": 1.0, "geometry": 1.0})


class LabelledCrops(Crops):
    """Crops of recordings that have the speaker teacher's embedding, every recording equally often."""

    def __init__(self, store: Store, split: str, frames: int, weights: dict[str, float] | None = None) -> None:
        super().__init__(store, split, frames, weights)
        labelled = np.isfinite(store.array("speaker_teacher")[self.rows, 0])
        self.entries = [e for e, known in zip(self.entries, labelled, strict=True) if known]
        self.rows = self.rows[labelled]
        mass = np.array([(weights or {}).get(e.recording.corpus, 1.0) for e in self.entries])
        self.probability = mass / mass.sum()


class SpeakerTask(Task):
    name = "speaker"

    def __init__(self, recipe: SpeakerRecipe) -> None:
        self.recipe, self.loop = recipe, recipe.loop
        self.store = Store(recipe.store)
        if recipe.augmented_voices and not recipe.teacher:
            raise InputError("augmented_voices needs a teacher; set teacher to the path of CAM++'s weights")
        kind: type[Crops] = Crops if recipe.teacher else LabelledCrops
        self.crops = {
            frames: kind(self.store, "train", frames, recipe.corpora)
            for frames in np.linspace(recipe.shortest, recipe.longest, LENGTHS).astype(int).tolist()
        }
        self.held_out = LabelledCrops(self.store, "valid", recipe.shortest * 2)
        torch.manual_seed(recipe.loop.seed)
        model = SpeakerEncoder(recipe.model)
        model.norm.fit(statistics(self.store, next(iter(self.crops.values())), "mel"))
        self.modules = {"speaker": model}
        self.frozen = {}
        self._targets: dict[bytes, Tensor] = {}  # by the window's digest
        if recipe.teacher:
            crops = self.crops[recipe.longest]
            waves = [wave.numpy() for wave in crops.wave(crops.draw(np.random.default_rng(0), FITTED))]
            self.frozen["teacher"] = MelSpeakerTeacher(recipe.teacher, waves).eval()

    def model_config(self) -> SpeakerConfig:
        return self.recipe.model

    def batch(self, random: np.random.Generator, size: int) -> Batch:
        """mel (B, 80, T) and target (B, S); with a teacher mel (B, views, 80, T') and window (B, 80, T).

        Batches of longer windows have fewer of them, at about the same cost.
        """
        recipe, period = self.recipe, self.recipe.repeat_after
        windows = np.random.default_rng((self.loop.seed, self.step % period)) if period else random
        crops = self.crops[int(windows.choice(list(self.crops)))]
        size = size * recipe.longest // crops.frames // 2
        drawn = crops.draw(windows, size)
        mel = crops.take("mel", drawn)
        if not recipe.teacher:
            target = torch.from_numpy(self.store.array("speaker_teacher")[[c.row for c in drawn]])
            return {"mel": perturb(mel, random, recipe.perturb), "target": target}
        augmented = torch.from_numpy(windows.random(size) < recipe.augmented_voices)[:, None, None]
        mel = torch.where(augmented, draw_perturbations(windows, size, recipe.voice_augmentation)(mel), mel)
        views = perturb(self._views(mel, random), random, recipe.perturb)
        return {"mel": views.unflatten(0, (size, -1)), "window": mel}

    def _views(self, mel: Tensor, random: np.random.Generator) -> Tensor:
        """Random parts of every window, all of one length: (B, 80, T) -> (B * views, 80, T')."""
        count, frames = self.recipe.views, mel.shape[2]
        length = int(random.integers(frames // 2, frames + 1)) if count > 1 else frames
        starts = random.integers(0, frames - length + 1, count * len(mel))
        windows = mel.repeat_interleave(count, 0)
        return torch.stack([window[:, s : s + length] for window, s in zip(windows, starts, strict=True)])

    @torch.no_grad()
    def _teacher_embeddings(self, windows: Tensor) -> Tensor:
        """The teacher's embeddings of windows (B, 80, T): (B, S). They are kept where windows repeat."""
        if not self.recipe.repeat_after:
            embeddings: Tensor = self.frozen["teacher"](windows)
            return embeddings
        keys = [sha256(window.cpu().numpy().tobytes()).digest() for window in windows]
        if new := [i for i, key in enumerate(keys) if key not in self._targets]:
            embeddings = self.frozen["teacher"](windows[new])
            self._targets |= zip((keys[i] for i in new), embeddings, strict=True)
        return torch.stack([self._targets[key] for key in keys])

    def losses(self, batch: Batch) -> dict[str, Tensor]:
        """cosine: E[1 - cos(e, e*)]. geometry: 10 E[(e_i e_j - e*_i e*_j)^2] over the pairs of a batch.

        The second compares the angles between embeddings, which is what a verifier is used for.
        """
        mel, target = batch["mel"], batch.get("target")
        if target is None:
            target = self._teacher_embeddings(batch["window"]).repeat_interleave(mel.shape[1], 0)
            mel = mel.flatten(0, 1)
        embedding = self.modules["speaker"](mel)
        angles = (embedding @ embedding.T - target @ target.T).square().mean()
        return {"cosine": (1 - (embedding * target).sum(1)).mean(), "geometry": angles * 10}

    def total(self, losses: dict[str, Tensor]) -> Tensor:
        return weighted_sum(losses, self.recipe.weights)

    def validate(self) -> Scalars:
        """Cosine to the teacher and equal error rate on held-out voices, windows of twice `shortest`."""
        drawn = self.held_out.draw(np.random.default_rng(VALIDATION_SEED), VALIDATED)
        device = next(self.modules["speaker"].parameters()).device
        embedding = self.modules["speaker"](self.held_out.take("mel", drawn).to(device)).cpu().numpy()
        target = self.store.array("speaker_teacher")[[c.row for c in drawn]]
        voices = [self.store.entries[c.row].recording.voice for c in drawn]
        return {
            "cosine": float((embedding * target).sum(1).mean()),
            "eer": equal_error(*verification_scores(embedding, voices))[0],
            "teacher_eer": equal_error(*verification_scores(target, voices))[0],
        }

"""Train the speaker encoder: say what the pretrained verifier says, from our mel and from windows of any length.

Either what the verifier said of whole recordings, as the store has it, or (`teacher`) what it hears in the very window,
which a network can learn from any number of voices that nobody has.
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
from ..loop import Batch, LoopConfig, Scalars, Task
from ..losses import weighted_sum
from ..models.speaker import SpeakerConfig, SpeakerEncoder


@dataclass(frozen=True)
class SpeakerRecipe:
    store: str
    loop: LoopConfig
    model: SpeakerConfig = field(default_factory=SpeakerConfig)
    # The room and the microphone may change, the voice may not: no stretching here.
    perturb: PerturbConfig = field(
        default_factory=lambda: PerturbConfig(formant=1.0, pitch=1.0, equaliser=0.15, gain=0.2, noise=0.2)
    )
    teacher: str = ""  # CAM++ weights; "": what the store has
    # Of every window that the teacher hears, how many pieces of at least half its length are to be told like the whole.
    views: int = 1
    repeat_after: int = (
        0  # steps after which the same windows come again, cut anew, for the teacher to hear once; 0: never
    )
    augmented_voices: float = 0.0  # how often a window moves to a voice that nobody has; needs the teacher
    voice_augmentation: PerturbConfig = field(
        default_factory=lambda: PerturbConfig(formant=1.15, pitch=1.3, equaliser=0.3, gain=0.0, noise=0.0)
    )
    shortest: int = 96  # frames of a window: 1.1 s
    longest: int = 320
    corpora: dict[str, float] = field(default_factory=dict)
    weights: dict[str, float] = field(default_factory=lambda: {"cosine": 1.0, "geometry": 1.0})


class LabelledCrops(Crops):
    """Crops of recordings that the speaker teacher has heard, every recording equally often."""

    def __init__(self, store: Store, split: str, frames: int, weights: dict[str, float] | None = None) -> None:
        super().__init__(store, split, frames, weights)
        taught = np.isfinite(store.array("speaker_teacher")[self.rows, 0])
        self.entries = [e for e, t in zip(self.entries, taught, strict=True) if t]
        self.rows = self.rows[taught]
        mass = np.array([(weights or {}).get(e.recording.corpus, 1.0) for e in self.entries])
        self.probability = mass / mass.sum()


def equal_error_rate(same: np.ndarray, different: np.ndarray) -> float:
    """Share of errors at the threshold where false accepts equal false rejects."""
    thresholds = np.sort(np.concatenate([same, different]))
    rejects = np.searchsorted(np.sort(same), thresholds) / len(same)
    accepts = 1 - np.searchsorted(np.sort(different), thresholds) / len(different)
    best = int(np.argmin(np.abs(rejects - accepts)))
    return float((rejects[best] + accepts[best]) / 2)


def verification_scores(embeddings: np.ndarray, voices: list[str]) -> tuple[np.ndarray, np.ndarray]:
    """Cosines of all pairs: (same voice, different voices)."""
    cosine = embeddings @ embeddings.T
    same = np.array(voices)[:, None] == np.array(voices)
    upper = np.triu(np.ones_like(same), 1)
    return cosine[same & upper], cosine[~same & upper]


class SpeakerTask(Task):
    name = "speaker"

    def __init__(self, recipe: SpeakerRecipe) -> None:
        self.recipe, self.loop = recipe, recipe.loop
        self.store = Store(recipe.store)
        if recipe.augmented_voices and not recipe.teacher:
            raise InputError(
                "augmented_voices needs a teacher that hears them; set teacher to the path of CAM++'s weights"
            )
        kind: type[Crops] = Crops if recipe.teacher else LabelledCrops
        self.crops = {
            frames: kind(self.store, "train", frames, recipe.corpora)
            for frames in np.linspace(recipe.shortest, recipe.longest, 4).astype(int).tolist()
        }
        self.held_out = LabelledCrops(self.store, "valid", recipe.shortest * 2)
        torch.manual_seed(recipe.loop.seed)
        model = SpeakerEncoder(recipe.model)
        model.norm.fit(statistics(self.store, next(iter(self.crops.values())), "mel"))
        self.modules = {"speaker": model}
        self.frozen = {}
        self._said: dict[bytes, Tensor] = {}
        if recipe.teacher:
            crops = self.crops[recipe.longest]
            waves = [wave.numpy() for wave in crops.wave(crops.draw(np.random.default_rng(0), 96))]
            self.frozen["teacher"] = MelSpeakerTeacher(recipe.teacher, waves).eval()

    def model_config(self) -> SpeakerConfig:
        return self.recipe.model

    def batch(self, random: np.random.Generator, size: int) -> Batch:
        recipe, again = self.recipe, self.recipe.repeat_after
        drawing = np.random.default_rng((self.loop.seed, self.step % again)) if again else random
        crops = self.crops[int(drawing.choice(list(self.crops)))]
        size = size * recipe.longest // crops.frames // 2  # about the same work at every length
        drawn = crops.draw(drawing, size)
        mel = crops.take("mel", drawn)
        if not recipe.teacher:
            taught = torch.from_numpy(self.store.array("speaker_teacher")[[c.row for c in drawn]])
            return {"mel": perturb(mel, random, recipe.perturb), "taught": taught}
        augmented = torch.from_numpy(drawing.random(size) < recipe.augmented_voices)[:, None, None]
        mel = torch.where(augmented, draw_perturbations(drawing, size, recipe.voice_augmentation)(mel), mel)
        pieces = perturb(self._pieces(mel, random), random, recipe.perturb)
        return {"mel": pieces.unflatten(0, (size, -1)), "window": mel}

    def _pieces(self, mel: Tensor, random: np.random.Generator) -> Tensor:
        """`pieces` of every window, of one length, from places of their own: (B, 80, T) -> (B * pieces, 80, T')."""
        count, frames = self.recipe.views, mel.shape[2]
        length = int(random.integers(frames // 2, frames + 1)) if count > 1 else frames
        starts = random.integers(0, frames - length + 1, count * len(mel))
        windows = mel.repeat_interleave(count, 0)
        return torch.stack([window[:, s : s + length] for window, s in zip(windows, starts, strict=True)])

    @torch.no_grad()
    def _says(self, windows: Tensor) -> Tensor:
        """What the teacher makes of windows (B, 80, T): (B, S); kept where they come again."""
        if not self.recipe.repeat_after:
            said: Tensor = self.frozen["teacher"](windows)
            return said
        keys = [sha256(window.cpu().numpy().tobytes()).digest() for window in windows]
        if new := [i for i, key in enumerate(keys) if key not in self._said]:
            said = self.frozen["teacher"](windows[new])
            self._said |= zip((keys[i] for i in new), said, strict=True)
        return torch.stack([self._said[key] for key in keys])

    def losses(self, batch: Batch) -> dict[str, Tensor]:
        mel, taught = batch["mel"], batch.get("taught")
        if taught is None:
            taught, mel = self._says(batch["window"]).repeat_interleave(mel.shape[1], 0), mel.flatten(0, 1)
        embedding = self.modules["speaker"](mel)
        # Beside each embedding, the angles between them: what a verifier is used for.
        angles = (embedding @ embedding.T - taught @ taught.T).square().mean()
        return {"cosine": (1 - (embedding * taught).sum(1)).mean(), "geometry": angles * 10}

    def total(self, losses: dict[str, Tensor]) -> Tensor:
        return weighted_sum(losses, self.recipe.weights)

    def validate(self) -> Scalars:
        """Cosine to the teacher and equal-error rate on held-out voices, windows of 2.2 s."""
        drawn = self.held_out.draw(np.random.default_rng(1), 192)
        device = next(self.modules["speaker"].parameters()).device
        embedding = self.modules["speaker"](self.held_out.take("mel", drawn).to(device)).cpu().numpy()
        taught = self.store.array("speaker_teacher")[[c.row for c in drawn]]
        voices = [self.store.entries[c.row].recording.voice for c in drawn]
        return {
            "cosine": float((embedding * taught).sum(1).mean()),
            "eer": equal_error_rate(*verification_scores(embedding, voices)),
            "teacher_eer": equal_error_rate(*verification_scores(taught, voices)),
        }

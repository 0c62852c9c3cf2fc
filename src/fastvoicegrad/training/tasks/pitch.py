"""Train the pitch tracker: hear in a mel what a detector hears in the waveform, of voices that nobody has."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
import torch
from torch import Tensor

from ..data.crops import Crop, Crops, statistics
from ..data.perturb import PerturbConfig, draw_perturbations, perturb
from ..data.store import Store
from ..loop import Batch, LoopConfig, Scalars, Task
from ..losses import weighted_sum
from ..models.blocks import inner
from ..models.pitch import PitchConfig, PitchTracker, pitch_losses

HELD_OUT = 96  # crops


@dataclass(frozen=True)
class PitchRecipe:
    store: str
    loop: LoopConfig
    model: PitchConfig = field(default_factory=PitchConfig)
    augmented_voices: float = 0.5  # how often a crop moves to a voice that nobody has, and its pitch with it
    voice_augmentation: PerturbConfig = field(default_factory=lambda: PerturbConfig(formant=1.2, pitch=1.5))
    # Room and microphone, which change no pitch.
    perturb: PerturbConfig = field(
        default_factory=lambda: PerturbConfig(formant=1.0, pitch=1.0, equaliser=0.3, gain=0.4, noise=0.3)
    )
    frames: int = 192
    corpora: dict[str, float] = field(default_factory=dict)
    weights: dict[str, float] = field(default_factory=lambda: {"pitch": 1.0, "voicing": 1.0})


class PitchTask(Task):
    name = "pitch"

    def __init__(self, recipe: PitchRecipe) -> None:
        self.recipe, self.loop = recipe, recipe.loop
        self.store = Store(recipe.store)
        self.crops = Crops(self.store, "train", recipe.frames, recipe.corpora)
        self.held_out = Crops(self.store, "valid", recipe.frames)
        torch.manual_seed(recipe.loop.seed)
        model = PitchTracker(recipe.model)
        model.norm.fit(statistics(self.store, self.crops, "mel"))
        self.modules = {"pitch": model}
        self.frozen = {}

    def model_config(self) -> PitchConfig:
        return self.recipe.model

    def _heard(self, crops: Crops, drawn: list[Crop]) -> Batch:
        return {name: crops.take(name, drawn) for name in ("mel", "pitch")}

    def batch(self, random: np.random.Generator, size: int) -> Batch:
        batch = self._heard(self.crops, self.crops.draw(random, size))
        augmented = torch.from_numpy(random.random(size) < self.recipe.augmented_voices)
        voices = draw_perturbations(random, size, self.recipe.voice_augmentation)
        mel = torch.where(augmented[:, None, None], voices(batch["mel"]), batch["mel"])
        pitch = torch.where(augmented[:, None], batch["pitch"] * voices.pitch[:, None], batch["pitch"])
        return {"mel": perturb(mel, random, self.recipe.perturb), "pitch": pitch}

    def losses(self, batch: Batch) -> dict[str, Tensor]:
        logits, voicing = self.modules["pitch"](batch["mel"])
        return pitch_losses(inner(self.modules["pitch"]), logits, voicing, batch["pitch"])

    def total(self, losses: dict[str, Tensor]) -> Tensor:
        return weighted_sum(losses, self.recipe.weights)

    def validate(self) -> Scalars:
        """On held-out voices as they are: median error in cents and share of errors beyond half a semitone, where both
        hear a pitch; share of frames on whose voicing they differ."""
        device = next(self.modules["pitch"].parameters()).device
        batch = self._heard(self.held_out, self.held_out.draw(np.random.default_rng(1), HELD_OUT))
        batch = {k: v.to(device) for k, v in batch.items()}
        scores = {key: float(value) for key, value in self.losses(batch).items()}
        heard = inner(self.modules["pitch"]).hear(batch["mel"])
        both = (heard > 0) & (batch["pitch"] > 0)
        cents = 1200 * (heard[both] / batch["pitch"][both]).log2().abs()
        scores["cents"] = float(cents.median()) if len(cents) else float("inf")
        scores["wrong"] = float((cents > 50).float().mean()) if len(cents) else 1.0
        scores["voicing_errors"] = float(((heard > 0) != (batch["pitch"] > 0)).float().mean())
        return scores

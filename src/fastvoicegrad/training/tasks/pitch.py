"""Train the pitch tracker: the F0 that a detector finds in the waveform, from the mel, for many voices."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
import torch
from torch import Tensor

from ..data.crops import Crop, Crops, statistics
from ..data.perturb import PerturbConfig, draw_perturbations, perturb
from ..data.store import Store
from ..models.blocks import inner
from ..models.pitch import PitchConfig, PitchScale, PitchTracker, pitch_losses
from ..task import Batch, LoopConfig, Scalars, Task

VALIDATED, VALIDATION_SEED = 96, 1  # held-out crops
GROSS_ERROR = 50  # cents


@dataclass(frozen=True)
class PitchRecipe:
    store: str
    loop: LoopConfig
    model: PitchConfig = field(default_factory=PitchConfig)
    augmented_voices: float = 0.5  # probability that a crop gets another voice, and another pitch with it
    voice_augmentation: PerturbConfig = field(default_factory=lambda: PerturbConfig(formant=1.2, pitch=1.5))
    # Room and microphone, which change no pitch.
    perturb: PerturbConfig = field(
        default_factory=lambda: PerturbConfig(formant=1.0, pitch=1.0, equaliser=0.3, gain=0.4, noise=0.3)
    )
    frames: int = 192  # of a crop
    corpora: dict[str, float] = field(default_factory=dict)  # weight of a frame by corpus; default 1
    weights: dict[str, float] = field(default_factory=lambda: {"pitch": 1.0, "voicing": 1.0})


class PitchTask(Task):
    name = "pitch"

    def __init__(self, recipe: PitchRecipe) -> None:
        self.recipe, self.loop, self.weights = recipe, recipe.loop, recipe.weights
        self.store = Store(recipe.store)
        self.crops = Crops(self.store, "train", recipe.frames, recipe.corpora)
        self.held_out = Crops(self.store, "valid", recipe.frames)
        torch.manual_seed(recipe.loop.seed)
        model = PitchTracker(recipe.model)
        model.norm.fit(statistics(self.store, self.crops, "mel"))
        self.modules = {self.name: model}
        self.frozen = {}

    def model_config(self) -> PitchConfig:
        return self.recipe.model

    def _take(self, crops: Crops, drawn: list[Crop]) -> Batch:
        """Mel (B, 80, T) and pitch (B, T) in Hz."""
        return {name: crops.take(name, drawn) for name in ("mel", "pitch")}

    def batch(self, random: np.random.Generator, size: int) -> Batch:
        batch = self._take(self.crops, self.crops.draw(random, size))
        augmented = torch.from_numpy(random.random(size) < self.recipe.augmented_voices)
        perturbations = draw_perturbations(random, size, self.recipe.voice_augmentation)
        mel = torch.where(augmented[:, None, None], perturbations(batch["mel"]), batch["mel"])
        pitch = torch.where(augmented[:, None], batch["pitch"] * perturbations.pitch[:, None], batch["pitch"])
        return {"mel": perturb(mel, random, self.recipe.perturb), "pitch": pitch}

    def _outputs(self, batch: Batch) -> tuple[Tensor, Tensor, Tensor]:
        """Logits (B, classes, T'), voicing (B, T') and true pitch (B, T') of the scored frames: here all."""
        logits, voicing = self.modules[self.name](batch["mel"])
        return logits, voicing, batch["pitch"]

    def losses(self, batch: Batch) -> dict[str, Tensor]:
        """pitch, voicing: see `pitch_losses`."""
        return pitch_losses(inner(self.modules[self.name]), *self._outputs(batch))

    def validate(self) -> Scalars:
        """Losses and `pitch_scores` on held-out voices, unperturbed."""
        model: PitchScale = inner(self.modules[self.name])
        drawn = self.held_out.draw(np.random.default_rng(VALIDATION_SEED), VALIDATED)
        batch = self.on_device(self._take(self.held_out, drawn))
        scores = self.loss_values(batch)
        logits, voicing, pitch = self._outputs(batch)
        tracked = torch.where(voicing > 0, model.decode(logits), torch.zeros_like(voicing))
        return scores | pitch_scores(tracked, pitch)


def pitch_scores(tracked: Tensor, pitch: Tensor) -> Scalars:
    """How well a tracked pitch fits the true one; both in Hz, 0 where unvoiced, of one shape.

    Returns:
        over frames that both call voiced: "cents", the median error, and "wrong", the share of errors over 50 cents;
        over all frames: "voicing_errors", the share of different voicing.
    """
    both = (tracked > 0) & (pitch > 0)
    cents = 1200 * (tracked[both] / pitch[both]).log2().abs()
    return {
        "cents": float(cents.median()) if len(cents) else float("inf"),
        "wrong": float((cents > GROSS_ERROR).float().mean()) if len(cents) else 1.0,
        "voicing_errors": float(((tracked > 0) != (pitch > 0)).float().mean()),
    }

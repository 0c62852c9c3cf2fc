"""Train the pitch tracker of streams: as the full one, with the mel and the look-ahead of the stream."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
import torch
from torch import Tensor

from ..data.crops import Crop, Crops, statistics
from ..data.perturb import PerturbConfig, draw_perturbations, perturb
from ..data.store import Store
from ..data.stream_crops import StreamMel, on_time, scored
from ..losses import weighted_sum
from ..models.blocks import inner
from ..models.pitch import pitch_losses
from ..models.stream import StreamPitch, StreamPitchConfig
from ..task import Batch, LoopConfig, Scalars, Task
from .pitch import VALIDATED, VALIDATION_SEED, PitchRecipe, pitch_scores


@dataclass(frozen=True)
class StreamPitchRecipe:
    """See `PitchRecipe`."""

    store: str
    loop: LoopConfig
    model: StreamPitchConfig = field(default_factory=StreamPitchConfig)
    augmented_voices: float = PitchRecipe.augmented_voices
    voice_augmentation: PerturbConfig = field(default_factory=lambda: PerturbConfig(formant=1.2, pitch=1.5))
    perturb: PerturbConfig = field(
        default_factory=lambda: PerturbConfig(formant=1.0, pitch=1.0, equaliser=0.3, gain=0.4, noise=0.3)
    )
    frames: int = 192
    corpora: dict[str, float] = field(default_factory=dict)
    weights: dict[str, float] = field(default_factory=lambda: {"pitch": 1.0, "voicing": 1.0})


class StreamPitchTask(Task):
    name = "stream-pitch"

    def __init__(self, recipe: StreamPitchRecipe) -> None:
        self.recipe, self.loop = recipe, recipe.loop
        self.store = Store(recipe.store)
        self.crops = Crops(self.store, "train", recipe.frames, recipe.corpora)
        self.held_out = Crops(self.store, "valid", recipe.frames)
        self.log_mel = StreamMel(recipe.model.window)
        self.scored = scored(recipe.frames, recipe.model.lookahead)
        torch.manual_seed(recipe.loop.seed)
        model = StreamPitch(recipe.model)
        model.norm.fit(statistics(self.store, self.crops, "mel"))
        self.modules = {self.name: model}
        self.frozen = {}

    def model_config(self) -> StreamPitchConfig:
        return self.recipe.model

    def _take(self, crops: Crops, drawn: list[Crop]) -> Batch:
        """Mel (B, 80, T) of the stream and pitch (B, T) in Hz."""
        return {"mel": self.log_mel(crops.wave(drawn)), "pitch": crops.take("pitch", drawn)}

    def batch(self, random: np.random.Generator, size: int) -> Batch:
        batch = self._take(self.crops, self.crops.draw(random, size))
        augmented = torch.from_numpy(random.random(size) < self.recipe.augmented_voices)
        voices = draw_perturbations(random, size, self.recipe.voice_augmentation)
        mel = torch.where(augmented[:, None, None], voices(batch["mel"]), batch["mel"])
        pitch = torch.where(augmented[:, None], batch["pitch"] * voices.pitch[:, None], batch["pitch"])
        return {"mel": perturb(mel, random, self.recipe.perturb), "pitch": pitch}

    def _outputs(self, batch: Batch) -> tuple[Tensor, Tensor, Tensor]:
        """Logits (B, classes, T'), voicing (B, T') and true pitch (B, T') of the scored frames."""
        logits, voicing, _ = self.modules[self.name](batch["mel"].transpose(1, 2))
        lookahead = self.recipe.model.lookahead
        logits = on_time(logits.transpose(1, 2), lookahead)[:, self.scored].transpose(1, 2)
        return logits, on_time(voicing, lookahead)[:, self.scored], batch["pitch"][:, self.scored]

    def losses(self, batch: Batch) -> dict[str, Tensor]:
        return pitch_losses(inner(self.modules[self.name]), *self._outputs(batch))

    def total(self, losses: dict[str, Tensor]) -> Tensor:
        return weighted_sum(losses, self.recipe.weights)

    def validate(self) -> Scalars:
        """See `PitchTask.validate`."""
        model: StreamPitch = inner(self.modules[self.name])
        device = next(model.parameters()).device
        drawn = self.held_out.draw(np.random.default_rng(VALIDATION_SEED), VALIDATED)
        batch = {k: v.to(device) for k, v in self._take(self.held_out, drawn).items()}
        scores = {key: float(value) for key, value in self.losses(batch).items()}
        logits, voicing, pitch = self._outputs(batch)
        tracked = torch.where(voicing > 0, model.decode(logits), torch.zeros_like(voicing))
        return scores | pitch_scores(tracked, pitch)

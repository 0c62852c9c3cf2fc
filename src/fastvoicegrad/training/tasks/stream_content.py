"""Train the content encoder of streams: the full one's embedding, from perturbed voices and with less look-ahead."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from ..data.crops import Crop, Crops, statistics
from ..data.perturb import PerturbConfig, perturb
from ..data.store import Store
from ..data.stream_crops import StreamMel, on_time, scored
from ..models.stream import StreamContentConfig, StreamContentModel
from ..task import Batch, LoopConfig, Scalars, Task

VALIDATED, VALIDATION_SEED = 48, 1  # held-out crops
STREAM_CONTENT_WEIGHTS = {"content": 1.0, "direction": 1.0, "units": 0.5}


@dataclass(frozen=True)
class StreamContentRecipe:
    store: str
    loop: LoopConfig
    model: StreamContentConfig = field(default_factory=StreamContentConfig)
    perturb: PerturbConfig = field(default_factory=PerturbConfig)  # of the input
    frames: int = 192  # of a crop
    corpora: dict[str, float] = field(default_factory=dict)  # weight of a frame by corpus; default 1
    weights: dict[str, float] = field(default_factory=lambda: dict(STREAM_CONTENT_WEIGHTS))


class StreamContentTask(Task):
    name = "stream-content"
    scores = ("accuracy",)

    def __init__(self, recipe: StreamContentRecipe) -> None:
        self.recipe, self.loop, self.weights = recipe, recipe.loop, recipe.weights
        self.store = Store(recipe.store)
        self.store.require_units(recipe.model.units, "model.units")
        self.store.require_columns("content_unperturbed", recipe.model.dim, "model.dim")
        self.crops = Crops(self.store, "train", recipe.frames, recipe.corpora)
        self.held_out = Crops(self.store, "valid", recipe.frames)
        self.log_mel = StreamMel(recipe.model.window)
        self.scored = scored(recipe.frames, recipe.model.lookahead)
        torch.manual_seed(recipe.loop.seed)
        model = StreamContentModel(recipe.model)
        model.encoder.norm.fit(statistics(self.store, self.crops, "mel"))
        targets = statistics(self.store, self.crops, "content_unperturbed")
        self.mean, self.std = targets.mean(0), targets.std(0).clamp(min=1e-3)
        self.modules = {self.name: model}
        self.frozen = {}

    def model_config(self) -> StreamContentConfig:
        return self.recipe.model

    def _take(self, crops: Crops, drawn: list[Crop]) -> Batch:
        """Mel (B, 80, T) of the stream, content (B, C, T) of the full encoder, units (B, T)."""
        return {
            "mel": self.log_mel(crops.wave(drawn)),
            "content": crops.take("content_unperturbed", drawn),
            "units": crops.take("units", drawn),
        }

    def batch(self, random: np.random.Generator, size: int) -> Batch:
        batch = self._take(self.crops, self.crops.draw(random, size))
        return batch | {"mel": perturb(batch["mel"], random, self.recipe.perturb)}

    def _outputs(self, batch: Batch) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Content and unit logits, and what they should be, (B, T', C) and (B, T')."""
        outputs = self.modules[self.name](batch["mel"].transpose(1, 2))
        content, logits = (on_time(x, self.recipe.model.lookahead)[:, self.scored] for x in outputs)
        return content, logits, batch["content"].transpose(1, 2)[:, self.scored], batch["units"][:, self.scored]

    def losses(self, batch: Batch) -> dict[str, Tensor]:
        """content: E|c - c*|^2 and direction: E[1 - cos(c, c*)], both standardised. units: cross-entropy."""
        content, logits, target, units = self._outputs(batch)
        mean, std = self.mean.to(content.device), self.std.to(content.device)
        content, target = (content - mean) / std, (target - mean) / std
        return {
            "content": (content - target).square().mean(),
            "direction": (1 - F.cosine_similarity(content, target, dim=2)).mean(),
            "units": F.cross_entropy(logits.flatten(0, 1), units.flatten()),
        }

    def validate(self) -> Scalars:
        """Losses and unit accuracy on held-out voices, unperturbed."""
        drawn = self.held_out.draw(np.random.default_rng(VALIDATION_SEED), VALIDATED)
        batch = self.on_device(self._take(self.held_out, drawn))
        scores = self.loss_values(batch)
        _, logits, _, units = self._outputs(batch)
        return scores | {"accuracy": float((logits.argmax(2) == units).float().mean())}

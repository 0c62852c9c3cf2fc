"""Train the content encoder: name the teacher's units and the melody from a perturbed voice."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from ..data.crops import Crop, Crops, statistics
from ..data.perturb import PerturbConfig, perturb
from ..data.store import Entry, Store
from ..losses import weighted_sum
from ..models.content import ContentConfig, ContentEncoder, ContentHeads
from .loop import Batch, LoopConfig, Scalars, Task


@dataclass(frozen=True)
class ContentRecipe:
    store: str
    loop: LoopConfig
    model: ContentConfig = field(default_factory=ContentConfig)
    perturb: PerturbConfig = field(default_factory=PerturbConfig)
    frames: int = 192
    corpora: dict[str, float] = field(default_factory=dict)
    weights: dict[str, float] = field(
        default_factory=lambda: {"units": 1.0, "voicing": 0.3, "melody": 2.0, "energy": 0.3}
    )


class ContentModel(torch.nn.Module):
    """Encoder and heads under one roof, so that both are trained, averaged and saved together."""

    def __init__(self, config: ContentConfig) -> None:
        super().__init__()
        self.encoder = ContentEncoder(config)
        self.heads = ContentHeads(config)

    def forward(self, mel: Tensor) -> tuple[Tensor, Tensor]:
        return self.heads(self.encoder(mel))


class ContentTask(Task):
    name = "content"

    def __init__(self, recipe: ContentRecipe) -> None:
        self.recipe, self.loop = recipe, recipe.loop
        self.store = Store(recipe.store)
        self.crops = Crops(self.store, "train", recipe.frames, recipe.corpora)
        self.held_out = Crops(self.store, "valid", recipe.frames)
        torch.manual_seed(recipe.loop.seed)
        model = ContentModel(recipe.model)
        model.encoder.norm.fit(statistics(self.store, self.crops, "mel"))
        self.modules = {"content": model}
        self.frozen = {}
        self.medians = np.array([self._median_log_pitch(e) for e in self.store.entries], np.float32)

    def model_config(self) -> ContentConfig:
        return self.recipe.model

    def _median_log_pitch(self, entry: Entry) -> float:
        pitch = self.store.array("pitch")[entry.slice].astype(np.float32)
        voiced = pitch[pitch > 0]
        return float(np.median(np.log(voiced))) if len(voiced) else 0.0

    def _targets(self, crops: Crops, drawn: list[Crop]) -> Batch:
        mel = crops.take("mel", drawn)
        pitch = crops.take("pitch", drawn)
        melody = pitch.clamp(min=1).log() - torch.from_numpy(self.medians[[c.row for c in drawn]])[:, None]
        energy = mel.mean(1)
        return {
            "mel": mel,
            "units": crops.take("units", drawn),
            "voiced": (pitch > 0).float(),
            "melody": melody.clamp(-1, 1),
            "energy": (energy - energy.mean(1, keepdim=True)) / 2,
        }

    def batch(self, random: np.random.Generator, size: int) -> Batch:
        batch = self._targets(self.crops, self.crops.draw(random, size))
        return batch | {"mel": perturb(batch["mel"], random, self.recipe.perturb)}

    def losses(self, batch: Batch) -> dict[str, Tensor]:
        units, prosody = self.modules["content"](batch["mel"])
        voicing, melody, energy = prosody.unbind(1)
        voiced = batch["voiced"]
        return {
            "units": F.cross_entropy(units, batch["units"]),
            "voicing": F.binary_cross_entropy_with_logits(voicing, voiced),
            "melody": ((melody - batch["melody"]).abs() * voiced).sum() / voiced.sum().clamp(min=1),
            "energy": (energy - batch["energy"]).abs().mean(),
        }

    def total(self, losses: dict[str, Tensor]) -> Tensor:
        return weighted_sum(losses, self.recipe.weights)

    def validate(self) -> Scalars:
        """On held-out voices, unperturbed."""
        crops = self.held_out.draw(np.random.default_rng(1), 64)
        device = next(self.modules["content"].parameters()).device
        batch = {k: v.to(device) for k, v in self._targets(self.held_out, crops).items()}
        losses = self.losses(batch)
        units, _ = self.modules["content"](batch["mel"])
        scores = {key: float(value) for key, value in losses.items()}
        scores["accuracy"] = float((units.argmax(1) == batch["units"]).float().mean())
        scores["top5"] = float((units.topk(5, 1).indices == batch["units"][:, None]).any(1).float().mean())
        return scores

"""Train the content encoder: name the teacher's units and the melody from a perturbed voice."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from ...errors import InputError
from ..data.crops import Crop, Crops, statistics
from ..data.perturb import PerturbConfig, at_pace, paces, perturb
from ..data.store import Entry, Store
from ..loop import Batch, LoopConfig, Scalars, Task
from ..losses import weighted_sum
from ..models.content import ContentConfig, ContentEncoder, ContentHeads

CONTENT_WEIGHTS: dict[str, float] = {"units": 1.0, "voicing": 0.3, "melody": 2.0, "energy": 0.3}


@dataclass(frozen=True)
class ContentRecipe:
    store: str
    loop: LoopConfig
    model: ContentConfig = field(default_factory=ContentConfig)
    perturb: PerturbConfig = field(default_factory=PerturbConfig)
    # What stays as it is in loop.start_from: the "encoder", where a restored one has to learn names for the units; the
    # names of the "units", which hold the encoder to its coordinates while it learns on.
    kept: Literal["nothing", "encoder", "units"] = "nothing"
    frames: int = 192
    corpora: dict[str, float] = field(default_factory=dict)
    weights: dict[str, float] = field(default_factory=lambda: dict(CONTENT_WEIGHTS))


class ContentModel(torch.nn.Module):
    """Encoder and heads under one roof, so that both are trained, averaged and saved together."""

    def __init__(self, config: ContentConfig) -> None:
        super().__init__()
        self.config = config
        self.encoder = ContentEncoder(config)
        self.heads = ContentHeads(config)

    def forward(self, mel: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """(B, 80, T) log-mel -> content (B, C, T) and what the heads tell from it (`ContentHeads`)."""
        content = self.encoder(mel)
        return content, *self.heads(content)


def content_losses(units: Tensor, prosody: Tensor, told: Batch) -> dict[str, Tensor]:
    """What the heads say against what is so: units (B, T), voiced, melody and energy, (B, T) each."""
    voicing, melody, energy = prosody.unbind(1)
    voiced = told["voiced"]
    return {
        "units": F.cross_entropy(units, told["units"]),
        "voicing": F.binary_cross_entropy_with_logits(voicing, voiced),
        "melody": ((melody - told["melody"]).abs() * voiced).sum() / voiced.sum().clamp(min=1),
        "energy": (energy - told["energy"]).abs().mean(),
    }


def prosody_of(mel: Tensor, pitch: Tensor, median: Tensor) -> Batch:
    """What the heads are to tell of a mel (B, 80, T) beside its units: pitch (B, T) in Hz, 0 where unvoiced, relative
    to its median (B,)."""
    energy = mel.mean(1)
    return {
        "voiced": (pitch > 0).float(),
        "melody": (pitch.clamp(min=1) / median[:, None]).log().clamp(-1, 1),
        "energy": (energy - energy.mean(1, keepdim=True)) / 2,
    }


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
        if recipe.frozen != "nothing" and not recipe.loop.start_from:
            raise InputError(
                "kept needs a checkpoint to keep it of; set loop.start_from, e.g. to init/content.safetensors"
            )
        model.encoder.requires_grad_(recipe.frozen != "encoder")
        model.heads.units.requires_grad_(recipe.frozen != "units")
        self.modules = {"content": model}
        self.frozen = {}
        self.medians = torch.tensor([self._median_pitch(e) for e in self.store.entries])

    def model_config(self) -> ContentConfig:
        return self.recipe.model

    def _median_pitch(self, entry: Entry) -> float:
        pitch = self.store.array("pitch")[entry.slice].astype(np.float32)
        voiced = pitch[pitch > 0]
        return float(np.median(voiced)) if len(voiced) else 1.0

    def _targets(self, crops: Crops, drawn: list[Crop]) -> Batch:
        mel = crops.take("mel", drawn)
        told = prosody_of(mel, crops.take("pitch", drawn), self.medians[[c.row for c in drawn]])
        return {"mel": mel, "units": crops.take("units", drawn), **told}

    def batch(self, random: np.random.Generator, size: int) -> Batch:
        batch = self._targets(self.crops, self.crops.draw(random, size))
        if (tempo := self.recipe.perturb.tempo) > 1:
            places = paces(random, size, self.recipe.frames, tempo)
            batch = {name: at_pace(value, places) for name, value in batch.items()}
        return batch | {"mel": perturb(batch["mel"], random, self.recipe.perturb)}

    def losses(self, batch: Batch) -> dict[str, Tensor]:
        _, units, prosody = self.modules["content"](batch["mel"])
        return content_losses(units, prosody, batch)

    def total(self, losses: dict[str, Tensor]) -> Tensor:
        return weighted_sum(losses, self.recipe.weights)

    def validate(self) -> Scalars:
        """On held-out voices, unperturbed."""
        crops = self.held_out.draw(np.random.default_rng(1), 64)
        device = next(self.modules["content"].parameters()).device
        batch = {k: v.to(device) for k, v in self._targets(self.held_out, crops).items()}
        losses = self.losses(batch)
        _, units, _ = self.modules["content"](batch["mel"])
        scores = {key: float(value) for key, value in losses.items()}
        scores["accuracy"] = float((units.argmax(1) == batch["units"]).float().mean())
        scores["top5"] = float((units.topk(5, 1).indices == batch["units"][:, None]).any(1).float().mean())
        return scores

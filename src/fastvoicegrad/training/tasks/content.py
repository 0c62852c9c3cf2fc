"""Train the content encoder: predict the teacher's units and features and the melody from a perturbed voice."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from ...errors import InputError
from ..data.crops import Crop, Crops, require_multiple, statistics
from ..data.perturb import PerturbConfig, perturb, read_at, time_stretch_places
from ..data.store import Entry, Store
from ..models.content import ContentConfig, ContentEncoder, ContentModel
from ..task import Batch, LoopConfig, Scalars, Task

CONTENT_WEIGHTS: dict[str, float] = {
    "units": 1.0,
    "features": 4.0,
    "voicing": 0.3,
    "melody": 2.0,
    "energy": 0.3,
    "content": 10.0,
}
VALIDATED, VALIDATION_SEED = 64, 1  # held-out crops
WAVES = 48  # crops that a start from Whisper fits its map on


@dataclass(frozen=True)
class ContentRecipe:
    store: str
    loop: LoopConfig
    model: ContentConfig = field(default_factory=ContentConfig)
    perturb: PerturbConfig = field(default_factory=PerturbConfig)  # of the input
    # Part of loop.start_from that stays fixed. "encoder" trains new heads for a restored encoder. "units" fixes the
    # unit classifier, so the encoder keeps its coordinates.
    frozen: Literal["nothing", "encoder", "units"] = "nothing"
    whisper: str = ""  # weights of Whisper, whose encoder an encoder with `model.heads` starts from
    # Array of contents in the store, such as "content_unperturbed". `weights.content` keeps contents near these, so a
    # converter that trained with them understands a new encoder.
    keep: str = ""
    frames: int = 192  # of a crop
    corpora: dict[str, float] = field(default_factory=dict)  # weight of a frame by corpus; default 1
    weights: dict[str, float] = field(default_factory=lambda: dict(CONTENT_WEIGHTS))

    def __post_init__(self) -> None:
        """Raises InputError where crops do not fit the encoder."""
        require_multiple(self.frames, ContentEncoder.stride, "frames")


def content_losses(outputs: Batch, targets: Batch) -> dict[str, Tensor]:
    """Losses of `ContentHeads`.

    units: cross-entropy. features: E|f - f*|^2, relative to their variance. voicing: binary cross-entropy. melody:
    E[|log f - log f*|] over voiced frames. energy: E[|e - e*|].

    Args:
        outputs: of `ContentModel`.
        targets: units (B, T), features (B, D, T) where the model predicts them, and `prosody_targets`.
    """
    voicing, melody, energy = outputs["prosody"].unbind(1)
    voiced = targets["voiced"]
    losses = {"units": F.cross_entropy(outputs["units_logits"], targets["units"])}
    if "features" in outputs:  # the variance of all components together is 1
        losses["features"] = (outputs["features"] - targets["features"]).square().sum(1).mean()
    return losses | {
        "voicing": F.binary_cross_entropy_with_logits(voicing, voiced),
        "melody": ((melody - targets["melody"]).abs() * voiced).sum() / voiced.sum().clamp(min=1),
        "energy": (energy - targets["energy"]).abs().mean(),
    }


def prosody_targets(mel: Tensor, pitch: Tensor, median: Tensor) -> Batch:
    """Targets of the prosody head, (B, T) each: voiced, melody (log F0 relative to the median) and energy.

    Args:
        mel: (B, 80, T) log-mel.
        pitch: (B, T) in Hz, 0 where unvoiced.
        median: (B,) of the pitch.
    """
    energy = mel.mean(1)
    return {
        "voiced": (pitch > 0).float(),
        "melody": (pitch.clamp(min=1) / median[:, None]).log().clamp(-1, 1),
        "energy": (energy - energy.mean(1, keepdim=True)) / 2,
    }


class ContentTask(Task):
    name = "content"
    scores = ("accuracy", "top5")

    def __init__(self, recipe: ContentRecipe) -> None:
        if recipe.whisper and not recipe.model.heads:
            raise InputError("whisper needs model.heads, the heads of its attention; set it to 6 for tiny.en")
        if recipe.model.heads and recipe.model.width % recipe.model.heads:
            raise InputError("model.width must be a multiple of model.heads")
        self.recipe, self.loop, self.weights = recipe, recipe.loop, recipe.weights
        self.store = Store(recipe.store)
        self._check_store()
        self.crops = Crops(self.store, "train", recipe.frames, recipe.corpora)
        self.held_out = Crops(self.store, "valid", recipe.frames)
        torch.manual_seed(recipe.loop.seed)
        model = ContentModel(recipe.model)
        model.encoder.norm.fit(statistics(self.store, self.crops, "mel"))
        if recipe.whisper:
            self._start_from_whisper(model.encoder)
        if recipe.keep:
            self.spread = statistics(self.store, self.crops, recipe.keep).std(0)[:, None]
        if recipe.frozen != "nothing" and not recipe.loop.start_from:
            raise InputError("frozen needs trained weights; set loop.start_from, e.g. to init/content.safetensors")
        model.encoder.requires_grad_(recipe.frozen != "encoder")
        model.heads.units.requires_grad_(recipe.frozen != "units")
        self.modules = {"content": model}
        self.frozen = {}
        self.medians = torch.tensor([self._median_pitch(e) for e in self.store.entries])

    def _check_store(self) -> None:
        """Raises InputError where the store has other targets than the model predicts."""
        model, keep = self.recipe.model, self.recipe.keep
        self.store.require_units(model.units, "model.units")
        if model.features:
            self.store.require_columns("content_teacher", model.features, "model.features")
        if keep:
            self.store.require_columns(keep, model.dim, "model.dim")

    def model_config(self) -> ContentConfig:
        return self.recipe.model

    def _start_from_whisper(self, encoder: ContentEncoder) -> None:
        from ..whisper import start_from_whisper

        crops = self.crops.draw(np.random.default_rng(self.loop.seed), WAVES)
        start_from_whisper(encoder, self.recipe.whisper, list(self.crops.wave(crops).numpy()))

    def _median_pitch(self, entry: Entry) -> float:
        pitch = self.store.array("pitch")[entry.slice].astype(np.float32)
        voiced = pitch[pitch > 0]
        return float(np.median(voiced)) if len(voiced) else 1.0

    def _with_targets(self, crops: Crops, drawn: list[Crop]) -> Batch:
        """Mel (B, 80, T) with the targets of all heads."""
        mel = crops.take("mel", drawn)
        prosody = prosody_targets(mel, crops.take("pitch", drawn), self.medians[[c.row for c in drawn]])
        names = {"units": "units", "features": "content_teacher"} if self.recipe.model.features else {"units": "units"}
        if self.recipe.keep:
            names["content"] = self.recipe.keep
        return {"mel": mel, **{key: crops.take(array, drawn) for key, array in names.items()}, **prosody}

    def batch(self, random: np.random.Generator, size: int) -> Batch:
        batch = self._with_targets(self.crops, self.crops.draw(random, size))
        if (tempo := self.recipe.perturb.tempo) > 1:
            places = time_stretch_places(random, size, self.recipe.frames, tempo)
            batch = {name: read_at(value, places) for name, value in batch.items()}
        return batch | {"mel": perturb(batch["mel"], random, self.recipe.perturb)}

    def losses(self, batch: Batch) -> dict[str, Tensor]:
        return self._losses(self.modules["content"](batch["mel"]), batch)

    def _losses(self, outputs: Batch, batch: Batch) -> dict[str, Tensor]:
        losses = content_losses(outputs, batch)
        if "content" in batch:
            error = (outputs["content"] - batch["content"]) / self.spread.to(batch["content"].device)
            losses["content"] = error.square().mean()
        return losses

    def validate(self) -> Scalars:
        """Losses and unit accuracy on held-out voices, unperturbed."""
        crops = self.held_out.draw(np.random.default_rng(VALIDATION_SEED), VALIDATED)
        batch = self.on_device(self._with_targets(self.held_out, crops))
        outputs = self.modules["content"](batch["mel"])
        scores = {key: float(value) for key, value in self._losses(outputs, batch).items()}
        best = outputs["units_logits"].topk(5, 1).indices == batch["units"][:, None]
        return scores | {"accuracy": float(best[:, 0].float().mean()), "top5": float(best.any(1).float().mean())}

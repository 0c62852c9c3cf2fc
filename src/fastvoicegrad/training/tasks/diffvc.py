"""Train DiffVC's score network (arXiv 2109.13821, section 2.2).

    L = E[(1 - gamma^2) |s(X_t, t) + eps / sqrt(1 - gamma^2)|^2]

It learns reconstructions: source, target and average voice are of one voice. t is uniform in 0..1. The encoder of the
average voice is trained before and stays fixed (tasks/diffvc_encoder.py).
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
import torch
from torch import Tensor

from ..checkpoint import load_network
from ..data.conversion import ConversionCrops, ConversionData, require_references
from ..data.crops import require_multiple
from ..models.blocks import inner
from ..models.diffvc import DiffVc, DiffVcConfig, ScoreConfig
from ..models.diffvc_encoder import AverageVoiceConfig
from ..networks import network_settings
from ..schedule import normal
from ..sde import SdeConfig
from ..task import Batch, LoopConfig, Scalars, Task

VALIDATED, VALIDATION_SEED = 32, 1  # held-out crops
EARLIEST = 1e-5  # t; at 0 the score is infinite


@dataclass(frozen=True)
class DiffVcRecipe:
    data: ConversionData
    loop: LoopConfig
    encoder: str  # checkpoint of the average-voice encoder
    score: ScoreConfig = field(default_factory=ScoreConfig)
    sde: SdeConfig = field(default_factory=SdeConfig)

    def __post_init__(self) -> None:
        """Raises InputError where crops do not fit the network."""
        require_multiple(self.data.frames, DiffVc.stride, "data.frames")


class DiffVcTask(Task):
    name = "diffvc"

    def __init__(self, recipe: DiffVcRecipe) -> None:
        self.recipe, self.loop = recipe, recipe.loop
        require_references(recipe.data)
        self.train_crops = ConversionCrops(recipe.data, "train")
        self.valid_crops = ConversionCrops(recipe.data, "valid")
        self.train_crops.store.require_columns("speaker", recipe.score.speaker_dim, "score.speaker_dim")
        torch.manual_seed(recipe.loop.seed)
        encoder = network_settings(AverageVoiceConfig, recipe.encoder, "diffvc-encoder")
        self.config = DiffVcConfig(encoder, recipe.score, recipe.sde)
        model = DiffVc(self.config)
        load_network(recipe.encoder, model.encoder)
        self.modules = {self.name: model}
        self.frozen = {}

    def model_config(self) -> DiffVcConfig:
        return self.config

    def _with_noise(self, batch: Batch, random: np.random.Generator) -> Batch:
        """A batch with t, "time" (B,), and eps, "noise" (B, 80, T)."""
        time = random.uniform(EARLIEST, 1 - EARLIEST, len(batch["mel"]))
        kept = {name: batch[name] for name in ("mel", "speaker", "reference")}
        return kept | {"time": torch.from_numpy(time).float(), "noise": normal(random, batch["mel"])}

    def batch(self, random: np.random.Generator, size: int) -> Batch:
        return self._with_noise(self.train_crops.draw(random, size), random)

    def losses(self, batch: Batch) -> dict[str, Tensor]:
        model, sde = self.modules[self.name], self.recipe.sde
        network: DiffVc = inner(model)
        x0, reference = (network.encoder.norm(batch[name]) for name in ("mel", "reference"))
        mean, reference_mean = network.average(x0), network.average(reference)
        t = batch["time"]
        centre, deviation = sde.marginal(x0, mean, t[:, None, None])
        x_t = centre + deviation * batch["noise"]
        score = model(x_t, mean, t, batch["speaker"], (reference, reference_mean))
        return {"score": (deviation * score + batch["noise"]).square().mean()}

    def validate(self) -> Scalars:
        """The loss on held-out voices."""
        random = np.random.default_rng(VALIDATION_SEED)
        return self.loss_values(self._with_noise(self.valid_crops.draw(random, VALIDATED), random))

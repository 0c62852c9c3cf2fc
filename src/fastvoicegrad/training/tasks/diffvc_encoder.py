"""Train DiffVC's average-voice encoder (arXiv 2109.13821, section 2.1): L = E|mean(x) - x_average|^2.

x_average is the mel of the same units in an average voice (data/average_voice.py).
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
import torch
from torch import Tensor

from ..data.average_voice import average_mels
from ..data.crops import Crops, statistics
from ..data.store import Store
from ..models.blocks import inner
from ..models.diffvc_encoder import AverageVoiceConfig, AverageVoiceEncoder
from ..task import Batch, LoopConfig, Scalars, Task

VALIDATED, VALIDATION_SEED = 64, 1  # held-out crops


@dataclass(frozen=True)
class AverageVoiceRecipe:
    store: str
    loop: LoopConfig
    model: AverageVoiceConfig = field(default_factory=AverageVoiceConfig)
    frames: int = 128  # of a crop
    corpora: dict[str, float] = field(default_factory=dict)  # weight of a frame by corpus; default 1


class AverageVoiceTask(Task):
    name = "diffvc-encoder"

    def __init__(self, recipe: AverageVoiceRecipe) -> None:
        self.recipe, self.loop = recipe, recipe.loop
        store = Store(recipe.store)
        self.crops = Crops(store, "train", recipe.frames, recipe.corpora)
        self.held_out = Crops(store, "valid", recipe.frames)
        self.means = average_mels(store)
        torch.manual_seed(recipe.loop.seed)
        model = AverageVoiceEncoder(recipe.model)
        model.norm.fit(statistics(store, self.crops, "mel"))
        self.modules = {self.name: model}
        self.frozen = {}

    def model_config(self) -> AverageVoiceConfig:
        return self.recipe.model

    def _draw(self, crops: Crops, random: np.random.Generator, size: int) -> Batch:
        """Mel and average voice, (B, 80, T) each."""
        drawn = crops.draw(random, size)
        units = crops.take("units", drawn).clamp(max=len(self.means) - 1)  # a unit may be in held-out voices alone
        return {"mel": crops.take("mel", drawn), "average": self.means[units].transpose(1, 2)}

    def batch(self, random: np.random.Generator, size: int) -> Batch:
        return self._draw(self.crops, random, size)

    def losses(self, batch: Batch) -> dict[str, Tensor]:
        model = self.modules[self.name]
        norm = inner(model).norm
        return {"average": (model(norm(batch["mel"])) - norm(batch["average"])).square().mean()}

    def validate(self) -> Scalars:
        """The loss on held-out voices."""
        return self.loss_values(self._draw(self.held_out, np.random.default_rng(VALIDATION_SEED), VALIDATED))

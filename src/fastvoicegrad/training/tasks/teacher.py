"""Train the teacher: VoiceGrad in its DDPM form (FastVoiceGrad section 2; arXiv 2010.02977).

L = E[|y - y*|_1] over x0, eps and t. The target y* is eps as published, or v or x0 (a setting). x0, speaker and content
are of one voice.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
import torch
from torch import Tensor

from ...diffusion import diffuse
from ..data.conversion import ConversionCrops, ConversionData, conditions_of, require_references
from ..data.crops import require_multiple, statistics
from ..models.blocks import inner
from ..models.unet import UNet, UNetConfig
from ..schedule import ScheduleConfig, draw_steps, normal
from ..task import Batch, LoopConfig, Scalars, Task

VALIDATED, VALIDATION_SEED = 64, 1  # held-out crops


@dataclass(frozen=True)
class TeacherRecipe:
    data: ConversionData
    loop: LoopConfig
    model: UNetConfig = field(default_factory=UNetConfig)
    schedule: ScheduleConfig = field(default_factory=ScheduleConfig)
    start_share: float = 0.0  # share of the items at t = S_K, where a student starts; the paper: as often as any t

    def __post_init__(self) -> None:
        """Raises InputError where crops do not fit the network."""
        require_multiple(self.data.frames, UNet.stride, "data.frames")


class TeacherTask(Task):
    name = "teacher"

    def __init__(self, recipe: TeacherRecipe) -> None:
        self.recipe, self.loop = recipe, recipe.loop
        if recipe.model.examples:
            require_references(recipe.data)
        self.train_crops = ConversionCrops(recipe.data, "train")
        self.valid_crops = ConversionCrops(recipe.data, "valid")
        self.train_crops.require_sizes(recipe.model.content_dim, recipe.model.speaker_dim, "model")
        torch.manual_seed(recipe.loop.seed)
        model = UNet(recipe.model)
        model.norm.fit(statistics(self.train_crops.store, self.train_crops.crops, "mel"))
        if model.retrieval is not None:
            model.retrieval.fit(statistics(self.train_crops.store, self.train_crops.crops, "content"))
        self.modules = {"teacher": model}
        self.frozen = {}
        self.alpha_bar = recipe.schedule.alpha_bar()

    def model_config(self) -> UNetConfig:
        return self.recipe.model

    def _with_noise(self, batch: Batch, random: np.random.Generator) -> Batch:
        """A batch with t, "step" (B,), and eps, "noise" (B, 80, T)."""
        step = draw_steps(random, len(batch["mel"]), 1, self.recipe.schedule.steps)
        if share := self.recipe.start_share:
            step[: round(share * len(step))] = self.recipe.schedule.start
        return batch | {"step": step, "noise": normal(random, batch["mel"])}

    def batch(self, random: np.random.Generator, size: int) -> Batch:
        return self._with_noise(self.train_crops.draw(random, size), random)

    def losses(self, batch: Batch) -> dict[str, Tensor]:
        model = self.modules["teacher"]
        unet: UNet = inner(model)
        x0, eps = unet.norm(batch["mel"]), batch["noise"]
        ab = self.alpha_bar.to(x0.device)[batch["step"]][:, None, None]
        x_t = diffuse(x0, eps, ab)
        out = model(x_t, batch["step"], batch["speaker"], batch["content"], conditions_of(unet, batch))
        target = {"eps": eps, "v": ab.sqrt() * eps - (1 - ab).sqrt() * x0, "x0": x0}[self.recipe.model.prediction]
        return {self.recipe.model.prediction: (out - target).abs().mean()}

    def validate(self) -> Scalars:
        """The loss on held-out voices."""
        random = np.random.default_rng(VALIDATION_SEED)
        return self.loss_values(self._with_noise(self.valid_crops.draw(random, VALIDATED), random))

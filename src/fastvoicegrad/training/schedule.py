"""The diffusion schedule of a training run, and its random draws."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from ..bundle_config import BundleConfig
from ..diffusion import InitialState, ScheduleKind, noise_schedule
from ..errors import InputError


@dataclass(frozen=True)
class ScheduleConfig:
    """The noise schedule and the step at which conversion starts."""

    kind: ScheduleKind = "cosine"  # the paper's; the others are in diffusion.py
    steps: int = 1000  # T
    offset: float = 0.008  # of "cosine"
    scale: float = 1.0  # tau of "sigmoid", b of "laplace"
    max_beta: float = 0.999
    start: int = 950  # S_K, 1 to `steps`
    initial: InitialState = "diffused"  # the state x_{S_K}: diffused source, clean source or noise

    def __post_init__(self) -> None:
        """Raises InputError where S_K is no step of the schedule."""
        if not 1 <= self.start <= self.steps:
            raise InputError(f"schedule.start must lie between 1 and schedule.steps, {self.steps}, got {self.start}")

    @classmethod
    def of(cls, config: BundleConfig) -> ScheduleConfig:
        """The schedule of a bundle."""
        same = {name: getattr(config, name) for name in ("steps", "offset", "max_beta", "start", "initial")}
        return cls(config.schedule, scale=config.schedule_scale, **same)

    def alpha_bar(self) -> Tensor:
        """alpha_bar_t of the steps 0 to T, (T + 1,)."""
        return torch.from_numpy(
            noise_schedule(self.kind, self.steps, offset=self.offset, scale=self.scale, max_beta=self.max_beta)
        ).float()

    def same_noise(self, other: ScheduleConfig) -> bool:
        """Whether both have one alpha_bar; they may start at different steps."""
        return torch.equal(self.alpha_bar(), other.alpha_bar())


def normal(random: np.random.Generator, like: Tensor) -> Tensor:
    """Standard normal noise of the shape of `like`."""
    return torch.from_numpy(random.standard_normal(like.shape, dtype=np.float32))


def draw_steps(random: np.random.Generator, size: int, first: int, last: int) -> Tensor:
    """Steps t, uniform in first..last, (size,)."""
    return torch.from_numpy(random.integers(first, last + 1, size))

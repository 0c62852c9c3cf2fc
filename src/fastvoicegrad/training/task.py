"""What the training loop trains: the interface of a task, and the settings of every run."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from ..errors import InputError
from .losses import weighted_sum

Batch = dict[str, Tensor]
Scalars = dict[str, float]
Exhibits = dict[str, tuple[Tensor, Tensor]]  # name -> log-mel (80, T) and its waveform (N,)

# Of Accelerate; in YAML, "no" needs quotes. Half precision ("fp16") needs a scaler, whose state no checkpoint holds.
PRECISIONS = ("no", "bf16")
LEAST = {  # values of settings
    **dict.fromkeys(("steps", "batch_size", "warmup", "seed", "threads", "adversary_rate", "weight_decay"), 0),
    **dict.fromkeys(("accumulate", "save_every", "validate_every", "log_every"), 1),
}
DISCRIMINATOR = "discriminator"  # name of the network that is trained against the others


@dataclass(frozen=True)
class LoopConfig:
    """Settings of a run. Steps are optimiser steps; the learning rate is the generator's."""

    steps: int
    batch_size: int  # of all processes together; 0: the task chooses, as an adaptation does
    accumulate: int = 1  # parts of a process's batch: less memory, the same step but for losses of a whole batch
    learning_rate: float = 2e-4
    adversary_rate: float = 1.0  # learning rate of the discriminator, in units of the generator's
    betas: tuple[float, float] = (0.5, 0.9)  # of AdamW
    weight_decay: float = 0.0
    warmup: int = 0  # steps of linear rise of the learning rate
    cooldown: float = 0.0  # share of the steps, at the end, over which the rate falls linearly to a twentieth
    clip: float = 10.0  # largest gradient norm
    start_from: str = ""  # checkpoint whose weights the run starts with; its discriminator too, if the shapes match
    ema: float = 0.0  # decay of the averaged weights; 0 keeps none
    seed: int = 0
    save_every: int = 250
    validate_every: int = 500
    keep_best: str = ""  # validation score, greater is better, whose best step is kept as best.safetensors
    log_every: int = 20
    mixed_precision: str = "no"  # "bf16" for a GPU, or for a CPU with fast bfloat16
    threads: int = 0  # CPU threads; 0 keeps PyTorch's choice

    def __post_init__(self) -> None:
        """Raises InputError where a number is out of its range, or a precision has another name."""
        for name, least in LEAST.items():
            if not getattr(self, name) >= least:  # nor is NaN
                raise InputError(f"loop.{name} must be {least} or more, got {getattr(self, name)}")
        for name in ("learning_rate", "clip"):
            if not getattr(self, name) > 0:
                raise InputError(f"loop.{name} must be above 0, got {getattr(self, name)}")
        if not 0 <= self.cooldown <= 1:
            raise InputError(f"loop.cooldown, a share of the steps, must lie between 0 and 1, got {self.cooldown}")
        for name, decay in {"ema": self.ema, "betas[0]": self.betas[0], "betas[1]": self.betas[1]}.items():
            if not 0 <= decay < 1:
                raise InputError(f"loop.{name} must be 0 or more and below 1, got {decay}")
        if self.mixed_precision not in PRECISIONS:
            raise InputError(f"loop.mixed_precision is one of {', '.join(PRECISIONS)}, not '{self.mixed_precision}'")


class Task(ABC):
    """Something that can be trained.

    Attributes:
        name: of the task, and of its main network.
        modules: the trained networks, by name; the main one comes first.
        frozen: fixed networks that the losses need; moved to the device, never saved.
        loop: the settings of the run.
        weights: of the losses in their sum; None: each counts once.
        step: the current step; the trainer sets it.
    """

    name: str
    modules: dict[str, nn.Module]
    frozen: dict[str, nn.Module]
    loop: LoopConfig
    weights: Mapping[str, float] | None = None
    scores: tuple[str, ...] = ()  # of `validate`, those of which more is better
    step: int = 0

    @abstractmethod
    def batch(self, random: np.random.Generator, size: int) -> Batch:
        """The global batch of a step, on the CPU. All randomness of the step comes from `random`."""

    def smallest_batch(self, size: int) -> int:
        """Fewest items of a batch that `batch` draws for this size."""
        return size

    @abstractmethod
    def losses(self, batch: Batch) -> dict[str, Tensor]:
        """Named terms of the generator's loss, each a scalar."""

    def total(self, losses: dict[str, Tensor]) -> Tensor:
        """Weighted sum of these terms."""
        return weighted_sum(losses, dict.fromkeys(losses, 1.0) if self.weights is None else self.weights)

    @abstractmethod
    def validate(self) -> Scalars:
        """Scores on held-out recordings. The trainer puts the averaged weights in place, where there are any."""

    def check(self) -> None:  # noqa: B027
        """Raises InputError where networks do not fit each other. The trainer has loaded `loop.start_from` by then."""

    def exhibits(self) -> Exhibits:
        """Examples of the last validation, for TensorBoard."""
        return {}

    def model_config(self) -> Any:
        """The settings that rebuild the main network from a checkpoint."""
        return None

    @property
    def device(self) -> torch.device:
        """Where the main network is."""
        return next(self.modules[self.name].parameters()).device

    def on_device(self, batch: Batch) -> Batch:
        """A batch where the main network is."""
        return {name: value.to(self.device) for name, value in batch.items()}

    def loss_values(self, batch: Batch) -> Scalars:
        """The losses of a batch as numbers."""
        return {name: float(value) for name, value in self.losses(self.on_device(batch)).items()}

    @property
    def generators(self) -> list[str]:
        """Names of the networks that share the generator's loss: all but the discriminator."""
        return [name for name in self.modules if name != DISCRIMINATOR]


class AdversarialTask(Task):
    """A task whose modules include a discriminator with a loss of its own."""

    @property
    @abstractmethod
    def adversarial(self) -> bool:
        """Whether the discriminator takes part in the current step."""

    @abstractmethod
    def forward(self, batch: Batch) -> None:
        """Compute and keep the outputs that both losses read."""

    @abstractmethod
    def discriminator_loss(self, batch: Batch) -> Tensor:
        """Loss of the discriminator; its optimiser steps before the generator's."""

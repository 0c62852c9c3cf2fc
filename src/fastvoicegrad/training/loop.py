"""The shared training loop: a straight line from a recipe to a checkpoint.

Randomness belongs to steps: everything random about step n is drawn by a generator seeded with (seed, n)
inside `Task.batch`. So there is no sampler state to save, and N steps, a kill and N more are the same 2N
steps; several processes draw the same global batch and each takes its share.
"""

from __future__ import annotations

import math
import time
from abc import ABC, abstractmethod
from collections import defaultdict
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
import yaml
from accelerate import Accelerator
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from torch import Tensor, nn
from torch.optim import Optimizer

from ..mel import MEL
from ..memory import peak_mb
from . import checkpoint
from .checkpoint import DISCRIMINATOR
from .models.blocks import inner

Batch = dict[str, Tensor]
Scalars = dict[str, float]
Exhibits = dict[str, tuple[Tensor, Tensor]]  # by name a log-mel (80, T) and its sound (N,)


@dataclass(frozen=True)
class LoopConfig:
    """How long and how fast. Steps are optimiser steps; the learning rate belongs to the generator."""

    steps: int
    batch_size: int  # of all processes together
    accumulate: int = 1  # parts in which a process takes its share of a batch: less memory, the same step
    learning_rate: float = 2e-4
    adversary_rate: float = 1.0  # learning rate of discriminators, in units of the generator's
    betas: tuple[float, float] = (0.5, 0.9)
    weight_decay: float = 0.0
    warmup: int = 0  # steps of linear rise
    cooldown: float = 0.0  # share of the steps, at the end, of linear fall to a twentieth
    clip: float = 10.0  # gradient norm
    start_from: str = ""  # checkpoint of a like network whose weights, and discriminators if alike, the run starts with
    ema: float = 0.0  # decay of the averaged weights; 0 keeps none
    seed: int = 0
    save_every: int = 250
    validate_every: int = 500
    keep_best: str = ""  # validation score, greater is better, whose best step stays as best.safetensors
    log_every: int = 20
    mixed_precision: str = "no"  # "bf16" on a GPU, or on a CPU where it is measured to be faster
    threads: int = 0  # CPU threads; 0 leaves PyTorch's choice


class NonFiniteLoss(RuntimeError):
    """Training has left the numbers; the last checkpoint is from before."""


class Task(ABC):
    """Something that can be trained.

    Attributes:
        modules: the networks that are trained, by name; the first is what the task is for. The one called
            "discriminator", where there is one, judges the others; they have one loss (and EMA follows them).
        frozen: networks that only help; augmented to the device, never saved.
        step: the step that is being taken (the trainer sets it).
    """

    name: str
    modules: dict[str, nn.Module]
    frozen: dict[str, nn.Module]
    loop: LoopConfig
    step: int = 0

    @abstractmethod
    def batch(self, random: np.random.Generator, size: int) -> Batch:
        """The global batch of one step, on the CPU; all that is random about the step."""

    @abstractmethod
    def losses(self, batch: Batch) -> dict[str, Tensor]:
        """Named terms of the generator's loss."""

    @abstractmethod
    def total(self, losses: dict[str, Tensor]) -> Tensor:
        """Their weighted sum."""

    @property
    def adversarial(self) -> bool:
        """Whether the discriminator judges the others in this step."""
        return False

    def forward(self, batch: Batch) -> None:  # noqa: B027 (nothing, where there is one loss)
        """What both losses look at; taken once for both."""

    def discriminator_loss(self, batch: Batch) -> Tensor:
        """The adversary's loss, taken before the generator's."""
        raise NotImplementedError

    @abstractmethod
    def validate(self) -> Scalars:
        """Scores on held-out recordings; called with the averaged weights where there are any."""

    def exhibits(self) -> Exhibits:
        """What to look at and listen to, after a validation."""
        return {}

    def model_config(self) -> Any:
        """What rebuilds the network from a checkpoint."""
        return None

    @property
    def made(self) -> list[str]:
        """Names of the networks that share the task's loss."""
        return [name for name in self.modules if name != DISCRIMINATOR]


def learning_rate_factor(step: int, config: LoopConfig) -> float:
    """Linear warm-up, a plateau, a linear fall to 5 % over the last ``cooldown`` of the steps."""
    rise = min(1.0, (step + 1) / config.warmup) if config.warmup else 1.0
    tail = config.cooldown * config.steps
    fall = min(1.0, max(0.05, (config.steps - step) / tail)) if tail else 1.0
    return rise * fall


def make_optimizer(module: nn.Module, config: LoopConfig) -> Optimizer:
    parameters = [p for p in module.parameters() if p.requires_grad]
    return torch.optim.AdamW(parameters, lr=config.learning_rate, betas=config.betas, weight_decay=config.weight_decay)


def share(batch: Batch, rank: int, world: int) -> Batch:
    """This process's part of a global batch."""
    return {key: value[rank::world] for key, value in batch.items()}


@torch.no_grad()
def update_average(average: nn.Module, module: nn.Module, decay: float) -> None:
    """EMA of parameters; buffers are copied."""
    for mean, parameter in zip(average.parameters(), module.parameters(), strict=True):
        mean.lerp_(parameter, 1 - decay)
    for copied, buffer in zip(average.buffers(), module.buffers(), strict=True):
        copied.copy_(buffer)


class Trainer:
    """Runs a task into a folder: ``last.safetensors``, ``config.yaml``, TensorBoard curves."""

    def __init__(self, task: Task, out: str | Path, recipe: Any) -> None:
        self.task, self.out, self.config = task, Path(out), task.loop
        self.recipe = checkpoint.plain(recipe)
        self.out.mkdir(parents=True, exist_ok=True)
        (self.out / "config.yaml").write_text(yaml.safe_dump(self.recipe, sort_keys=False))
        if self.config.threads:
            torch.set_num_threads(self.config.threads)
        if self.config.start_from:
            trained, *judges = task.modules
            checkpoint.load_network(self.config.start_from, task.modules[trained])
            checkpoint.load_alike(self.config.start_from, {name: task.modules[name] for name in judges})
        self.accelerator = Accelerator(mixed_precision=self.config.mixed_precision, cpu=not torch.cuda.is_available())
        self.console = Console()
        self.optimizers = {n: make_optimizer(m, self.config) for n, m in task.modules.items()}
        self.averages = self._averages()
        self.step, self.best = self._resume()
        self.cost: dict[str, Any] = {}  # of this process's steps
        self._prepare()

    @property
    def last(self) -> Path:
        return self.out / "last.safetensors"

    def _averages(self) -> dict[str, nn.Module]:
        import copy

        if not self.config.ema:
            return {}
        modules = self.task.modules
        return {f"{name}_ema": copy.deepcopy(modules[name]).requires_grad_(False) for name in self.task.made}

    def _resume(self) -> tuple[int, float]:
        """The step that a run has reached, and its best score."""
        if not self.last.exists():
            return 0, -math.inf
        step = checkpoint.load(self.last, self.task.modules | self.averages, self.optimizers)
        self.console.print(f"resuming {self.out} at step {step}")
        return step, checkpoint.read_meta(self.last).get("best", -math.inf)

    def _prepare(self) -> None:
        for name, module in self.task.modules.items():
            prepared, optimizer = self.accelerator.prepare(module, self.optimizers[name])
            self.task.modules[name], self.optimizers[name] = prepared, optimizer
        for module in (*self.task.frozen.values(), *self.averages.values()):
            module.to(self.accelerator.device)

    def save(self, name: str = "last") -> None:
        if self.accelerator.is_main_process:
            modules = {n: self.accelerator.unwrap_model(m) for n, m in self.task.modules.items()}
            optimizers = {n: getattr(o, "optimizer", o) for n, o in self.optimizers.items()}
            meta = {
                "step": self.step,
                "task": self.task.name,
                "model": checkpoint.plain(self.task.model_config()),
                "others": {n: checkpoint.plain(inner(self.task.modules[n]).config) for n in self.task.made[1:]},
                "ema": bool(self.averages),
                "best": self.best,
                "cost": self.cost,
                "recipe": self.recipe,
            }
            checkpoint.save(self.out / f"{name}.safetensors", modules | self.averages, optimizers, meta)

    @contextmanager
    def _averaged(self) -> Iterator[None]:
        """The averaged weights in the networks' place, where there are any, and everything in evaluation mode."""
        modules = dict(self.task.modules)
        self.task.modules |= {name: self.averages.get(f"{name}_ema", modules[name]) for name in self.task.made}
        for m in self.task.modules.values():
            m.eval()
        with torch.inference_mode():
            yield
        self.task.modules |= modules
        for m in self.task.modules.values():
            m.train()

    def validate(self, writer: Any = None) -> Scalars:
        """Scores, and exhibits for TensorBoard; the best step is kept."""
        with self._averaged():
            scores = self.task.validate()
            exhibits = self.task.exhibits() if writer else {}
        for name, (mel, wave) in exhibits.items():
            shade = (mel - mel.min()) / (mel.max() - mel.min()).clamp(min=1e-5)
            writer.add_image(name, shade.flip(0)[None].cpu(), self.step)
            writer.add_audio(name, wave.clamp(-1, 1).cpu(), self.step, MEL.sample_rate)
        if (best := self.config.keep_best) and scores[best] > self.best:
            self.best = scores[best]
            self.save("best")
        return scores

    def _descend(self, names: list[str], losses: Iterator[Tensor]) -> Scalars:
        """One optimiser step of some networks down the mean of their losses; returns each one's gradient norm."""
        for name in names:
            self.optimizers[name].zero_grad(set_to_none=True)
        finite = True
        for loss in losses:
            self.accelerator.backward(loss / self.config.accumulate)
            finite = finite and bool(torch.isfinite(loss))
        norms = {}
        for name in names:
            norm = self.accelerator.clip_grad_norm_(self.task.modules[name].parameters(), self.config.clip)
            norms[name] = 0.0 if norm is None else float(norm)
        if not (finite and all(map(math.isfinite, norms.values()))):
            raise NonFiniteLoss(
                f"{self.task.name}: the loss of {' and '.join(map(repr, names))} is no longer a number at step "
                f"{self.step}; lower learning_rate or clip and start again (it resumes from {self.last})"
            )
        for name in names:
            self.optimizers[name].step()
        return norms

    def _adversary_losses(self, parts: list[Batch], scalars: Scalars) -> Iterator[Tensor]:
        for part in parts:
            with self.accelerator.autocast():
                self.task.forward(part)
                loss = self.task.discriminator_loss(part)
            scalars["discriminator"] += loss.item()
            yield loss

    def _generator_losses(self, parts: list[Batch], scalars: Scalars) -> Iterator[Tensor]:
        for part in parts:
            with self.accelerator.autocast():
                if len(parts) > 1 or not self.task.adversarial:  # else it is still there
                    self.task.forward(part)
                losses = self.task.losses(part)
                total = self.task.total(losses)
            for key, value in (losses | {"total": total}).items():
                scalars[key] += value.item()
            yield total

    def train_step(self) -> Scalars:
        """One step of every network; returns the losses by name."""
        task, config = self.task, self.config
        task.step = self.step
        random = np.random.default_rng((config.seed, self.step))
        torch.manual_seed(int(random.integers(2**31)))  # for dropout, the only draw outside the batch
        batch = share(
            task.batch(random, config.batch_size),
            self.accelerator.process_index,
            self.accelerator.num_processes,
        )
        batch = {key: value.to(self.accelerator.device) for key, value in batch.items()}
        rate = config.learning_rate * learning_rate_factor(self.step, config)
        for name, optimizer in self.optimizers.items():
            for group in optimizer.param_groups:
                group["lr"] = rate * (config.adversary_rate if name == DISCRIMINATOR else 1)
        parts = [share(batch, part, config.accumulate) for part in range(config.accumulate)]
        scalars: Scalars = defaultdict(float)
        if task.adversarial:
            self._descend([DISCRIMINATOR], self._adversary_losses(parts, scalars))
        norms = self._descend(task.made, self._generator_losses(parts, scalars))
        scalars = {"gradient": norms[task.made[0]]} | {key: value / len(parts) for key, value in scalars.items()}
        scalars |= {f"gradient_{name}": norms[name] for name in task.made[1:]}
        for name, average in self.averages.items():
            # A young average follows quickly, so that it never remembers the random start.
            decay = min(config.ema, (1 + self.step) / (10 + self.step))
            update_average(average, self.accelerator.unwrap_model(task.modules[name.removesuffix("_ema")]), decay)
        self.step += 1
        return scalars

    def run(self) -> Scalars:
        """Train to the recipe's number of steps; returns the last validation's scores."""
        from torch.utils.tensorboard import SummaryWriter

        config = self.config
        writer = SummaryWriter(str(self.out)) if self.accelerator.is_main_process else None
        columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
        scores: Scalars = {}
        started, first = time.monotonic(), self.step
        with Progress(*columns, console=self.console, disable=not self.accelerator.is_main_process) as progress:
            bar = progress.add_task(self.task.name, total=config.steps, completed=self.step)
            while self.step < config.steps:
                scalars = self.train_step()
                progress.update(bar, completed=self.step)
                self.cost = self._cost(self.step - first, time.monotonic() - started)
                if self.step % config.log_every == 0:
                    self._log(writer, "train", scalars | {"steps_per_second": self.cost["steps_per_second"]})
                if self.step % config.validate_every == 0 or self.step == config.steps:
                    scores = self.validate(writer)
                    self._log(writer, "valid", scores)
                if self.step % config.save_every == 0 or self.step == config.steps:
                    self.save()
        if writer:
            writer.close()
        return scores

    def _cost(self, steps: int, seconds: float) -> dict[str, Any]:
        """Throughput (validation included) and peak memory, of the GPU where there is one."""
        device = self.accelerator.device
        on_gpu = device.type == "cuda"
        memory = torch.cuda.max_memory_allocated(device) / 2**20 if on_gpu else peak_mb()
        name = torch.cuda.get_device_name(device) if on_gpu else f"CPU, {torch.get_num_threads()} threads"
        return {"steps_per_second": steps / seconds, "peak_mb": memory, "device": name}

    def _log(self, writer: Any, kind: str, scalars: Scalars) -> None:
        if writer is None:
            return
        for key, value in scalars.items():
            writer.add_scalar(f"{kind}/{key}", value, self.step)
        writer.flush()
        text = "  ".join(f"{key} {value:.4g}" for key, value in scalars.items())
        if kind == "valid" or self.step % (self.config.log_every * 5) == 0:
            self.console.print(f"{self.task.name} {self.step:>7} {kind}  {text}", highlight=False)

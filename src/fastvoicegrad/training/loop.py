"""The training loop that all tasks share: a straight line from a recipe to a checkpoint.

Randomness belongs to steps. Everything random about step n comes from a generator seeded with (seed, n), inside
`Task.batch`. So a sampler has no state to save, and N steps, a kill and N more are the same 2N steps. Several processes
draw the same global batch; each takes its share.
"""

from __future__ import annotations

import copy
import math
import time
from collections import defaultdict
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import torch
import yaml
from accelerate import Accelerator, DistributedDataParallelKwargs
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from torch import Tensor, nn

from ..errors import InputError
from . import checkpoint
from .alone import held
from .models.blocks import inner
from .optimiser import ema_decay, learning_rate_factor, make_optimizer, share, update_average
from .run_log import RunLog, cost
from .task import DISCRIMINATOR, AdversarialTask, Batch, Scalars, Task

WARM_UP = 2  # first steps of a process, which its speed leaves out: they also start threads and fill caches


class NonFiniteLoss(RuntimeError):
    """A loss or a gradient is no longer a finite number; a checkpoint, where there is one, is from before."""


def _check_parts(task: Task, recipe: Any, processes: int) -> None:
    """Raises InputError where a batch or a part of it would be empty, or would hold no conversion."""
    parts, items = task.loop.accumulate * processes, task.smallest_batch(task.loop.batch_size)
    if not task.loop.batch_size:  # the task chooses its batch by itself
        return
    converting = hasattr(recipe, "conversions") and getattr(recipe, "converting", True)
    conversions = min(recipe.conversions, items - 1) if converting else items  # see `conversion_targets`
    if converting and conversions < 1:
        raise InputError("conversions need two items of a batch; raise loop.batch_size to 2 and conversions to 1")
    if items < parts and not converting:
        raise InputError(
            f"a batch may have {items} items for {parts} parts; "
            "raise loop.batch_size, or lower loop.accumulate or the number of processes"
        )
    if min(items, conversions) < parts:
        raise InputError(
            f"{parts} parts of a batch need as many items and conversions, not {items} and {conversions}; "
            "raise loop.batch_size and conversions, or lower loop.accumulate or the number of processes"
        )


def _size(batch: Batch) -> int:
    """Its items: the first entry has all of them, others may have fewer."""
    return len(next(iter(batch.values())))


@contextmanager
def _fitting(message: str) -> Iterator[None]:
    """Raises InputError with the message where weights do not fit the networks."""
    try:
        yield
    except checkpoint.OtherNetworkError as error:
        raise InputError(message) from error


def _check_best(task: Task, name: str) -> None:
    """Raises InputError where a part has no score of this name."""
    if name and name not in task.scores:
        choice = f"choose one of {', '.join(task.scores)}" if task.scores else "leave it out: this part has losses only"
        raise InputError(f"loop.keep_best: there is no score '{name}'; {choice}")


class Trainer:
    """Runs a task into a folder: ``last.safetensors``, ``config.yaml``, TensorBoard curves.

    The folder is closed to other processes until `run` has ended. Of several processes the main one holds it.

    Args:
        out: the run's folder; a run that is there already continues from its last checkpoint.
        recipe: the resolved recipe, a dataclass.
    Raises:
        InputError: the recipe does not fit, or the folder holds another run, or another process works in it.
    """

    locks = True  # whether the trainer holds its folder

    def __init__(self, task: Task, out: str | Path, recipe: Any) -> None:
        self.task, self.out, self.config = task, Path(out), task.loop
        self.recipe = checkpoint.plain(recipe)
        if self.config.threads:
            torch.set_num_threads(self.config.threads)
        if self.config.start_from:
            main, *others = task.modules
            with _fitting(f"loop.start_from={self.config.start_from} holds another part or other networks"):
                checkpoint.load_network(self.config.start_from, task.modules[main])
                checkpoint.load_matching(self.config.start_from, {name: task.modules[name] for name in others})
        task.check()
        _check_best(task, self.config.keep_best)
        # Buffers are constants: sent again at every forward pass, they would break gradients of modules used twice.
        constant = DistributedDataParallelKwargs(broadcast_buffers=False)
        self.accelerator = Accelerator(
            cpu=not torch.cuda.is_available(), mixed_precision=self.config.mixed_precision, kwargs_handlers=[constant]
        )
        _check_parts(task, recipe, self.accelerator.num_processes)
        self.console = Console()
        self.optimizers = {n: make_optimizer(m, self.config) for n, m in task.modules.items()}
        self.averages = self._averages()
        self._hold = held(self.out) if self.locks and self.accelerator.is_main_process else None
        self.step, self.best = self._resume()
        self.cost: dict[str, Any] = {}  # of this process's steps
        self._write_recipe()
        self._prepare()

    @property
    def last(self) -> Path:
        return self.out / "last.safetensors"

    def _averages(self) -> dict[str, nn.Module]:
        if not self.config.ema:
            return {}
        modules = self.task.modules
        return {f"{name}_ema": copy.deepcopy(modules[name]).requires_grad_(False) for name in self.task.generators}

    def _resume(self) -> tuple[int, float]:
        """The step and the best score of the run so far."""
        if not self.last.exists():
            return 0, -math.inf
        with _fitting(f"{self.out} holds a run of another part or of other networks; name another folder"):
            step = checkpoint.load(self.last, self.task.modules | self.averages, self.optimizers)
        self.console.print(f"resuming {self.out} at step {step}")
        return step, checkpoint.read_meta(self.last).get("best", -math.inf)

    def _write_recipe(self) -> None:
        """Only after the checkpoint has loaded: a recipe that does not fit leaves the run's own in place."""
        if self.accelerator.is_main_process:
            self.out.mkdir(parents=True, exist_ok=True)
            (self.out / "config.yaml").write_text(yaml.safe_dump(self.recipe, sort_keys=False))

    def _prepare(self) -> None:
        for name, module in self.task.modules.items():
            prepared, optimizer = self.accelerator.prepare(module, self.optimizers[name])
            self.task.modules[name], self.optimizers[name] = prepared, optimizer
        for module in (*self.task.frozen.values(), *self.averages.values()):
            module.to(self.accelerator.device)

    def save(self, name: str = "last") -> None:
        """Write a checkpoint from which the run can continue exactly."""
        if self.accelerator.is_main_process:
            modules = {n: self.accelerator.unwrap_model(m) for n, m in self.task.modules.items()}
            optimizers = {n: getattr(o, "optimizer", o) for n, o in self.optimizers.items()}
            others = self.task.generators[1:]
            meta = {
                "step": self.step,
                "task": self.task.name,
                "model": checkpoint.plain(self.task.model_config()),
                "others": {n: checkpoint.plain(inner(self.task.modules[n]).config) for n in others},
                "ema": bool(self.averages),
                "best": self.best,
                "cost": self.cost,
                "recipe": self.recipe,
            }
            checkpoint.save(self.out / f"{name}.safetensors", modules | self.averages, optimizers, meta)

    @contextmanager
    def _averaged(self) -> Iterator[None]:
        """Averaged weights in place of the trained ones, where there are any; all networks in evaluation mode."""
        trained = dict(self.task.modules)
        self.task.modules |= {n: self.averages.get(f"{n}_ema", trained[n]) for n in self.task.generators}
        for module in self.task.modules.values():
            module.eval()
        try:
            with torch.inference_mode():
                yield
        finally:
            self.task.modules |= trained
            for module in self.task.modules.values():
                module.train()

    def validate(self, log: RunLog | None = None) -> Scalars:
        """Scores of the averaged weights, where there are any; the best step is kept as a checkpoint.

        Args:
            log: receives the scores and the task's examples.
        """
        with self._averaged():
            scores = self.task.validate()
            exhibits = self.task.exhibits() if log else {}
        if log:
            log.exhibits(self.step, exhibits)
            log.scalars(self.step, "valid", scores)
        if (best := self.config.keep_best) and best not in scores:
            raise InputError(f"loop.keep_best: '{best}' needs a network that the recipe does not name; leave it out")
        if best and scores[best] > self.best:
            self.best = scores[best]
            self.save("best")
        return scores

    @property
    def _adversarial(self) -> bool:
        return isinstance(self.task, AdversarialTask) and self.task.adversarial

    def _forward(self, part: Batch) -> None:
        if isinstance(self.task, AdversarialTask):
            self.task.forward(part)

    def _discriminator_losses(self, parts: list[Batch], scalars: Scalars) -> Iterator[Tensor]:
        assert isinstance(self.task, AdversarialTask)
        for part in parts:
            with self.accelerator.autocast():
                self._forward(part)
                loss = self.task.discriminator_loss(part)
            scalars["discriminator"] += loss.item()
            yield loss

    def _generator_losses(self, parts: list[Batch], scalars: Scalars) -> Iterator[Tensor]:
        """Losses after the discriminator's step.

        The generator has not changed since that step's pass, so its outputs are the same. Of several parts only the
        last one's are still there.
        """
        for part in parts:
            with self.accelerator.autocast():
                if len(parts) > 1 or not self._adversarial:
                    self._forward(part)
                losses = self.task.losses(part)
                total = self.task.total(losses)
            for key, value in (losses | {"total": total}).items():
                scalars[key] += value.item()
            yield total

    def _descend(self, names: list[str], losses: Iterator[Tensor], weights: list[float]) -> Scalars:
        """One optimiser step of some networks on the sum of weighted losses; returns each one's gradient norm."""
        for name in names:
            self.optimizers[name].zero_grad(set_to_none=True)
        finite = True
        for loss, weight in zip(losses, weights, strict=True):
            self.accelerator.backward(loss * weight)
            finite = finite and bool(torch.isfinite(loss))
        if self.accelerator.num_processes > 1:
            self._share_gradients(names)
        norms = {}
        for name in names:
            norm = self.accelerator.clip_grad_norm_(self.task.modules[name].parameters(), self.config.clip)
            norms[name] = 0.0 if norm is None else float(norm)
        if not (finite and all(map(math.isfinite, norms.values()))):
            resumes = f" (it resumes from {self.last})" if self.last.exists() else ""
            raise NonFiniteLoss(
                f"{self.task.name}: the loss of {' and '.join(map(repr, names))} is no longer a number at step "
                f"{self.step}; lower learning_rate or clip and start again{resumes}"
            )
        for name in names:
            self.optimizers[name].step()
        return norms

    def _share_gradients(self, names: list[str]) -> None:
        """Mean gradients of all processes. DDP's hooks take it after DDP's own forward alone; tasks also call parts."""
        for name in names:
            for weight in self.task.modules[name].parameters():
                if weight.requires_grad:
                    own = torch.zeros_like(weight) if weight.grad is None else weight.grad
                    weight.grad = self.accelerator.reduce(own, "mean")

    def _draw_batch(self) -> tuple[Batch, int]:
        """This process's part of the step's batch, on its device, and the items of the whole batch."""
        random = np.random.default_rng((self.config.seed, self.step))
        torch.manual_seed(int(random.integers(2**31)))  # for dropout, the only draw outside the batch
        whole = self.task.batch(random, self.config.batch_size)
        batch = share(whole, self.accelerator.process_index, self.accelerator.num_processes)
        return {key: value.to(self.accelerator.device) for key, value in batch.items()}, _size(whole)

    def _set_learning_rates(self) -> None:
        rate = self.config.learning_rate * learning_rate_factor(self.step, self.config)
        for name, optimizer in self.optimizers.items():
            for group in optimizer.param_groups:
                group["lr"] = rate * (self.config.adversary_rate if name == DISCRIMINATOR else 1)

    def train_step(self) -> Scalars:
        """One step of every network; returns losses and gradient norms by name."""
        task, config = self.task, self.config
        task.step = self.step
        batch, items = self._draw_batch()
        self._set_learning_rates()
        parts = [share(batch, part, config.accumulate) for part in range(config.accumulate)]
        # Every item of the batch counts alike. Processes then take the mean of their gradients.
        weights = [_size(part) * self.accelerator.num_processes / items for part in parts]
        sums: Scalars = defaultdict(float)
        if self._adversarial:
            self._descend([DISCRIMINATOR], self._discriminator_losses(parts, sums), weights)
        main, *others = task.generators
        norms = self._descend(task.generators, self._generator_losses(parts, sums), weights)
        scalars = {"gradient": norms[main]} | {key: value / len(parts) for key, value in sums.items()}
        scalars |= {f"gradient_{name}": norms[name] for name in others}
        for name, average in self.averages.items():
            module = self.accelerator.unwrap_model(task.modules[name.removesuffix("_ema")])
            update_average(average, module, ema_decay(self.step, config.ema))
        self.step += 1
        return scalars

    def run(self) -> Scalars:
        """Train to the recipe's number of steps; returns the scores of the last validation."""
        try:
            return self._run()
        finally:
            self._hold = None  # the folder is free

    def _run(self) -> Scalars:
        config, main = self.config, self.accelerator.is_main_process
        log = RunLog(self.out, self.task.name, self.console, 5 * config.log_every) if main else None
        columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
        scores: Scalars = {}
        if self.step == 0 and config.start_from:
            self.validate(log)  # the first steps often cost something, which the later curve does not show
        resumed = first = self.step
        started = time.monotonic()
        with Progress(*columns, console=self.console, disable=not main) as progress:
            bar = progress.add_task(self.task.name, total=config.steps, completed=self.step)
            while self.step < config.steps:
                scalars = self.train_step()
                progress.update(bar, completed=self.step)
                now = time.monotonic()
                self.cost = cost(self.accelerator.device, self.step - first, now - started)
                if self.step == resumed + WARM_UP:
                    started, first = now, self.step
                if log and self.step % config.log_every == 0:
                    speed = {"steps_per_second": self.cost["steps_per_second"]}
                    log.scalars(self.step, "train", scalars | speed)
                if self.step % config.validate_every == 0 or self.step == config.steps:
                    scores = self.validate(log)
                if self.step % config.save_every == 0 or self.step == config.steps:
                    self.save()
        if log:
            log.close()
        return scores

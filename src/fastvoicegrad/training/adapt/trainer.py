"""The training loop of an adaptation: it shows the likeness so far, and stops early when nothing gains."""

from __future__ import annotations

from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from .. import checkpoint
from ..loop import Trainer
from ..task import Scalars
from .task import AdaptTask


class AdaptTrainer(Trainer):
    """A `Trainer` whose best step counts, not the last. A killed run continues to the same result."""

    task: AdaptTask
    locks = False  # `alone` keeps others out of the folder; trials have folders of their own

    @property
    def best_step(self) -> int:
        """The step with the best score."""
        path = self.out / "best.safetensors"
        return int(checkpoint.read_meta(path)["step"]) if path.exists() else 0

    @property
    def finished(self) -> bool:
        """Whether all steps are done, or the score has not risen for as long as the patience allows."""
        waited = self.step - self.best_step
        return self.step >= self.config.steps or waited >= self.task.config.patience * self.config.validate_every

    def run(self) -> Scalars:
        """Train until `finished`; returns the scores of the last validation."""
        columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
        scores: Scalars = {}
        with Progress(*columns, console=self.console, disable=not self.accelerator.is_main_process) as progress:
            bar = progress.add_task("adapting", total=self.config.steps, completed=self.step)
            if self.step == 0:
                scores = self._checkpoint()
            first = scores.get("likeness")
            while not self.finished:
                self.train_step()
                if self.step % self.config.validate_every == 0 or self.step == self.config.steps:
                    scores = self._checkpoint()
                before = "" if first is None else f", {first:.3f} at the start"
                text = f"likeness {scores['likeness']:.3f}{before}" if scores else "adapting"
                progress.update(bar, completed=self.step, description=text)
        return scores

    def _checkpoint(self) -> Scalars:
        scores = self.validate()
        self.save()
        return scores

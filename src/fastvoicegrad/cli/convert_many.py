"""Many recordings into a folder: the bar, the summary and the exit code."""

from __future__ import annotations

import json
import os
import re
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from itertools import count
from pathlib import Path

import typer
from rich.progress import BarColumn, Progress, TaskID, TextColumn, TimeRemainingColumn

from ..batch import Advance, Batch, Event, Outcome, Settings, Target, Task, make_target
from ..converter import VoiceConverter
from ..files import shown
from ..library import reference_name
from ..stopping import until_stopped
from .common import console, errors, findings, printable

MOST_WARNINGS = 20  # that are shown; all are in the log


@dataclass
class Run:
    """A run of the command, and what became of its recordings."""

    settings: Settings
    bundle: Path | None
    threads: int | None
    workers: int
    force: bool
    as_json: bool
    started: float = field(default_factory=time.perf_counter)
    seconds: float = 0.0
    states: Counter[str] = field(default_factory=Counter)
    failures: dict[tuple[Path, Path], Outcome] = field(default_factory=dict)
    warnings: list[str] = field(default_factory=list)

    def convert(self, inputs: list[str], folder: str, to: list[str], each: list[str], watch: bool) -> None:
        """Convert all inputs to the voice of `to`, or to the voices of `each`.

        Raises:
            InputError: an argument cannot be used.
            typer.Exit: a recording failed.
        """
        converter = VoiceConverter.load(self.bundle, self.threads)
        with findings(quiet=self.as_json) as found:
            targets = targets_of(converter, to, each)
        with Batch(converter, folder, targets, self.settings, workers=self.workers, force=self.force) as batch:
            if watch:
                self._watch(batch, inputs, found)
            else:
                with findings(quiet=self.as_json) as more:
                    tasks = batch.tasks(inputs)
                found += more
                if not tasks and not self.as_json:
                    errors.print(
                        f"fastvoicegrad: warning: {' '.join(map(shown, inputs))}: no recordings", style="yellow"
                    )
                self._once(batch, tasks)
            self._summary(batch, found)
        if self.failures:
            raise typer.Exit(1)

    def _once(self, batch: Batch, tasks: list[Task]) -> None:
        with bar(tasks, hidden=self.as_json or not errors.is_terminal) as shown_bar:
            for event in batch.run(tasks):
                shown_bar.update(event)
                self._count(event)

    def _watch(self, batch: Batch, inputs: list[str], before: list[str]) -> None:
        """Convert what arrives; what is found at the start is added to `before`."""
        with findings(quiet=self.as_json) as found:
            events = batch.watch(inputs)
        before += found
        with until_stopped():
            errors.print(f"fastvoicegrad: waiting for recordings, the results go to {shown(batch.folder)}; Ctrl-C ends")
            for event in events:
                self._count(event)
                if isinstance(event, Outcome):
                    self._tell(event)

    def _count(self, event: Event | None) -> None:
        if not isinstance(event, Outcome):
            return
        self.states[event.state] += 1
        self.seconds += event.seconds
        self.states["with warnings"] += bool(event.warnings)
        if event.state == "converted":
            self.warnings += event.findings
        if event.state == "failed":
            self.failures[event.source, event.output] = event
        else:
            self.failures.pop((event.source, event.output), None)

    def _tell(self, outcome: Outcome) -> None:
        """A line about a recording, at once."""
        if self.as_json:
            print(json.dumps(_facts(outcome)), flush=True)
        elif outcome.state == "failed":
            errors.print(f"fastvoicegrad: {printable(outcome.error)}", style="red")
        elif outcome.state == "converted":
            console.print(printable(str(outcome.output)))  # whole: other programs read it

    def _summary(self, batch: Batch, found: list[str]) -> None:
        elapsed = time.perf_counter() - self.started
        if self.as_json:
            report = {
                "folder": str(batch.folder),
                "log": str(batch.log),
                **{state: self.states[state] for state in ("converted", "skipped", "failed")},
                "seconds": round(self.seconds, 3),
                "elapsed": round(elapsed, 3),
                "warnings": [*found, *self.warnings],
                "failures": [_facts(outcome) for outcome in self.failures.values()],
            }
            print(json.dumps(report), flush=True)
            return
        for outcome in self.failures.values():
            errors.print(f"fastvoicegrad: {printable(outcome.error)}", style="red")
        for sentence in self.warnings[:MOST_WARNINGS]:
            errors.print(f"fastvoicegrad: warning: {printable(sentence)}")
        if more := len(self.warnings[MOST_WARNINGS:]):
            errors.print(f"fastvoicegrad: {more} more warnings are in the log")
        counts = ", ".join(f"{self.states[state]} {state}" for state in ("converted", "skipped", "failed"))
        if self.states["with warnings"]:
            counts += f", {self.states['with warnings']} with warnings"
        console.print(f"{shown(batch.folder)}: {counts}; {self.seconds:.1f} s of sound in {elapsed:.1f} s")
        console.print(f"  log: {printable(str(batch.log))}", style="dim")


def targets_of(converter: VoiceConverter, to: list[str], each: list[str]) -> list[Target]:
    """The voice of `to`, or those of `each`, which get folders.

    Raises:
        InputError: a voice cannot be used.
    """
    if to:
        return [make_target(converter, to)]
    return [make_target(converter, text, folder) for text, folder in zip(each, folder_names(each), strict=True)]


def folder_names(texts: list[str]) -> list[str]:
    """A folder for each voice. Equal names get that of the recording's own folder in front, "home_x", or a number.

    A voice that is given twice has one folder.
    """
    names = [reference_name(text) for text in texts]
    counts = Counter(name.casefold() for name in names)
    folders = dict[str, str]()
    for text, name in zip(texts, names, strict=True):
        is_file = counts[name.casefold()] > 1 and os.path.lexists(text)
        inside = f"{Path(text).absolute().parent.name}_" if is_file else ""
        same = next((known for known in folders if _place(known) == _place(text)), None)
        folders[text] = _free(folder_name(inside + name), list(folders.values())) if same is None else folders[same]
    return [folders[text] for text in texts]


def _place(text: str) -> str:
    """What tells references apart: the path of a file, or a voice's name."""
    return os.path.abspath(text) if os.path.lexists(text) else text


def _free(name: str, taken: list[str]) -> str:
    """A name that is not taken: itself, or with a number."""
    used = {one.casefold() for one in taken}
    numbered = (name if number == 1 else f"{name}-{number}" for number in count(1))
    return next(one for one in numbered if one.casefold() not in used)


def folder_name(name: str) -> str:
    """The name of a voice as every file system takes it."""
    name = re.sub(r'[<>:"/\\|?*]', "_", printable(name)).strip(". ")[:100]
    return name.encode()[:200].decode(errors="ignore").strip(". ") or "voice"  # file systems take 255 bytes


def _facts(outcome: Outcome) -> dict[str, object]:
    return {
        "source": str(outcome.source),
        "output": str(outcome.output),
        "state": outcome.state,
        "error": outcome.error,
    }


class Bar:
    """A bar that counts files and weighs them by their size, for the time left. Without a display it does nothing."""

    def __init__(self, tasks: list[Task], progress: Progress | None) -> None:
        self._count, self._progress, self._done = len(tasks), progress, 0
        self._shares: dict[tuple[Path, Path], float] = {}
        self._bar = TaskID(0)
        if progress is not None:
            self._total = sum(_weight(task.source) for task in tasks)
            self._bar = progress.add_task("", total=self._total, count=f"0/{self._count}")

    def update(self, event: Event) -> None:
        """Follows what happens."""
        if self._progress is None:
            return
        key, weight = (event.source, event.output), _weight(event.source)
        before = self._shares.get(key, 0.0)
        share = min(event.share, 1.0) if isinstance(event, Advance) else 1.0
        self._shares[key] = share
        if isinstance(event, Outcome):
            self._done += 1
            if event.state == "skipped":  # it takes no time that could be compared
                self._total, before = self._total - weight, 1.0
        self._progress.update(
            self._bar, total=self._total, advance=(share - before) * weight, count=f"{self._done}/{self._count}"
        )


def _weight(path: Path) -> float:
    try:
        return max(os.stat(path).st_size, 1)
    except (OSError, ValueError):
        return 1


@contextmanager
def bar(tasks: list[Task], hidden: bool) -> Iterator[Bar]:
    """A bar on stderr with the number of files and the time left."""
    if hidden:
        yield Bar(tasks, None)
        return
    columns = (TextColumn("converting {task.fields[count]}"), BarColumn(), TimeRemainingColumn())
    with Progress(*columns, console=errors, transient=True) as progress:
        yield Bar(tasks, progress)

"""Judge systems on pairs: every utterance and figure is kept by its content, so that nothing is done twice."""

from __future__ import annotations

import datetime
import os
from collections.abc import Iterator
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from dataclasses import dataclass, field
from functools import cached_property
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import numpy as np
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from .. import __version__
from ..errors import InputError
from .cache import Cache, digest, fingerprint
from .metrics import Case, Metric, available, heard
from .pairs import Pair, read_pairs
from .report import write_report
from .speaker import Likeness, equal_error_threshold
from .speed import measure
from .systems import Conversion, System, make_system, write

Row = dict[str, Any]  # the figures of an utterance


@dataclass(frozen=True)
class Plan:
    """What is asked for; all that a worker needs to know."""

    systems: dict[str, str]  # name -> spec, see systems.make_system
    pairs: str  # protocol file
    out: str
    metric_weights: str
    base: str | None = None  # bundle whose networks a checkpoint is used with


@dataclass
class Judge:
    """A process's systems and metrics, opened when they are first needed."""

    plan: Plan
    systems: dict[str, System] = field(default_factory=dict)

    @cached_property
    def pairs(self) -> list[Pair]:
        return read_pairs(Path(self.plan.pairs))

    @cached_property
    def metrics(self) -> list[Metric]:
        return available(Path(self.plan.metric_weights))[0]

    @cached_property
    def cache(self) -> Cache:
        return Cache(Path(self.plan.out) / "cache")

    def system(self, name: str) -> System:
        if name not in self.systems:
            work = Path(self.plan.out) / "cache" / "bundles"
            self.systems[name] = make_system(self.plan.systems[name], work, self.plan.base)
        return self.systems[name]

    def wave(self, name: str, pair: Pair) -> Path:
        """The file of a system's utterance; rendered if it is not there."""
        system = self.system(name)
        path = self.cache.path(digest(system.key, *system.depends(pair)), ".flac")
        if not path.exists():
            write(path, system(pair), system.rate)
        return path

    def row(self, name: str, index: int) -> Row:
        """All figures of one utterance."""
        pair = self.pairs[index]
        path = self.wave(name, pair)
        said = self.system(name).says(pair)
        row: Row = {"system": name, "pair": pair.id, "file": str(path.relative_to(self.plan.out)), "text": said.text}
        for metric in self.metrics:
            row |= self._figures(metric, Case(pair, heard(str(path)), said.text), path)
        return row

    def _figures(self, metric: Metric, case: Case, path: Path) -> Row:
        key = digest(metric.version, fingerprint(str(path)), *metric.depends(case))
        figures: Row | None = self.cache.get(key)
        if figures is None:
            figures = dict(metric(case))
            self.cache.put(key, figures)
        return figures

    def trial(self, metric: int, index: int) -> tuple[float, float]:
        """Cosines of a speaker metric on natural speech alone, see `Likeness.trial`."""
        likeness, pair = self.metrics[metric], self.pairs[index]
        assert isinstance(likeness, Likeness)
        recordings = (*pair.references, pair.natural, pair.source)
        key = digest("trial", likeness.version, *(fingerprint(r.path) for r in recordings))
        cosines = self.cache.get(key)
        if cosines is None:
            cosines = likeness.trial(pair)
            self.cache.put(key, cosines)
        return tuple(cosines)


_judge: Judge  # of a worker process


def _start(plan: Plan) -> None:
    import signal

    import torch

    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the parent stops the workers
    torch.set_num_threads(1)
    global _judge
    _judge = Judge(plan)


def _row(name: str, index: int) -> Row:
    return _judge.row(name, index)


def _trial(metric: int, index: int) -> tuple[float, float]:
    return _judge.trial(metric, index)


def _finished(futures: dict[Future[Any], Any], total: int, title: str) -> Iterator[tuple[Any, Any]]:
    """(what was asked, its result) as they come, with a progress bar."""
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns) as progress:
        bar = progress.add_task(title, total=total)
        waiting = set(futures)
        while waiting:
            done, waiting = wait(waiting, return_when=FIRST_COMPLETED)
            for future in done:
                yield futures[future], future.result()
                progress.advance(bar)


def judge(plan: Plan, jobs: int = 0) -> dict[str, Any]:
    """Every figure of every utterance.

    Args:
        jobs: processes, one CPU thread each; 0: as many as there are cores.
    Returns:
        ``pairs`` (ids), ``metrics`` (columns with the version that makes them), ``missing`` (lines),
        ``thresholds`` (cosine at the equal-error rate, by encoder), ``rows`` (figures by system, in the pairs' order).
    Raises:
        InputError: a system, a pair or a recording is not as it should be.
    """
    here = Judge(plan)
    pairs, (metrics, missing) = here.pairs, available(Path(plan.metric_weights))
    for name in plan.systems:
        here.system(name)  # bad ones are refused, and bundles made, before anything is computed
    verifiers = [i for i, metric in enumerate(metrics) if isinstance(metric, Likeness)]
    work = [(name, index) for index in range(len(pairs)) for name in plan.systems]
    rows: dict[str, list[Row]] = {name: [{} for _ in pairs] for name in plan.systems}
    trials = np.zeros((len(metrics), len(pairs), 2))
    pool = ProcessPoolExecutor(jobs or os.cpu_count(), get_context("spawn"), _start, (plan,))
    try:
        asked: dict[Future[Any], Any] = {pool.submit(_row, *task): task for task in work}
        for (name, index), row in _finished(asked, len(work), "utterances"):
            rows[name][index] = row
        asked = {pool.submit(_trial, m, i): (m, i) for m in verifiers for i in range(len(pairs))}
        for place, cosines in _finished(asked, len(asked), "verification"):
            trials[place] = cosines
    finally:
        pool.shutdown(wait=True, cancel_futures=True)
    thresholds = {}
    for m in verifiers:
        metric = metrics[m]
        assert isinstance(metric, Likeness)
        thresholds[metric.encoder.name] = threshold = equal_error_threshold(trials[m, :, 0], trials[m, :, 1])
        for row in (row for of_system in rows.values() for row in of_system):
            row[metric.accepted] = 100.0 * (row[metric.target] >= threshold)
    return {
        "version": __version__,
        "pairs": [pair.id for pair in pairs],
        "systems": plan.systems,
        "keys": {name: here.system(name).key for name in plan.systems},
        "metrics": [
            {"version": metric.version, "columns": [vars(column) for column in metric.columns]} for metric in metrics
        ],
        "missing": missing,
        "thresholds": thresholds,
        "rows": rows,
    }


def name_systems(specs: list[str]) -> dict[str, str]:
    """``NAME=SYSTEM`` or ``SYSTEM``, whose name is itself without its path.

    Raises:
        InputError: two systems have one name, or one that cannot be a folder's.
    """
    named: dict[str, str] = {}
    for spec in specs:
        name, equals, rest = spec.partition("=")
        name, spec = (name, rest) if equals else (Path(spec).name.replace(":", "-"), spec)
        if not name or "/" in name or name in named:
            raise InputError(f"{spec}: give every system a name of its own, as NAME=SYSTEM")
        named[name] = spec
    return named


def evaluate(plan: Plan, against: str, jobs: int = 0, with_speed: bool = True) -> dict[str, Any]:
    """Judge the plan's systems and write the report, compared with the system `against`; returns it.

    Raises:
        InputError: see `judge`; or there is no system `against`.
    """
    if against not in plan.systems:
        raise InputError(f"--against {against}: not among the systems, which are {', '.join(plan.systems)}")
    out = Path(plan.out)
    out.mkdir(parents=True, exist_ok=True)
    report = judge(plan, jobs)
    here = Judge(plan)
    report["date"] = datetime.date.today().isoformat()
    report["speed"] = {}
    if with_speed:
        conversions = {name: here.system(name) for name in plan.systems}
        report["speed"] = {
            name: measure(system, here.pairs, os.cpu_count() or 1)
            for name, system in conversions.items()
            if isinstance(system, Conversion)
        }
    write_report(report, here.pairs, out, against)
    return report

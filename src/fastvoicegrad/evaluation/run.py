"""Evaluate systems on pairs. Every output and figure is cached by its inputs, so that nothing is computed twice."""

from __future__ import annotations

import datetime
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
from ..files import new_folder, regular_file
from ..threads import available_cores
from ..training.verification import equal_error
from .cache import Cache, digest, fingerprint
from .metrics import Metric, Utterance, english_text, in_one_line, load_16k
from .pairs import Pair, read_pairs
from .processes import deaths_in_one_line, end_with_parent
from .registry import available
from .report import write_report
from .speaker import SpeakerSimilarity
from .specs import make_system
from .speed import measure
from .systems import Conversion, System, write

Row = dict[str, Any]  # the figures of an utterance


@dataclass(frozen=True)
class Plan:
    """What to evaluate; it has all that a worker process needs.

    Attributes:
        systems: name -> spec, see `specs.make_system`.
        pairs: path of the protocol file.
        out: folder of the report and the cache.
        metric_weights: folder of the metrics' weights.
        base: the bundle whose other networks complete a checkpoint; None is the default one.
    """

    systems: dict[str, str]
    pairs: str
    out: str
    metric_weights: str
    base: str | None = None


@dataclass
class Evaluator:
    """The systems and metrics of one process, opened at their first use."""

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

    def output(self, name: str, pair: Pair) -> Path:
        """The file of a system's output; rendered if it does not exist."""
        system = self.system(name)
        path = self.cache.path(digest(system.key, *system.depends(pair)), ".flac")
        if not path.exists():
            write(path, system(pair), system.rate)
        return path

    def row(self, name: str, index: int) -> Row:
        """All figures of one utterance."""
        pair = self.pairs[index]
        path = self.output(name, pair)
        spoken = self.system(name).spoken(pair)
        row: Row = {"system": name, "pair": pair.id, "file": str(path.relative_to(self.plan.out)), "text": spoken.text}
        utterance = Utterance(pair, load_16k(str(path)), english_text(spoken), spoken.path == pair.source.path)
        for metric in self.metrics:
            row |= self._figures(metric, utterance, path)
        return row

    def _figures(self, metric: Metric, utterance: Utterance, path: Path) -> Row:
        key = digest(metric.version, fingerprint(str(path)), *metric.depends(utterance))
        figures: Row | None = self.cache.get(key)
        if figures is None:
            with in_one_line(f"{metric.version} cannot be computed", "check its weights and packages"):
                figures = dict(metric(utterance))
            self.cache.put(key, figures)
        return figures

    def trial(self, metric: int, index: int) -> tuple[float, float]:
        """Cosines of a speaker metric on natural speech, see `SpeakerSimilarity.trial`."""
        similarity, pair = self.metrics[metric], self.pairs[index]
        assert isinstance(similarity, SpeakerSimilarity)
        recordings = (*pair.references, pair.natural, pair.source)
        key = digest("trial", similarity.version, *(fingerprint(r.path) for r in recordings))
        cosines = self.cache.get(key)
        if cosines is None:
            cosines = similarity.trial(pair)
            self.cache.put(key, cosines)
        return tuple(cosines)


_evaluator: Evaluator  # of a worker process


def _start(plan: Plan) -> None:
    import signal

    import torch

    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the parent stops the workers
    end_with_parent()
    torch.set_num_threads(1)
    global _evaluator
    _evaluator = Evaluator(plan)


def _row(name: str, index: int) -> Row:
    return _evaluator.row(name, index)


def _trial(metric: int, index: int) -> tuple[float, float]:
    return _evaluator.trial(metric, index)


def _finished(futures: dict[Future[Any], Any], title: str) -> Iterator[tuple[Any, Any]]:
    """(task, result) as they come, with a progress bar."""
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns) as progress:
        bar = progress.add_task(title, total=len(futures))
        waiting = set(futures)
        while waiting:
            done, waiting = wait(waiting, return_when=FIRST_COMPLETED)
            for future in done:
                yield futures[future], future.result()
                progress.advance(bar)


@deaths_in_one_line(advice="try fewer --jobs, or start again: what is done is kept")
def score(plan: Plan, jobs: int = 0) -> dict[str, Any]:
    """Every figure of every utterance.

    Args:
        jobs: processes, one CPU thread each; 0: as many as there are cores.
    Returns:
        ``pairs`` (ids), ``metrics`` (versions and columns), ``missing`` (a line for each metric that is left out),
        ``thresholds`` (cosine of equal error, by encoder), ``rows`` (figures by system, in the pairs' order).
    Raises:
        InputError: a system, a pair or a recording cannot be used, or a process ended by itself.
    """
    evaluator = Evaluator(plan)
    pairs, (metrics, missing) = evaluator.pairs, available(Path(plan.metric_weights))
    for name in plan.systems:
        evaluator.system(name)  # a bad one fails here, before anything is computed
    for path in dict.fromkeys(recording.path for pair in pairs for recording in pair.recordings):
        regular_file(path)
    rows: dict[str, list[Row]] = {name: [{} for _ in pairs] for name in plan.systems}
    trials = np.zeros((len(metrics), len(pairs), 2))
    pool = ProcessPoolExecutor(jobs or available_cores(), get_context("spawn"), _start, (plan,))
    try:
        tasks = [(name, index) for index in range(len(pairs)) for name in plan.systems]
        for (name, index), row in _finished({pool.submit(_row, *task): task for task in tasks}, "utterances"):
            rows[name][index] = row
        verifiers = [i for i, metric in enumerate(metrics) if isinstance(metric, SpeakerSimilarity)]
        tried = [(metric, index) for metric in verifiers for index in _between_voices(pairs)]
        for place, cosines in _finished({pool.submit(_trial, *task): task for task in tried}, "verification"):
            trials[place] = cosines
    finally:
        pool.shutdown(wait=True, cancel_futures=True)
    return {
        "version": __version__,
        "pairs": [pair.id for pair in pairs],
        "systems": plan.systems,
        "keys": {name: evaluator.system(name).key for name in plan.systems},
        "metrics": [
            {"version": metric.version, "columns": [vars(column) for column in metric.columns]} for metric in metrics
        ],
        "missing": missing,
        "thresholds": _accept(metrics, pairs, trials, rows),
        "rows": rows,
    }


def _between_voices(pairs: list[Pair]) -> list[int]:
    """Numbers of the pairs of two voices. A pair of one voice holds no trial of two."""
    return [index for index, pair in enumerate(pairs) if not pair.is_self]


def _accept(
    metrics: list[Metric], pairs: list[Pair], trials: np.ndarray, rows: dict[str, list[Row]]
) -> dict[str, float]:
    """Add to the rows whether a verifier accepts them; returns its thresholds by encoder.

    Args:
        trials: (M, P, 2), by metric and pair, see `SpeakerSimilarity.trial`.
    """
    thresholds: dict[str, float] = {}
    between = _between_voices(pairs)
    for metric, scores in zip(metrics, trials[:, between], strict=True):
        if not isinstance(metric, SpeakerSimilarity) or not between:
            continue
        threshold = equal_error(scores[:, 0], scores[:, 1])[1]
        thresholds[metric.encoder.name] = threshold
        for row in (row for of_system in rows.values() for row in of_system):
            row[metric.accepted] = 100.0 * (row[metric.target] >= threshold)
    return thresholds


def name_systems(specs: list[str]) -> dict[str, str]:
    """Names of ``NAME=SYSTEM`` or ``SYSTEM``; the latter's name is its spec without the path.

    Raises:
        InputError: two systems have the same name, or a name cannot be a folder's.
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
    """Evaluate the plan's systems, write the report into ``plan.out``, and return it.

    Args:
        against: name of the system that the others are compared with.
        jobs: see `score`.
        with_speed: measure speed and memory of the conversions as well. Where that fails, the report lacks them.
    Raises:
        InputError: see `score`; or there is no system `against`, or a conversion dies while its speed is measured.
    """
    if against not in plan.systems:
        raise InputError(f"--against {against}: not among the systems, which are {', '.join(plan.systems)}")
    out = Path(plan.out)
    new_folder(out)
    report = score(plan, jobs)
    evaluator = Evaluator(plan)
    report["date"], report["speed"] = datetime.date.today().isoformat(), {}
    try:
        if with_speed:
            _add_speeds(report["speed"], evaluator)
    finally:  # the figures may have taken hours
        write_report(report, evaluator.pairs, out, against)
    return report


def _add_speeds(speeds: dict[str, dict[str, float]], evaluator: Evaluator) -> None:
    """Measure the conversions among the systems, each in a process of its own."""
    advice = "the report lacks its speed; try again, or give --no-speed"
    conversions = {name: evaluator.system(name) for name in evaluator.plan.systems}
    for name, system in conversions.items():
        if type(system) is Conversion:
            with deaths_in_one_line(f"the speed of {name} cannot be measured", advice):
                speeds[name] = measure(system, evaluator.pairs, available_cores())

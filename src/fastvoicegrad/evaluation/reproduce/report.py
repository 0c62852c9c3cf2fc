"""The tables as Markdown: measured figures with 95 % intervals beside the published ones."""

from __future__ import annotations

import datetime
import os
from collections.abc import Mapping, Sequence
from typing import Any

from ... import __version__
from ...training.checkpoint import read_meta
from ..languages import group_of
from ..network_speed import NetworkSpeed
from ..pairs import Pair
from ..tables import Summary, by_group, cell, markdown_table, summarise
from .plan import Reproduction
from .stopwatch import duration
from .tables import FULL, Table, TableRow
from .trainings import Runs, training_seconds

# Columns of the tables, where the report has them.
QUALITY = ("UTMOS", "DNSMOS P.808", "DNSMOS", "DistillMOS")
WORDS = ("CER % Moonshine",)
TARGET = ("CAM++ target", "ECAPA target", "GE2E target")
SOURCE = ("CAM++ source", "ECAPA source")
FIGURES = (*QUALITY, *WORDS, *TARGET, "ECAPA nearer %", *SOURCE)
LANGUAGE_FIGURES = ("CER % source transcript", "DNSMOS P.808", "CAM++ target", "CAM++ source", "F0 correlation")
PLOTTED = "starts"
EXPRESSION = ("F0 range ratio", "loudness correlation", "duration ratio")


def by_pair(report: dict[str, Any], pairs: Sequence[Pair]) -> dict[str, Summary]:
    """Means over pairs of one gender and over pairs across genders; {} where no gender is known."""

    def kind(pair: Pair) -> str:
        genders = pair.source.gender, pair.natural.gender
        if not all(genders):
            return ""
        return "same gender" if len(set(genders)) == 1 else "across genders"

    return by_group(report, [kind(pair) for pair in pairs])


def document(plan: Reproduction, parts: list[str], seconds: Mapping[str, float]) -> str:
    """The whole file, with the time that each part took."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    rows = [[name, duration(spent)] for name, spent in seconds.items()]
    rows.append(["all", duration(sum(seconds.values()))])
    head = (
        f"# The paper's tables, budget '{plan.budget}'\n\n{datetime.date.today().isoformat()}, fastvoicegrad "
        f"{__version__}. Published figures: VCTK, 8,100 pairs. Cosines of different encoders do not compare.\n"
    )
    times = f"## Time\n\nOn {cores} cores, trainings that ran at once counted in full.\n\n"
    return "\n".join([head, *parts, times + markdown_table(["part", "time"], rows)])


def conditions(report: dict[str, Any], runs: Runs) -> str:
    """What all tables with trainings share."""
    steps = [f"{name} {read_meta(path)['step']}" for name, path in runs.checkpoints.items()]
    missing = "".join(f"- {line}\n" for line in dict.fromkeys(report["missing"]))
    return (
        f"{len(report['pairs'])} pairs. Means with 95 % intervals, bootstrap over pairs. Steps of each training: "
        f"{', '.join(steps)}.\n" + (f"\n{missing}" if missing else "")
    )


def section(name: str, table: Table, report: dict[str, Any], groups: Mapping[str, Summary], runs: Runs) -> str:
    """A table, its paired differences from the full student, and a table for each group of pairs."""
    rows = [row for row in table.rows if row.key in report["summary"]]
    known = table.against.key in report["summary"]
    less = {} if not known else report["differences"] if table.against == FULL else summarise(report, table.against.key)
    others = [row for row in rows if row.key in less and not row.anchor]
    parts = [
        f"## {name}\n\n{table.text}\n\n{measured(rows, report['summary'], runs if table.cost else None)}",
        *(f"{row.name}: left out, {runs.left_out[row.run]}.\n" for row in table.rows if row.run in runs.left_out),
        f"Less {table.against.name}, paired:\n\n{differences(others, less)}",
    ]
    if table.grouped:
        parts += [f"Pairs of {group}:\n\n{measured(rows, summary)}" for group, summary in groups.items()]
    if name == PLOTTED:
        parts.append(f"![{name}]({name}.png)\n")
    return "\n".join(parts)


def _digits(column: str) -> int:
    return 1 if "%" in column else 2


def _cost(row: TableRow, runs: Runs) -> list[str]:
    """Steps, time, speed and memory of a row's training."""
    path = runs.checkpoints[row.run]
    meta = read_meta(path)
    cost = meta["cost"]
    return [
        str(meta["step"]),
        duration(training_seconds(path)),
        f"{cost['steps_per_second']:.3g}",
        f"{cost['peak_mb']:.0f}",
    ]


def measured(rows: Sequence[TableRow], summary: Summary, runs: Runs | None = None) -> str:
    """A table of means; with `runs` also the cost of the trainings."""
    columns = [name for name in FIGURES if any(name in row for row in summary.values())]
    published = sorted({name for row in rows for name in row.published})
    costs = ["steps", "training", "steps/s", "peak MB"] if runs else []
    lines = []
    for row in rows:
        figures = [cell(summary[row.key].get(name), _digits(name)) for name in columns]
        spent = _cost(row, runs) if runs else []
        lines.append([row.name, *figures, *spent, *(row.published.get(name, "") for name in published)])
    return markdown_table(["system", *columns, *costs, *(f"{name}, published" for name in published)], lines)


def differences(rows: Sequence[TableRow], found: Summary) -> str:
    """A table of paired differences from the full student."""
    columns = [name for name in FIGURES if any(name in row for row in found.values())]
    lines = [[row.name, *(cell(found[row.key].get(name), _digits(name), "+") for name in columns)] for row in rows]
    return markdown_table(["system", *columns], lines)


def languages_table(report: dict[str, Any], pairs: Sequence[Pair]) -> str:
    """Conversion and copy synthesis for each group of sources."""
    groups = [group_of(pair) for pair in pairs]
    columns = [name for name in (*LANGUAGE_FIGURES, *EXPRESSION) if any(name in r for r in report["summary"].values())]
    lines = [
        [group, str(groups.count(group)), system, *(cell(summary[system].get(name), _digits(name)) for name in columns)]
        for group, summary in sorted(by_group(report, groups).items())
        for system in ("copy-synthesis", "conversion")
    ]
    text = (
        "Words: against what a multilingual recogniser transcribes in the source, so 0 means the same transcript. "
        "Sources are recordings of the training split where a language has no other; targets are test voices.\n\n"
        "Expression, output against source: ratio of the F0 ranges in semitones, correlation of the loudness contours, "
        "and ratio of the durations. Nothing measures emotion or accent themselves.\n"
    )
    missing = [f"- {line}" for line in report["missing"]]
    table = markdown_table(["source", "pairs", "system", *columns], lines)
    return "\n".join([f"## languages\n\n{text}\n{table}", *missing]) + "\n"


def speed_table(speeds: Sequence[NetworkSpeed]) -> str:
    """Real-time factors of the networks alone."""
    lines = [[s.name, s.size, f"{s.millions:.1f}", f"{s.factor:.3g}", s.published] for s in speeds]
    text = (
        "Encoder and converter alone, as in the paper, on one thread. **Weights are random** but for the bundle's "
        "content encoder. That does not change the speed. One step is measured and counted K times. The paper's "
        "content encoder is another one.\n"
    )
    columns = ["system", "size", "parameters without encoders, millions", "real-time factor", "published (GPU; CPU)"]
    return f"## speed\n\n{text}\n{markdown_table(columns, lines)}"

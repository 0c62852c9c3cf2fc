"""From rows of figures to tables of means."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import asdict
from fnmatch import fnmatchcase
from typing import Any

import numpy as np

from .metrics import Column
from .pairs import Pair
from .statistics import Estimate, difference, estimate, resamples

# The columns of each table, as patterns.
TABLES = {
    "Main figures": (
        *("DNSMOS", "DistillMOS", "UTMOS", "CER % *"),
        *(f"{encoder} {figure}" for encoder in ("CAM++", "ECAPA") for figure in ("target", "source", "accepted %")),
        *("GE2E target", "GE2E accepted %", "F0 correlation"),
    ),
    "Quality": ("DNSMOS*", "DistillMOS", "UTMOS", "MCD*"),
    "Words": ("CER*", "WER*", "NLL*"),
    "Speaker similarity": ("CAM++*", "ECAPA*", "GE2E*"),
    "Pitch, loudness and duration": ("F0*", "voicing*", "loudness*", "duration*"),
}
MAIN = next(iter(TABLES))

Summary = dict[str, dict[str, dict[str, Any]]]  # system -> column -> estimate


def columns_of(report: dict[str, Any]) -> list[Column]:
    """All columns of a report, in the order of its metrics."""
    return [Column(**column) for metric in report["metrics"] for column in metric["columns"]]


def columns_by_table(report: dict[str, Any]) -> dict[str, list[Column]]:
    """The columns of each table; a column without any figure is left out."""
    columns = [c for c in columns_of(report) if any(c.name in row for row in report["summary"].values())]
    tables = {
        title: [c for pattern in patterns for c in columns if fnmatchcase(c.name, pattern)]
        for title, patterns in TABLES.items()
    }
    return {title: found for title, found in tables.items() if found}


def _values(rows: list[dict[str, Any]], column: Column) -> tuple[np.ndarray, np.ndarray]:
    """(values, weights) of a column, one per pair; NaN where a pair has no figure."""
    values = np.array([row.get(column.name, np.nan) for row in rows], dtype=float)
    weights = [row.get(column.weight, 0.0) if column.weight else 1.0 for row in rows]
    return values, np.array(weights, dtype=float)


def summarise(report: dict[str, Any], against: str | None = None) -> Summary:
    """Estimates by system and column: ``{"mean": ..., "low": ..., "high": ..., "count": ...}``.

    Args:
        against: name of a system; the estimates are then of the differences from it.
    """
    draws = resamples(len(report["pairs"]))
    summary: Summary = {}
    for name, rows in report["rows"].items():
        if name == against:
            continue
        summary[name] = {}
        for column in columns_of(report):
            values, weights = _values(rows, column)
            found: Estimate | None
            if against is None:
                found = estimate(values, weights, draws)
            else:
                other, others = _values(report["rows"][against], column)
                found = difference(values, other, (weights, others), draws)
            if found is not None:
                summary[name][column.name] = asdict(found)
    return summary


def by_corpus(report: dict[str, Any], pairs: list[Pair]) -> dict[str, Summary]:
    """`summarise` for the pairs of each corpus alone; {} where there is only one corpus."""
    found = by_group(report, [pair.source.corpus for pair in pairs])
    return found if len(found) > 1 else {}


def by_group(report: dict[str, Any], groups: list[str]) -> dict[str, Summary]:
    """`summarise` for each group of pairs alone.

    Args:
        groups: name of each pair's group; a pair with an empty name is in none.
    """
    indices_of: dict[str, list[int]] = {}
    for index, group in enumerate(groups):
        if group:
            indices_of.setdefault(group, []).append(index)

    def only(indices: list[int]) -> dict[str, Any]:
        rows = {name: [rows[i] for i in indices] for name, rows in report["rows"].items()}
        return report | {"pairs": [report["pairs"][i] for i in indices], "rows": rows}

    return {group: summarise(only(indices)) for group, indices in indices_of.items()}


def cell(found: dict[str, Any] | None, digits: int, sign: str = "") -> str:
    """An estimate as ``mean [low, high]``; "" for None."""
    if found is None:
        return ""
    mean, low, high = (f"{found[k]:{sign}.{digits}f}" for k in ("mean", "low", "high"))
    return f"{mean} [{low}, {high}]"


def markdown_table(header: Iterable[str], rows: Iterable[Iterable[str]]) -> str:
    """A Markdown table whose first column is text and whose others are figures."""
    header = list(header)
    lines = [header, ["---", *("---:" for _ in header[1:])], *rows]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines) + "\n"

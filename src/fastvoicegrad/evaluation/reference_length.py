"""How long has a reference to be? Likeness and words over the seconds of reference, as a table and a plot."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from .pairs import read_pairs
from .run import Plan, evaluate
from .systems import LimitedReference
from .tables import cell, columns_of, markdown_table

SECONDS = (1.0, 3.0, 10.0, 30.0, 60.0)
LIKENESS = ("CAM++ target", "ECAPA target", "GE2E target")
WORDS = ("CER % Moonshine", "CER % Whisper")


def reference_length(
    pairs: Path,
    out: Path,
    metric_weights: Path,
    bundle: str | None = None,
    seconds: Sequence[float] = SECONDS,
    jobs: int = 0,
) -> Path:
    """Convert the pairs with references of each length.

    Args:
        pairs: protocol file, whose pairs have references of the longest length.
        out: folder of ``reference-length.md``, ``reference-length.png``, of the whole report, and of the cache.
        metric_weights: folder of the metrics' weights.
        bundle: a bundle; None is the default bundle.
        seconds: lengths of the reference.
        jobs: processes; 0: as many as there are cores.
    Returns:
        path of ``reference-length.md``.
    Raises:
        InputError: a pair, a recording or the bundle cannot be used, or references are too short.
    """
    systems = {f"{length:g} s": f"reference:{length:g}:{bundle or 'default'}" for length in seconds}
    longest = LimitedReference(bundle, max(seconds))
    for pair in read_pairs(pairs):
        longest.check(pair)  # a pair that is too short is named before anything is computed
    plan = Plan(systems, str(pairs), str(out), str(metric_weights))
    report = evaluate(plan, next(iter(systems)), jobs, with_speed=False)
    plot(report, seconds, out / "reference-length.png")
    path = out / "reference-length.md"
    path.write_text(markdown(report), encoding="utf-8")
    return path


def _present(report: dict[str, Any], names: Sequence[str]) -> list[str]:
    """The columns that every system has figures of."""
    return [name for name in names if all(name in row for row in report["summary"].values())]


def markdown(report: dict[str, Any]) -> str:
    """The table: cosine to the references and character error rate for each length."""
    wanted = _present(report, LIKENESS + WORDS)
    columns = [column for column in columns_of(report) if column.name in wanted]
    rows = ([name, *(cell(row[c.name], c.digits) for c in columns)] for name, row in report["summary"].items())
    conditions = f"{len(report['pairs'])} conversions, {report['date']}, fastvoicegrad {report['version']}"
    return (
        f"# Seconds of reference\n\n{conditions}. Means with 95 % confidence intervals.\n\n"
        + markdown_table(["reference", *(c.name for c in columns)], rows)
        + "\n![likeness and words over the seconds of reference](reference-length.png)\n"
        + "".join(f"\n- {line}" for line in report["missing"])
    )


def plot(report: dict[str, Any], seconds: Sequence[float], path: Path) -> None:
    """Likeness on the left, character error rate on the right, over the seconds of reference."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(9, 3.5), layout="constrained")
    rows = list(report["summary"].values())
    panels = (("cosine to the target", LIKENESS), ("character error rate (%)", WORDS))
    for axes, (label, names) in zip(figure.subplots(1, 2), panels, strict=True):
        for name in _present(report, names):
            mean, low, high = (np.array([row[name][key] for row in rows]) for key in ("mean", "low", "high"))
            axes.errorbar(seconds, mean, (mean - low, high - mean), marker="o", capsize=3, label=name)
        axes.set(xscale="log", xlabel="seconds of reference", ylabel=label)
        axes.set_xticks(seconds, [f"{length:g}" for length in seconds])
        axes.minorticks_off()
        if axes.has_data():
            axes.legend(frameon=False)
    figure.savefig(path, dpi=120)

"""Figures over S_K."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from ..tables import Summary
from .report import QUALITY, SOURCE, TARGET, WORDS
from .tables import BY_START

PANELS = {"quality": QUALITY, "words, CER %": WORDS, "likeness to the target": TARGET, "likeness to the source": SOURCE}


def plot_starts(summary: Summary, groups: Mapping[str, Summary], path: Path) -> None:
    """Plot quality, words and likeness against S_K, as a PNG: a column for all pairs and for each kind of pair.

    Args:
        summary: of all pairs.
        groups: of each kind of pair, by name.
    """
    from matplotlib.figure import Figure

    columns = {"all pairs": summary, **groups}
    steps = [s for s, row in BY_START.items() if row.key in summary]
    known = {name for row in summary.values() for name in row}
    panels = {label: [name for name in names if name in known] for label, names in PANELS.items()}
    panels = {label: names for label, names in panels.items() if names}
    figure = Figure(figsize=(4.5 * len(columns), 2.25 * len(panels)), layout="constrained")
    axes = figure.subplots(len(panels), len(columns), sharex=True, sharey="row", squeeze=False)
    for (title, of_pairs), column in zip(columns.items(), axes.T, strict=True):
        column[0].set_title(title)
        column[-1].set_xlabel("S_K")
        for (label, names), axis in zip(panels.items(), column, strict=True):
            axis.set_ylabel(label)
            for name in names:
                found = [(s, of_pairs[BY_START[s].key][name]) for s in steps if name in of_pairs[BY_START[s].key]]
                if found:
                    means = [f["mean"] for _, f in found]
                    spread = [[f["mean"] - f["low"] for _, f in found], [f["high"] - f["mean"] for _, f in found]]
                    axis.errorbar([s for s, _ in found], means, spread, marker="o", capsize=2, label=name)
            axis.legend(fontsize="small")
    figure.savefig(path, dpi=150)

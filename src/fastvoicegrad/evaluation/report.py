"""The report of an evaluation: JSON with everything, Markdown tables, an HTML page, the outputs by name."""

from __future__ import annotations

import json
import math
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from .page import html
from .pairs import Pair
from .tables import MAIN, Summary, by_corpus, cell, columns_by_table, markdown_table, summarise

ARROWS = {"higher": " ↑", "lower": " ↓", "": ""}


def finite(value: Any) -> Any:
    """The same with None for numbers that JSON lacks: NaN and infinite ones."""
    if isinstance(value, Mapping):
        return {key: finite(part) for key, part in value.items()}
    if isinstance(value, list | tuple):
        return [finite(part) for part in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


def write_report(report: dict[str, Any], pairs: list[Pair], out: Path, against: str) -> None:
    """Write ``report.json``, ``report.md``, ``report.html`` and ``waves/`` into `out`; completes `report`."""
    report["against"] = against
    report["summary"], report["differences"] = summarise(report), summarise(report, against)
    report["by_corpus"] = by_corpus(report, pairs)
    plain = finite(report)
    for name, content in {
        "report.json": json.dumps(plain, indent=1, allow_nan=False) + "\n",
        "report.md": markdown(report),
        "report.html": html(plain, pairs, out),
    }.items():
        part = out / f"{name}.part"
        part.write_text(content, encoding="utf-8")
        part.replace(out / name)
    link_waves(report, out)


def link_waves(report: dict[str, Any], out: Path) -> None:
    """Link ``waves/SYSTEM/PAIR.flac`` to the files of the cache."""
    for name, rows in report["rows"].items():
        for pair, row in zip(report["pairs"], rows, strict=True):
            link = out / "waves" / name / f"{pair}.flac"  # an id may hold "/"
            link.parent.mkdir(parents=True, exist_ok=True)
            link.unlink(missing_ok=True)
            try:
                link.hardlink_to(out / row["file"])
            except OSError:  # some file systems have no links
                shutil.copyfile(out / row["file"], link)


def _tables(report: dict[str, Any], summary: Summary, sign: str = "") -> str:
    parts = []
    for title, columns in columns_by_table(report).items():
        header = ["system", *(c.name + ARROWS[c.better] for c in columns)]
        rows = ([name, *(cell(row.get(c.name), c.digits, sign) for c in columns)] for name, row in summary.items())
        parts.append(f"### {title}\n\n{markdown_table(header, rows)}")
    return "\n".join(parts)


def _speed(speed: dict[str, dict[str, float]]) -> str:
    first = next(iter(speed.values()))
    figures = [name for name in first if name not in ("threads", "seconds")]
    rows = ([name, *(f"{row[f]:.4g}" for f in figures)] for name, row in speed.items())
    conditions = f"{first['seconds']:.0f} s of speech, {first['threads']:.0f} CPU threads, one system at a time."
    return f"## Speed\n\n{conditions}\n\n{markdown_table(['system', *figures], rows)}"


def _models(report: dict[str, Any]) -> str:
    lines = [f"- {m['version']}: {', '.join(c['name'] for c in m['columns'])}" for m in report["metrics"]]
    lines += [f"- {name}: accepted from a cosine of {value:.3f}" for name, value in report["thresholds"].items()]
    lines += [f"- {line}" for line in report["missing"]]
    return "## Models\n\n" + "\n".join(lines) + "\n"


def markdown(report: dict[str, Any]) -> str:
    """The tables: means over all pairs, differences from one system, means over each corpus, speed, models."""
    against = report["against"]
    parts = [
        "# Evaluation\n",
        f"{len(report['pairs'])} pairs, {len(report['rows'])} systems, {report['date']}, fastvoicegrad "
        f"{report['version']}. Means with 95 % confidence intervals, bootstrap over pairs.\n",
        _tables(report, report["summary"]),
        f"## Differences from {against}\n\nPaired: both systems share the resamples of pairs.\n",
        _tables(report, report["differences"], "+"),
    ]
    parts += [f"## Pairs of {corpus}\n\n{_tables(report, found)}" for corpus, found in report["by_corpus"].items()]
    if report["speed"]:
        parts.append(_speed(report["speed"]))
    return "\n".join([*parts, _models(report)])


def print_summary(report: dict[str, Any]) -> None:
    """Print the main figures with their 95 % intervals, of all pairs and of each corpus."""
    console = Console()
    if not console.is_terminal:
        console.width = 40 + 20 * len(report["summary"])  # a file is as wide as the table
    columns = columns_by_table(report).get(MAIN, [])
    for title, summary in {f"{len(report['pairs'])} pairs": report["summary"], **report["by_corpus"]}.items():
        table = Table("", title=f"{MAIN}, {title}", title_justify="left")
        for name in summary:
            table.add_column(name, justify="right")
        for column in columns:
            found = [row.get(column.name) for row in summary.values()]
            table.add_row(column.name, *(cell(f, column.digits).replace(" [", "\n[", 1) for f in found))
        console.print(table)
    for line in report["missing"]:
        console.print(line, style="yellow", highlight=False)

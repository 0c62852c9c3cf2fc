"""The report of an evaluation: JSON with everything, Markdown tables, one HTML page that plays."""

from __future__ import annotations

import base64
import io
import json
from collections.abc import Iterable
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import soundfile
from rich.console import Console
from rich.table import Table

from ..mel import MEL, log_mel
from .cache import fingerprint
from .metrics import Column, heard
from .pairs import Pair
from .statistics import Estimate, difference, estimate, resamples

# Which columns stand in which table, by how they begin.
TABLES = {
    "Quality": ("DNSMOS", "DistillMOS", "UTMOS", "MCD"),
    "Words": ("CER", "WER"),
    "Voice": ("CAM++", "ECAPA", "GE2E"),
    "Melody and timing": ("F0", "voicing", "duration"),
}
WORST = 10  # utterances shown by each metric
SHOWN = 12  # further pairs to listen to


def columns_of(report: dict[str, Any]) -> list[Column]:
    return [Column(**column) for metric in report["metrics"] for column in metric["columns"]]


def _values(rows: list[dict[str, Any]], column: Column) -> tuple[np.ndarray, np.ndarray]:
    """(values, weights) of a column, one per pair; not a number where there is none."""
    values = np.array([row.get(column.name, np.nan) for row in rows], dtype=float)
    weights = [row.get(column.weight, 0.0) if column.weight else 1.0 for row in rows]
    return values, np.array(weights, dtype=float)


def summarise(report: dict[str, Any], against: str | None = None) -> dict[str, dict[str, dict[str, Any]]]:
    """Estimates by system and column: ``{"mean": ..., "low": ..., "high": ..., "count": ...}``; with `against`, a
    system's name, of the differences from it."""
    draws = resamples(len(report["pairs"]))
    table: dict[str, dict[str, dict[str, Any]]] = {}
    for name, rows in report["rows"].items():
        if name == against:
            continue
        table[name] = {}
        for column in columns_of(report):
            values, weights = _values(rows, column)
            found: Estimate | None
            if against is None:
                found = estimate(values, weights, draws)
            else:
                other, others = _values(report["rows"][against], column)
                found = difference(values, other, (weights, others), draws)
            if found is not None:
                table[name][column.name] = asdict(found)
    return table


def by_corpus(report: dict[str, Any], pairs: list[Pair]) -> dict[str, dict[str, Any]]:
    """`summarise`, for the pairs of each corpus alone; {} where all are of one."""
    places: dict[str, list[int]] = {}
    for index, pair in enumerate(pairs):
        places.setdefault(pair.source.corpus, []).append(index)
    if len(places) < 2:
        return {}

    def only(indices: list[int]) -> dict[str, Any]:
        rows = {name: [rows[i] for i in indices] for name, rows in report["rows"].items()}
        return report | {"pairs": [report["pairs"][i] for i in indices], "rows": rows}

    return {corpus: summarise(only(indices)) for corpus, indices in places.items()}


def cell(found: dict[str, Any] | None, digits: int, sign: str = "") -> str:
    """An estimate as ``mean [low, high]``."""
    if found is None:
        return ""
    mean, low, high = (f"{found[k]:{sign}.{digits}f}" for k in ("mean", "low", "high"))
    return f"{mean} [{low}, {high}]"


def markdown_table(header: Iterable[str], rows: Iterable[Iterable[str]]) -> str:
    """Markdown; all columns but the first are figures."""
    header = list(header)
    lines = [header, ["---", *("---:" for _ in header[1:])], *rows]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines) + "\n"


def _tables(report: dict[str, Any], summary: dict[str, Any], sign: str = "") -> str:
    parts = []
    for title, prefixes in TABLES.items():
        columns = [c for c in columns_of(report) if c.name.startswith(prefixes)]
        columns = [c for c in columns if any(c.name in row for row in summary.values())]
        if not columns:
            continue
        arrow = {"higher": " ↑", "lower": " ↓", "": ""}
        header = ["system", *(c.name + arrow[c.better] for c in columns)]
        rows = ([name, *(cell(row.get(c.name), c.digits, sign) for c in columns)] for name, row in summary.items())
        parts.append(f"### {title}\n\n{markdown_table(header, rows)}")
    return "\n".join(parts)


def markdown(report: dict[str, Any]) -> str:
    """The report's tables: means over all pairs with 95 % confidence intervals, and differences from the anchor."""
    count, against = len(report["pairs"]), report["against"]
    parts = [
        "# Evaluation\n",
        f"{count} pairs, {len(report['rows'])} systems, {report['date']}, fastvoicegrad {report['version']}. Means "
        f"with 95 % confidence intervals, bootstrap over pairs.\n",
        _tables(report, report["summary"]),
        f"## Differences from {against}\n\nPaired: the same resamples of pairs for both.\n",
        _tables(report, report["differences"], "+"),
    ]
    for corpus, summary in report["by_corpus"].items():
        parts.append(f"## The pairs of {corpus} alone\n\n{_tables(report, summary)}")
    if report["speed"]:
        figures = [name for name in next(iter(report["speed"].values())) if name not in ("threads", "seconds")]
        rows = ([name, *(f"{row[f]:.4g}" for f in figures)] for name, row in report["speed"].items())
        some = next(iter(report["speed"].values()))
        asked = f"{some['seconds']:.0f} s of speech, {some['threads']:.0f} CPU threads"
        parts.append(f"## Speed\n\n{asked}, one system at a time.\n\n{markdown_table(['system', *figures], rows)}")
    versions = [
        f"- {metric['version']}: {', '.join(c['name'] for c in metric['columns'])}" for metric in report["metrics"]
    ]
    limits = [f"- {name}: accepted from a cosine of {value:.3f}" for name, value in report["thresholds"].items()]
    missing = [f"- {line}" for line in report["missing"]]
    parts.append("## Models\n\n" + "\n".join([*versions, *limits, *missing]) + "\n")
    return "\n".join(parts)


def _worst(report: dict[str, Any]) -> dict[str, list[tuple[str, int]]]:
    """By each metric with a better end, the utterances at the other one: (system, number of the pair)."""
    worst = {}
    for column in columns_of(report):
        if not column.better:
            continue
        known = [
            (row[column.name] * (1 if column.better == "higher" else -1), name, index)
            for name, rows in report["rows"].items()
            for index, row in enumerate(rows)
            if column.name in row and name not in ("natural", "source")
        ]
        if len({value for value, _, _ in known}) > 2:  # of "nearer", every failure is as bad
            worst[column.name] = [(name, index) for _, name, index in sorted(known)[:WORST]]
    return worst


def _sound(path: str) -> str:
    """A recording as Ogg Opus in a data URL."""
    wave, file = heard(path), io.BytesIO()
    soundfile.write(file, wave, 16000, format="OGG", subtype="OPUS")
    return "data:audio/ogg;base64," + base64.b64encode(file.getvalue()).decode()


def _picture(path: str) -> str:
    """Its mel, low bands below, as a PNG in a data URL."""
    import soxr
    from matplotlib.image import imsave

    wave = np.asarray(soxr.resample(heard(path), 16000, MEL.sample_rate), dtype=np.float32)
    file = io.BytesIO()
    imsave(file, log_mel(wave)[::-1], cmap="magma", vmin=-10, vmax=1, format="png")
    return "data:image/png;base64," + base64.b64encode(file.getvalue()).decode()


def html(report: dict[str, Any], pairs: list[Pair], out: Path) -> str:
    """One page without a link to anything: tables, distributions, every figure, and the worst cases to listen to."""
    worst = _worst(report)
    shown = {index for cases in worst.values() for _, index in cases}
    shown |= {int(i) for i in np.linspace(0, len(pairs) - 1, min(SHOWN, len(pairs)))}
    media: dict[str, dict[str, str]] = {}

    def medium(path: str) -> str:
        key = fingerprint(path)[:12]
        if key not in media:
            media[key] = {"sound": _sound(path), "picture": _picture(path)}
        return key

    cases = {}
    for index in sorted(shown):
        pair = pairs[index]
        played = {"the source": pair.source.path, "the target": pair.references[0].path}
        played |= {name: str(out / rows[index]["file"]) for name, rows in report["rows"].items()}
        cases[index] = {name: medium(path) for name, path in played.items()}
    data = report | {"worst": worst, "cases": cases, "media": media, "tables": TABLES}
    page = (Path(__file__).parent / "report.html").read_text()
    return page.replace("/*DATA*/", json.dumps(data).replace("</", "<\\/"))


def write_report(report: dict[str, Any], pairs: list[Pair], out: Path, against: str) -> None:
    """``report.json``, ``report.md``, ``report.html`` and the waves by name, in `out`."""
    report["against"] = against
    report["summary"], report["differences"] = summarise(report), summarise(report, against)
    report["by_corpus"] = by_corpus(report, pairs)
    for name, content in {
        "report.json": json.dumps(report, indent=1) + "\n",
        "report.md": markdown(report),
        "report.html": html(report, pairs, out),
    }.items():
        part = out / f"{name}.part"
        part.write_text(content, encoding="utf-8")
        part.replace(out / name)
    link_waves(report, out)


def link_waves(report: dict[str, Any], out: Path) -> None:
    """``waves/SYSTEM/PAIR.flac``, for listening; the same files as in the cache."""
    for name, rows in report["rows"].items():
        folder = out / "waves" / name
        folder.mkdir(parents=True, exist_ok=True)
        for pair, row in zip(report["pairs"], rows, strict=True):
            link = folder / f"{pair}.flac"
            link.unlink(missing_ok=True)
            link.hardlink_to(out / row["file"])


def print_summary(report: dict[str, Any]) -> None:
    """The means and their 95 % intervals in the terminal; into a file as wide as they need."""
    console = Console()
    if not console.is_terminal:
        console.width = 40 + 20 * len(report["summary"])
    for title, prefixes in TABLES.items():
        columns = [c for c in columns_of(report) if c.name.startswith(prefixes)]
        table = Table("", title=f"{title}, {len(report['pairs'])} pairs", title_justify="left")
        for name in report["summary"]:
            table.add_column(name, justify="right")
        for column in columns:
            found = [row.get(column.name) for row in report["summary"].values()]
            table.add_row(column.name, *(cell(f, column.digits).replace(" [", "\n[", 1) for f in found))
        console.print(table)
    for line in report["missing"]:
        console.print(line, style="yellow", highlight=False)

"""Where similarity and words are lost: each voice converted to itself, stage by stage."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from ..bundle import Bundle
from .pairs import read_pairs, to_self_pairs, write_pairs
from .run import Plan, evaluate
from .specs import bundle_path
from .tables import cell, columns_of, markdown_table

# Rows of the table and their systems, see `specs.make_system`.
ROWS = {
    "natural": "natural",
    "copy synthesis": "copy-synthesis:{bundle}",
    "retrieved mel through the vocoder": "retrieved:{bundle}",
    "converter without guidance, feedback and post-filter": "plain:{bundle}",
    "conversion's envelope, recording's fine structure": "converted-envelope:{bundle}",
    "recording's envelope, conversion's fine structure": "recorded-envelope:{bundle}",
}
COLUMNS = ("CAM++ target", "ECAPA target", "CER % Moonshine", "CER % Whisper")


def rows_of(bundle: str | None) -> dict[str, str]:
    """Systems by row; a bundle without retrieval has no row for it."""
    specs = {row: spec.format(bundle=bundle or "default") for row, spec in ROWS.items()}
    if not Bundle.open(bundle).config.retrieval:
        del specs["retrieved mel through the vocoder"]
    return specs


def diagnose(
    pairs: Path, out: Path, metric_weights: Path, bundle: str | None = None, jobs: int = 0, base: str | None = None
) -> Path:
    """Convert each target of a pairs file to itself and compare the stages of the conversion.

    Args:
        pairs: protocol file; ordinary pairs are made pairs of their targets (`pairs.to_self_pairs`).
        out: folder of ``diagnosis.md``, of the whole report, and of the cache.
        metric_weights: folder of the metrics' weights.
        bundle: a bundle or a converter's checkpoint; None is the default bundle.
        jobs: processes; 0: as many as there are cores.
        base: the bundle whose other networks complete a checkpoint.
    Returns:
        path of ``diagnosis.md``.
    Raises:
        InputError: a pair, a recording or the bundle cannot be used.
    """
    self_pairs = out / "pairs.jsonl"
    write_pairs(self_pairs, to_self_pairs(read_pairs(pairs)))
    opened = bundle_path(bundle or "", out / "cache" / "bundles", base)
    plan = Plan(rows_of(opened), str(self_pairs), str(out), str(metric_weights), base)
    report = evaluate(plan, "copy synthesis", jobs, with_speed=False)
    path = out / "diagnosis.md"
    path.write_text(markdown(report, bundle or "default"), encoding="utf-8")
    return path


def markdown(report: dict[str, Any], bundle: str) -> str:
    """The table: cosine to the references and character error rate of every row."""
    columns = [c for name in COLUMNS for c in columns_of(report) if c.name == name]
    columns = [c for c in columns if any(c.name in row for row in report["summary"].values())]
    rows = ([name, *(cell(row.get(c.name), c.digits) for c in columns)] for name, row in report["summary"].items())
    header = ["each voice converted to itself", *(c.name for c in columns)]
    parts = [
        f"# Where similarity and words are lost: {Path(bundle).name}\n",
        f"{len(report['pairs'])} recordings, {report['date']}, fastvoicegrad {report['version']}. Means with 95 % "
        "confidence intervals.\n",
        markdown_table(header, rows),
        *(f"- {line}" for line in report["missing"]),
    ]
    return "\n".join(parts) + "\n"

"""The folder of the metrics' weights."""

from __future__ import annotations

from pathlib import Path

from ..errors import InputError
from ..files import shown

USUAL_WEIGHTS = Path("metric-weights")


def check_weights(folder: Path) -> None:
    """Raises InputError where the user names no folder. The usual one may be missing: some metrics need no weights."""
    if folder != USUAL_WEIGHTS and not folder.is_dir():
        raise InputError(f"{shown(folder)}: no such folder of metric weights; see docs/evaluation.md for what it holds")

"""Recordings that arrive in folders while a program runs."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from pathlib import Path

from .inputs import Found, Inputs, find_inputs

POLL = 1.0  # seconds between two looks; a recording is complete when it stands still for as long

Facts = tuple[int, ...]  # size in bytes; times of the last changes of the contents and of the permissions


def arrivals(inputs: Inputs, folder: Path) -> Iterator[dict[Found, Facts]]:
    """All recordings that are complete, at every look; empty where they are the same as before.

    Args:
        inputs, folder: see `find_inputs`. An input may appear later.
    """
    before: dict[Path, Facts] = {}
    last: dict[Found, Facts] = {}
    while True:
        found = {item: facts for item in find_inputs(inputs, folder, may_be_missing=True) if (facts := _facts(item))}
        complete = {item: facts for item, facts in found.items() if before.get(item.path) == facts}
        yield {} if complete == last else complete
        before, last = {item.path: facts for item, facts in found.items()}, complete
        time.sleep(POLL)


def _facts(item: Found) -> Facts | None:
    """None: it is gone."""
    try:
        found = os.stat(item.path)
    except (OSError, ValueError):
        return None
    return found.st_size, found.st_mtime_ns, found.st_ctime_ns

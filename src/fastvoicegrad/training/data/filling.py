"""Arrays that are computed recording by recording: several processes compute, a killed command continues.

The main process alone writes. It takes the results in the order of the recordings and keeps their number beside the
arrays. So neither the number of processes nor a stop changes a value.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import joblib
import numpy as np
from rich.progress import Progress

from ...mel import MEL
from .store import JOURNAL, Entry, Store, create

SAVED_EVERY = 20.0  # seconds
FEW = 16  # recordings that are not worth the start of another process
Arrays = dict[str, np.memmap[Any, Any]]


@dataclass(frozen=True)
class Shape:
    """Shape and type of an array: a row for each frame, sample or recording, and each row's `width`."""

    rows: Literal["frames", "samples", "recordings"]
    width: tuple[int, ...]
    dtype: type[np.generic]

    def whole(self, store: Store) -> tuple[int, ...]:
        counts = {
            "frames": store.total_frames,
            "samples": store.total_frames * MEL.hop_length,
            "recordings": len(store.entries),
        }
        return counts[self.rows], *self.width

    def place(self, row: int, entry: Entry) -> slice:
        """The rows of a recording, which is the `row`-th one of the store."""
        match self.rows:
            case "frames":
                return entry.slice
            case "samples":
                return slice(entry.slice.start * MEL.hop_length, entry.slice.stop * MEL.hop_length)
            case _:
                return slice(row, row + 1)


def fill(
    store: Store,
    shapes: dict[str, Shape],
    compute: Callable[..., tuple[np.ndarray, ...]],
    *given: Any,
    jobs: int = 1,
    only: Sequence[int] | None = None,
) -> Arrays:
    """Arrays of a store under temporary names; `store.finish` gives them their own.

    Args:
        shapes: by the arrays' names.
        compute: a function of a module: (number of the recording, its entry, *given) -> its rows of each array.
        given: plain values. A killed command continues only with the same ones.
        jobs: processes at once.
        only: numbers of the recordings, rising; None: all. Rows of others are 0.
    """
    numbers = range(len(store.entries)) if only is None else only
    arrays, count = _opened(store, shapes, repr(given))
    tasks = (joblib.delayed(compute)(number, store.entries[number], *given) for number in numbers[count:])
    jobs = min(jobs, 1 + len(numbers) // FEW)
    results = joblib.Parallel(jobs, return_as="generator", pre_dispatch="4 * n_jobs")(tasks)
    label, saved = " and ".join(shapes), time.monotonic()
    for values in _shown(results, label, count, len(numbers)):
        for (name, shape), rows in zip(shapes.items(), values, strict=True):
            arrays[name][shape.place(numbers[count], store.entries[numbers[count]])] = rows
        count += 1
        if time.monotonic() - saved > SAVED_EVERY:
            _save(store, arrays, count, repr(given))
            saved = time.monotonic()
    _save(store, arrays, count, repr(given))
    return arrays


def _shown(results: Iterator[Any], label: str, count: int, total: int) -> Iterator[Any]:
    """The results, with a progress bar that starts where an earlier command stopped."""
    with Progress() as progress:
        task = progress.add_task(label, total=total, completed=count)
        for result in results:
            yield result
            progress.advance(task)


def _opened(store: Store, shapes: dict[str, Shape], given: str) -> tuple[Arrays, int]:
    """The arrays for writing, and how many recordings they hold: those of a killed command, else new ones."""
    names, file = list(shapes), _journal(store, next(iter(shapes)))
    paths = [store.root / f"{name}.part" for name in names]
    wholes = [shapes[name].whole(store) for name in names]
    if file.exists() and all(path.exists() for path in paths):
        arrays = [np.lib.format.open_memmap(path, "r+") for path in paths]
        known = json.loads(file.read_text())
        if known["given"] == given and [array.shape for array in arrays] == wholes:
            return dict(zip(names, arrays, strict=True)), known["count"]
    file.unlink(missing_ok=True)
    made = (create(store.root / f"{n}.npy", whole, shapes[n].dtype) for n, whole in zip(names, wholes, strict=True))
    return dict(zip(names, made, strict=True)), 0


def _save(store: Store, arrays: Arrays, count: int, given: str) -> None:
    for array in arrays.values():
        array.flush()
    file = _journal(store, next(iter(arrays)))
    part = file.with_suffix(".new")
    part.write_text(json.dumps({"count": count, "given": given}))
    part.replace(file)


def _journal(store: Store, name: str) -> Path:
    """How many recordings are done, beside the first array; `store.finish` deletes it."""
    return store.root / f"{name}{JOURNAL}"

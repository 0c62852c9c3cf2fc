"""Arrays that are computed recording by recording: several processes compute, a killed command continues.

The main process alone writes. It takes the results in the order of the recordings and keeps their number beside the
arrays. So a stop changes no value, and the number of processes changes rounding at most.
"""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import joblib
import numpy as np
from rich.progress import Progress

from ...errors import InputError
from ...mel import MEL
from .store import JOURNAL, Entry, Store, create

SAVED_EVERY = 20.0  # seconds
FEW = 16  # recordings that do not repay the start of another process
BLOCK = 32  # recordings of each process whose results wait in memory until they are written
Arrays = dict[str, np.memmap[Any, Any]]
File = tuple[str, int]  # a path, and when the file changed last


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


def dated(path: str | Path) -> File:
    """A file as `fill` takes it. What is no file, such as the name of a pretrained network, has the time 0."""
    file = Path(path)
    return (str(file.resolve()), file.stat().st_mtime_ns) if file.is_file() else (str(path), 0)


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
        compute: a function that other processes can import: (number of the recording, its entry, *given) -> its rows of
            each array.
        given: plain values. A killed command continues only with the same ones.
        jobs: processes at once.
        only: numbers of the recordings, rising; None: all. Rows of others are 0.
    Raises:
        InputError: a process ended by itself.
    """
    numbers = range(len(store.entries)) if only is None else only
    key = _key(store, shapes, given, numbers)
    arrays, count = _opened(store, shapes, key)
    saved = time.monotonic()
    try:
        for number, values in _shown(_computed(store, numbers[count:], compute, given, jobs), shapes, count, numbers):
            for (name, shape), rows in zip(shapes.items(), values, strict=True):
                arrays[name][shape.place(number, store.entries[number])] = rows
            count += 1
            if time.monotonic() - saved > SAVED_EVERY:
                _save(store, arrays, count, key)
                saved = time.monotonic()
    except BrokenProcessPool as error:
        raise InputError("a process ended by itself, probably for lack of memory; try fewer --jobs") from error
    finally:
        _save(store, arrays, count, key)
    return arrays


def _computed(
    store: Store,
    numbers: Sequence[int],
    compute: Callable[..., tuple[np.ndarray, ...]],
    given: tuple[Any, ...],
    jobs: int,
) -> Iterator[tuple[int, tuple[np.ndarray, ...]]]:
    """Numbers and results, in order."""
    jobs = min(jobs, 1 + len(numbers) // FEW)
    with joblib.Parallel(jobs) as processes:
        for first in range(0, len(numbers), BLOCK * jobs):
            block = numbers[first : first + BLOCK * jobs]
            tasks = (joblib.delayed(compute)(number, store.entries[number], *given) for number in block)
            yield from zip(block, processes(tasks), strict=True)


def _key(store: Store, shapes: dict[str, Shape], given: tuple[Any, ...], numbers: Sequence[int]) -> str:
    """What the values depend on, as a hash."""
    index = (store.root / "index.jsonl").read_bytes()
    return hashlib.sha256(index + repr((shapes, given, list(numbers))).encode()).hexdigest()


def _shown(results: Iterator[Any], shapes: dict[str, Shape], count: int, numbers: Sequence[int]) -> Iterator[Any]:
    """The results, with a progress bar that starts where an earlier command stopped."""
    with Progress() as progress:
        task = progress.add_task(" and ".join(shapes), total=len(numbers), completed=count)
        for result in results:
            yield result
            progress.advance(task)


def _opened(store: Store, shapes: dict[str, Shape], key: str) -> tuple[Arrays, int]:
    """The arrays for writing, and how many recordings they hold: those of a killed command, else new ones."""
    file, paths = _journal(store, shapes), {name: store.root / f"{name}.part" for name in shapes}
    known = json.loads(file.read_text()) if file.exists() else {}
    if known.get("key") == key and all(path.exists() for path in paths.values()):
        return {name: np.lib.format.open_memmap(path, "r+") for name, path in paths.items()}, known["count"]
    file.unlink(missing_ok=True)
    return {n: create(store.root / f"{n}.npy", shape.whole(store), shape.dtype) for n, shape in shapes.items()}, 0


def _save(store: Store, arrays: Arrays, count: int, key: str) -> None:
    for array in arrays.values():
        array.flush()
    file = _journal(store, arrays)
    part = file.with_suffix(".new")
    part.write_text(json.dumps({"count": count, "key": key}))
    part.replace(file)


def _journal(store: Store, names: Iterable[str]) -> Path:
    """How many recordings are done, beside the first array; `store.finish` deletes it."""
    return store.root / f"{next(iter(names))}{JOURNAL}"

"""The feature store: everything that training reads, as flat arrays on disk.

All frames of all recordings stand one after another, so a crop is one slice. `F` is the number of frames, `R` of
recordings:

| file                    | shape      | content                                                               |
|-------------------------|------------|-----------------------------------------------------------------------|
| index.jsonl             | R lines    | the recording, its first frame, its number of frames                  |
| mel.npy                 | (F, 80)    | log-mel at the common speech level, float16                           |
| wave.npy                | (F * 256,) | samples at 22,050 Hz and that level, int16                            |
| pitch.npy               | (F,)       | F0 in Hz, 0 where unvoiced, float16                                   |
| content_teacher.npy     | (F, D)     | principal components of the content teacher's features, float16       |
| units.npy               | (F,)       | k-means unit of the content teacher, int16                            |
| speaker_teacher.npy     | (R, 192)   | the speaker teacher's embedding; NaN for recordings without one       |
| content.npy             | (F, C)     | content embedding of the perturbed recording, float16                 |
| content_unperturbed.npy | (F, C)     | content embedding of the recording itself, float16                    |
| parallel.npy            | (F,)       | the same sound in another voice's recording of the text, -1 if none   |
| speaker.npy             | (R, S)     | speaker embedding                                                     |
"""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from ...errors import InputError
from ...files import new_folder, text_lines
from .. import legacy
from .corpus import Recording

JOURNAL = ".journal"  # suffix of the file beside an array that is not complete yet; see filling.py


@dataclass(frozen=True)
class Entry:
    """A recording, its first frame in the arrays and its number of frames."""

    recording: Recording
    start: int
    frames: int

    @property
    def slice(self) -> slice:
        return slice(self.start, self.start + self.frames)


class Store:
    """A feature store opened for reading. Arrays are memory-mapped on first use."""

    def __init__(self, root: str | Path) -> None:
        self.root = Path(root)
        index = self.root / "index.jsonl"
        if not index.exists():
            raise InputError(f"{self.root} is not a feature store; make one with 'fastvoicegrad dev prepare'")
        try:
            rows = [json.loads(line) for line in text_lines(index)]
            self.entries = [Entry(Recording(**row["recording"]), row["start"], row["frames"]) for row in rows]
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise InputError(f"{index} is damaged; make the store again with 'fastvoicegrad dev prepare'") from error
        self._arrays: dict[str, np.ndarray] = {}

    @property
    def total_frames(self) -> int:
        return self.entries[-1].start + self.entries[-1].frames

    def _path(self, name: str) -> Path:
        """File of an array; older stores use other names."""
        path = self.root / f"{name}.npy"
        older = self.root / f"{legacy.ARRAYS.get(name, name)}.npy"
        return older if older.exists() and not path.exists() else path

    def has(self, name: str) -> bool:
        return self._path(name).exists()

    def array(self, name: str) -> np.ndarray:
        """One of the arrays above, read-only.

        Raises:
            InputError: its stage has not run yet.
        """
        if name not in self._arrays:
            path = self._path(name)
            if not path.exists():
                raise InputError(f"{path} is missing; run 'fastvoicegrad dev prepare' with its stage")
            self._arrays[name] = np.load(path, mmap_mode="r")
        return self._arrays[name]

    def require_columns(self, name: str, columns: int, setting: str) -> None:
        """Check that an array has as many columns as a network reads or predicts.

        Raises:
            InputError: it has another number of them, or is missing.
        """
        if (found := self.array(name)[:1].size) != columns:
            raise InputError(
                f"{self._path(name)} has {found} columns, and {setting} is {columns}; "
                f"set it to {found}, or name another store"
            )

    def require_units(self, units: int, setting: str) -> None:
        """Check that a classifier has a class for each content unit.

        Raises:
            InputError: it has fewer classes, or the store has no units.
        """
        if (found := 1 + int(self.array("units").max())) > units:
            raise InputError(
                f"{self._path('units')} has {found} units, and {setting} is {units}; "
                f"set it to {found} or more, or name another store"
            )

    def split(self, name: str) -> list[Entry]:
        """Entries of "train" or "valid"."""
        return [e for e in self.entries if e.recording.split == name]


def create(path: Path, shape: tuple[int, ...], dtype: Any) -> np.memmap[Any, Any]:
    """A new array on disk under a temporary name; `finish` renames it once it is complete."""
    return np.lib.format.open_memmap(path.with_suffix(".part"), mode="w+", dtype=dtype, shape=shape)


def finish(path: Path, array: np.memmap[Any, Any]) -> None:
    """Give a complete array its own name."""
    array.flush()
    path.with_suffix(".part").replace(path)
    path.with_suffix(JOURNAL).unlink(missing_ok=True)


def write_index(root: Path, entries: list[Entry]) -> None:
    """Write index.jsonl, and the store's folder if need be."""
    new_folder(root)
    lines = (
        json.dumps({"recording": asdict(e.recording), "start": e.start, "frames": e.frames}, ensure_ascii=False)
        for e in entries
    )
    part = root / "index.part"
    part.write_text("\n".join(lines) + "\n", encoding="utf-8")
    part.replace(root / "index.jsonl")

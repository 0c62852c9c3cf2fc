"""One run at a time in a folder: two that write into one would spoil both. A lock ends with its process."""

from __future__ import annotations

import os
import weakref
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import BinaryIO

from ..errors import InputError
from ..files import lock, new_folder, shown

LOCK = ".lock"


@contextmanager
def alone(folder: Path) -> Iterator[Path]:
    """Gives a folder, which is made, and keeps other runs out of it. It is removed again where nothing came of it.

    Raises:
        InputError: another run works in it, or it cannot be made or written.
    """
    with _locked(folder):
        try:
            yield folder
        finally:
            _remove_if_empty(folder)


class Hold:
    """Keeps other processes out of a folder as long as anything refers to this; see `held`."""

    def __init__(self, folder: Path) -> None:
        weakref.finalize(self, _locked(folder).close)


_HOLDS = weakref.WeakValueDictionary[Path, Hold]()


def held(folder: Path) -> Hold:
    """A hold on a folder, which is made. One process may ask for it several times, and gets the same.

    Raises:
        InputError: another process holds it, or it cannot be made or written.
    """
    path = folder.resolve()
    hold = _HOLDS.get(path)
    if hold is None:
        hold = _HOLDS[path] = Hold(folder)
    return hold


def _locked(folder: Path) -> BinaryIO:
    """A file in the folder that is locked until it is closed."""
    new_folder(folder)
    file = _lock_file(folder)
    if lock(file.fileno()) is False:
        file.close()
        raise InputError(f"another run works in {shown(folder)}; wait for its end, or name another output")
    return file


def _lock_file(folder: Path) -> BinaryIO:
    path = folder / LOCK
    try:
        # A finished store may be read-only, or the lock another user's. Locking needs no right to write.
        return open(path, "ab" if os.access(path, os.W_OK) or not path.exists() else "rb")
    except OSError as error:
        raise InputError(f"{shown(folder)} cannot be written ({error.strerror}); name another output") from error


def _remove_if_empty(folder: Path) -> None:
    with suppress(OSError):
        if [path.name for path in folder.iterdir()] == [LOCK]:
            (folder / LOCK).unlink()
            folder.rmdir()

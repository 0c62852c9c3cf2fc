"""A lock between processes and threads, which the system releases when its holder ends in any way."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from ..errors import InputError
from ..files import shown


@contextmanager
def locked(path: Path) -> Iterator[None]:
    """Waits until no other block holds the lock file `path`, which is made and stays.

    Raises:
        InputError: the file cannot be made.
    """
    try:
        another = path.exists() and not os.access(path, os.W_OK)  # of another user: reading is mostly enough for a lock
        handle = os.open(path, os.O_RDONLY if another else os.O_RDWR | os.O_CREAT, 0o666)
    except OSError as error:
        raise InputError(f"{shown(path.parent)} cannot be written ({error.strerror}); choose another folder") from error
    try:
        _lock(handle)
        yield
    finally:
        os.close(handle)


def _lock(handle: int) -> None:
    if sys.platform == "win32":
        import msvcrt

        while True:
            with suppress(OSError):  # after ten seconds
                msvcrt.locking(handle, msvcrt.LK_LOCK, 1)
                return
    else:
        import fcntl

        with suppress(OSError):  # some network file systems have no locks
            fcntl.flock(handle, fcntl.LOCK_EX)

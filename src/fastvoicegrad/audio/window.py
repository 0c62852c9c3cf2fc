"""The part of a file around a position. Walks and searches read each block once, not once for each place in it."""

from __future__ import annotations

from collections.abc import Callable
from typing import BinaryIO

BLOCK = 1 << 16  # bytes that are read at once
BEHIND = 1 << 14  # bytes before a position that are kept, so that a look ahead may be followed by a step back
LONGEST = 8  # bytes of the longest mark that is looked for

Search = Callable[[bytes, int], int]  # like bytes.find: the next place in a block from a place on; -1: none


class Window:
    """Gives bytes of a file by their position.

    Args:
        file: may be read by others in between.
        size: of the file, in bytes.
    """

    def __init__(self, file: BinaryIO, size: int) -> None:
        self._file, self._size = file, size
        self._start, self._data = 0, b""

    def read(self, at: int, count: int) -> bytes:
        """Bytes from a position on; fewer than `count` at the end of the file."""
        self._hold(at, count)
        return self._data[at - self._start : at - self._start + count]

    def find(self, search: Search, at: int, end: int) -> int:
        """The next place from `at` on that `search` finds; `end` where there is none before it."""
        while at < end:
            self._hold(at, LONGEST)
            found = search(self._data, at - self._start)
            if found >= 0:
                return min(self._start + found, end)
            following = self._start + len(self._data) - LONGEST + 1
            if following <= at:  # the end of the file, or it has become shorter
                break
            at = following
        return end

    def _hold(self, at: int, count: int) -> None:
        """Makes the window reach over so many bytes from a position on, as far as the file does."""
        end = min(at + count, self._size)
        if at < end and not self._start <= at <= end <= self._start + len(self._data):
            self._start = max(at - BEHIND, 0)
            self._file.seek(self._start)
            self._data = self._file.read(at - self._start + max(count, BLOCK))

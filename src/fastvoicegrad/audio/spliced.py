"""A file seen with other headers: bytes in memory and ranges of a file on the disk, read as one."""

from __future__ import annotations

import os
from bisect import bisect_right
from itertools import accumulate
from pathlib import Path

Piece = bytes | range  # bytes of its own, or a range of byte positions in the file


class Spliced:
    """A binary file for `soundfile` that consists of `pieces`; it holds no more of them in memory than was given.

    Args:
        claim: the size that `seek(0, SEEK_END)` reports. Reading ends at the true one; between the two are zeros.
    """

    def __init__(self, path: Path, pieces: list[Piece], claim: int | None = None) -> None:
        self._file = open(path, "rb")  # noqa: SIM115
        self._pieces = [piece for piece in pieces if len(piece)]
        self._starts = [0, *accumulate(len(piece) for piece in self._pieces)]
        self._claim = self._starts[-1] if claim is None else claim
        self._at = 0
        self.error: OSError | None = None  # a failed read; libsndfile takes it for the end of the file

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        base = {os.SEEK_SET: 0, os.SEEK_CUR: self._at, os.SEEK_END: self._claim}[whence]
        self._at = max(base + offset, 0)
        return self._at

    def tell(self) -> int:
        return self._at

    def read(self, count: int) -> bytes:
        if self._at > self._starts[-1]:  # mpg123 looks for a tag before the claimed end
            count = max(min(count, self._claim - self._at), 0)
            self._at += count
            return bytes(count)
        found = []
        while count > 0 and self._at < self._starts[-1]:
            data = self._next(count)
            if not data:
                break
            found.append(data)
            self._at += len(data)
            count -= len(data)
        return b"".join(found)

    def _next(self, count: int) -> bytes:
        """Up to `count` bytes from the position on, all of one piece."""
        index = bisect_right(self._starts, self._at) - 1
        piece, inside = self._pieces[index], self._at - self._starts[index]
        count = min(count, len(piece) - inside)
        if isinstance(piece, bytes):
            return piece[inside : inside + count]
        try:
            self._file.seek(piece.start + inside)
            return self._file.read(count)
        except OSError as error:
            self.error = error
            return b""

    @property
    def source_position(self) -> int:
        """The position in the file on the disk from which the next bytes come."""
        index = min(bisect_right(self._starts, self._at), len(self._pieces)) - 1
        piece = self._pieces[index]
        return piece.start + self._at - self._starts[index] if isinstance(piece, range) else 0

    def write(self, data: bytes) -> int:
        """Only there because `soundfile` looks for it."""
        raise OSError("not writable")

    def close(self) -> None:
        self._file.close()

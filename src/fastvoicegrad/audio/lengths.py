"""Lengths of sound that headers claim: which of them stand for "unknown", and where a WAV file goes on behind its own.

Recorders and pipes leave sizes that are missing, out of date, placeholders, or cut to 32 bits.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass
from typing import Any, BinaryIO

import numpy as np

from .mixing import PLAUSIBLE

# Sizes that stand for "unknown" in pipes: GStreamer 0x7FFF0000, sox 0x7FFFF000 in whole frames, arecord 0x80000000,
# ffmpeg 0xFFFFFFFF; some leave the header out. Any other size is meant, also one of several GiB.
PLACEHOLDERS = (range(0x7FFF0000, 0x80000041), range(0xFFFFF000, 1 << 32))
UNKNOWN_LONG = 1 << 62  # the same for sizes of 64 bits
LARGEST = 0xFFFFFFFF  # size of 32 bits
SLOPPY = 64  # bytes by which headers are often too long: that of the header itself, or of a chunk behind the sound
MUCH_MORE = 1 << 16  # bytes behind the claimed end of the sound that may be sound as well
WIDEST = 8  # bytes of a sample; the widths of floats divide it
BLOCK = 1 << 16  # bytes that are looked at at once
MOST_BITS = 7.97  # entropy of a byte; compressed and random data have more, also than noise at full scale
# What may follow the sound and is none: tags, chunks that are cut off, and other files.
NO_SOUND = tuple(b"ID3 TAG APETAGEX LYRICS LIST id3 bext iXML axml levl fact cue JUNK junk PAD FLLR _PMX RIFF".split())
NO_SOUND += (b"OggS", b"fLaC", b"PK\3\4", b"\x89PNG", b"\xff\xd8\xff\xe0", b"\xff\xd8\xff\xe1")


def is_placeholder(size: int) -> bool:
    """Whether a size of 32 bits stands for an unknown one."""
    return any(size in sizes for sizes in PLACEHOLDERS)


def share(there: int, claimed: int, unknown: bool) -> float:
    """The share of the sound that is there."""
    return 1.0 if unknown or claimed <= there + SLOPPY else there / claimed


def chunk_follows(file: BinaryIO, at: int, size: int, order: str) -> bool:
    """Whether the file goes on with a chunk that ends within it."""
    file.seek(at)
    head = file.read(8)
    if len(head) < 8 or not (head[:4].isascii() and head[:4].decode("ascii").isprintable()):
        return False
    return at + 8 + int(struct.unpack(order + "I", head[4:])[0]) <= size


def float_type(file: BinaryIO, at: int, order: str) -> np.dtype[Any] | None:
    """Of the samples of a WAV file, by what its chunk "fmt " holds; None where they are no floats."""
    file.seek(at)
    head = file.read(26).ljust(26, b"\0")
    tag, bits, extended = struct.unpack(order + "H12xH8xH", head)
    is_float = (extended if tag == 0xFFFE else tag) == 3 and bits in (32, 64)
    return np.dtype(f"{order}f{bits // 8}") if is_float else None


@dataclass(frozen=True)
class WaveSound:
    """The sound of a WAV file.

    Attributes:
        size: of the file in bytes; start: the place of the first sample.
        order: of bytes, as for `struct`.
        floats: type of the samples where these are floats.
    """

    file: BinaryIO
    size: int
    start: int
    order: str
    floats: np.dtype[Any] | None

    def length(self, claimed: int) -> int:
        """Its bytes where the header claims so many in 32 bits; more than that only where the number is none.

        The size may be missing or a placeholder. It may be of the moment at which the recorder last wrote it. Above
        4 GiB it may be what 32 bits hold of the true one.
        """
        there, whole = self.size - self.start, 1 << 32
        if claimed == 0:
            return 0 if chunk_follows(self.file, self.start, self.size, self.order) else there
        if is_placeholder(claimed) and there > LARGEST:
            return there
        if not self.goes_on(claimed):
            return claimed
        wrapped = claimed + (there - claimed) // whole * whole
        return wrapped if wrapped > claimed and self._may_end(wrapped) else there

    def goes_on(self, claimed: int) -> bool:
        """Whether there is sound behind so many bytes: neither chunks nor tags, zeros or other data."""
        return not self._may_end(claimed) and self._is_sound(claimed)

    def _may_end(self, length: int) -> bool:
        """Whether it may have this length: little follows, or chunks or tags do."""
        end = self.start + length
        if self.size - end < MUCH_MORE:
            return True
        if any(chunk_follows(self.file, place, self.size, self.order) for place in {end, end + length % 2}):
            return True
        self.file.seek(end)
        head = self.file.read(SLOPPY)
        return any(mark in head for mark in NO_SOUND)

    def _is_sound(self, length: int) -> bool:
        """Whether what follows so many bytes may be samples. Room that was taken and never written holds zeros."""
        self.file.seek(self.start + (length + SLOPPY) // WIDEST * WIDEST)
        zeros = True
        while block := self.file.read(BLOCK):
            if self.floats is not None and not _plausible(block, self.floats):
                return False
            if zeros and block.strip(b"\0"):
                zeros = False
                if _entropy(block) > MOST_BITS:
                    return False
            if not zeros and self.floats is None:
                return True
        return not zeros


def _plausible(block: bytes, floats: np.dtype[Any]) -> bool:
    """Whether all are samples that reading takes; it refuses a whole recording for a single other one."""
    values = np.frombuffer(block[: len(block) // floats.itemsize * floats.itemsize], floats)
    with np.errstate(invalid="ignore"):
        return bool((np.abs(values) <= PLAUSIBLE).all())


def _entropy(block: bytes) -> float:
    """Bits of information in a byte."""
    counts = np.bincount(np.frombuffer(block, np.uint8))
    shares = counts[counts > 0] / len(block)
    return -float(np.sum(shares * np.log2(shares)))

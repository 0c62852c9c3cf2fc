"""Written files depend on their samples alone: what libsndfile draws by chance or reads off a clock is replaced.

libsndfile gives each Ogg stream a random serial number. A WAV file of floats gets the time at which it was written.
"""

from __future__ import annotations

import struct
import zlib
from pathlib import Path
from typing import BinaryIO

SERIAL = 1  # of the only stream of an Ogg file
PAGE_HEADER = 27  # bytes
_REVERSED = bytes(int(f"{byte:08b}"[::-1], 2) for byte in range(256))


def remove_chance(path: Path) -> None:
    """Replaces serial numbers (with their checksums) and times in a file of `writing`."""
    with open(path, "r+b") as file:
        head = file.read(12)
        if head[:4] == b"OggS":
            _set_serials(file)
        elif head[:4] in (b"RIFF", b"RF64"):
            _clear_time(file)


def _set_serials(file: BinaryIO) -> None:
    """Gives all pages of an Ogg file the same serial number (RFC 3533, section 6)."""
    at = 0
    while True:
        file.seek(at)
        header = bytearray(file.read(PAGE_HEADER))
        if len(header) < PAGE_HEADER or header[:4] != b"OggS":
            return
        lengths = file.read(header[26])
        body = file.read(sum(lengths))
        header[14:18], header[22:26] = struct.pack("<I", SERIAL), bytes(4)
        header[22:26] = struct.pack("<I", ogg_checksum(bytes(header) + lengths + body))
        file.seek(at)
        file.write(header)
        at += PAGE_HEADER + len(lengths) + len(body)


def ogg_checksum(data: bytes) -> int:
    """The checksum of Ogg: the polynomial of zlib's CRC-32, but most significant bit first, from 0, not inverted."""
    mirrored = zlib.crc32(data.translate(_REVERSED), 0xFFFFFFFF) ^ 0xFFFFFFFF
    return int(f"{mirrored:032b}"[::-1], 2)


def _clear_time(file: BinaryIO) -> None:
    """Sets the time in the chunk "PEAK" of a WAV file to 0."""
    at = 12
    while True:
        file.seek(at)
        head = file.read(8)
        if len(head) < 8 or head[:4] == b"data":
            return
        if head[:4] == b"PEAK":
            file.seek(at + 12)
            file.write(bytes(4))
            return
        size = struct.unpack("<I", head[4:])[0]
        at += 8 + size + size % 2

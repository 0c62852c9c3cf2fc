"""Archives that lie: used for zipped bundles."""

from __future__ import annotations

import io
import re
import struct
import zipfile

from .damage import Random, damaged, pick

BOMB = bytes(1 << 20)


def packed(parts: dict[str, bytes], method: int = zipfile.ZIP_STORED, only: str | None = None) -> bytes:
    """An archive of these members; `only` one is packed by the method, or all."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", compresslevel=1) as archive:
        for name, data in parts.items():
            archive.writestr(name, data, method if only in (None, name) else zipfile.ZIP_STORED)
    return buffer.getvalue()


def with_bomb(parts: dict[str, bytes], name: str, megabytes: int, method: int) -> bytes:
    """One member unpacks to zeros after its own bytes."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", method, compresslevel=1) as archive:
        for other, data in parts.items():
            if other != name:
                archive.writestr(other, data, zipfile.ZIP_STORED)
        with archive.open(name, "w", force_zip64=True) as member:
            member.write(parts[name])
            for _ in range(megabytes):
                member.write(BOMB)
    return buffer.getvalue()


def with_changed_directory(data: bytes, random: Random) -> bytes:
    """Flags, method, checksum or sizes of one member are others in the archive's directory."""
    changed = bytearray(data)
    places = [found.start() for found in re.finditer(b"PK\x01\x02", data[:-42])]
    place = pick(random, places)
    field, size = pick(random, [(8, 2), (10, 2), (16, 4), (20, 4), (24, 4), (28, 2), (30, 2), (38, 4), (42, 4)])
    value = pick(random, [0, 1, 8, 9, 12, 14, 99, 0xFFFF, 0xFFFFFFFF, 0x7FFFFFFF, 10**6])
    changed[place + field : place + field + size] = (value % 256**size).to_bytes(size, "little")
    return bytes(changed)


def with_many_names(parts: dict[str, bytes]) -> bytes:
    """A directory of 60,000 names."""
    entry = struct.pack("<4s6H3L5H2L", b"PK\x01\x02", 20, 20, 0, 0, 0, 0, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0) + b"x"
    data = packed(parts)
    end = data.rindex(b"PK\x05\x06")
    start = struct.unpack("<L", data[end + 16 : end + 20])[0]
    directory = data[start:end] + entry * 60_000
    count = min(len(parts) + 60_000, 0xFFFE)
    record = struct.pack("<4s4H2LH", b"PK\x05\x06", 0, 0, count, count, len(directory), start, 0)
    return data[:start] + directory + record


def hostile(parts: dict[str, bytes], random: Random) -> bytes:
    """An archive of these members with something wrong."""
    names = sorted(parts)
    kind = random.random()
    if kind < 0.35:
        return damaged(packed(parts, pick(random, [zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED])), random)
    if kind < 0.6:
        return with_changed_directory(packed(parts), random)
    if kind < 0.7:
        small = sorted(names, key=lambda name: len(parts[name]))[:2]  # a bundle takes half a minute
        return packed(parts, pick(random, [zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA]), pick(random, small))
    if kind < 0.72:
        method, size = pick(random, [(zipfile.ZIP_DEFLATED, 2), (zipfile.ZIP_DEFLATED, 300), (zipfile.ZIP_BZIP2, 8)])
        return with_bomb(parts, pick(random, names), size, method)
    if kind < 0.74:
        return with_many_names(parts)
    if kind < 0.84:
        left_out = pick(random, names)
        return packed({name: data for name, data in parts.items() if name != left_out})
    if kind < 0.92:
        chosen, prefix = pick(random, names), pick(random, ["../", "/", "x/", "\u2044", "X"])
        return packed({prefix + name if name == chosen else name: data for name, data in parts.items()})
    return packed(parts) + packed({pick(random, names): random.bytes(20)})

"""The streams of a sound file, each in a form that libsndfile decodes to its very end.

libsndfile decodes well but takes lengths from headers and stops after the first stream. So this module and
`mpeg` look at the containers: they find all streams, and repair lengths that are only placeholders.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import chain, islice, pairwise
from pathlib import Path
from typing import BinaryIO

from ..errors import InputError
from ..files import shown
from .lengths import LARGEST, UNKNOWN_LONG, WaveSound, chunk_follows, float_type, is_placeholder, share
from .mpeg import mpeg_streams
from .spliced import Piece
from .window import Search, Window

# No bare MPEG frames: AIFF, AVI, Matroska, MPEG, W64, AU in both byte orders, VOC, NIST
CONTAINERS = (b"FORM", b"RIFF", b"\x1aE\xdf\xa3", b"\0\0\1\xba", b"riff", b".snd", b"dns.", b"Crea", b"NIST")
OGG_MARK = b"OggS"
FLAC_MARK = b"fLaC\x00\x00\x00\x22"  # the marker and the header of STREAMINFO, which always comes first
ID3V1 = 128  # bytes of a tag at the end, which some programs append
MOST_STREAMS = 1 << 16  # of a file: a list of more may need more memory than the file
PAGE_HEADER = 27 + 255  # bytes of the longest header of an Ogg page


@dataclass(frozen=True)
class Stream:
    """One stream of a file.

    Attributes:
        pieces: what libsndfile gets to read.
        claim: the file size that libsndfile gets to see; None: the true one.
        skip: samples at the start that are the encoder's delay.
        samples: number of samples after those that are sound; None: all.
        there: the share of the sound that its header gives that is there; 1 where nothing is missing.
        cut: the file ends in the middle of a page.
        restart: of FLAC: a header for any later part, and the bytes with which a frame begins.
    """

    pieces: list[Piece]
    claim: int | None = None
    skip: int = 0
    samples: int | None = None
    there: float = 1.0
    cut: bool = False
    restart: tuple[bytes, bytes] | None = None


def find_streams(path: Path) -> list[Stream]:
    """All streams of a sound file, in their order.

    Raises:
        InputError: there are more than `MOST_STREAMS`.
    """
    size = path.stat().st_size
    with open(path, "rb") as file:
        streams = list(islice(streams_of(file, size), MOST_STREAMS + 1))
    if len(streams) > MOST_STREAMS:
        raise InputError(f"{shown(path)} is a chain of more than {MOST_STREAMS} recordings; split it")
    return streams or [Stream([range(size)])]


def streams_of(file: BinaryIO, size: int) -> Iterator[Stream]:
    """The streams of an open file of so many bytes, as they are found; none of other containers."""
    start = after_id3(file, size)
    file.seek(start)
    head = file.read(12)
    if head[:4] == OGG_MARK:
        yield from _ogg_streams(file, start, size)
    elif head[:4] == b"fLaC":
        yield from _flac_streams(file, start, size)
    elif head[:4] in (b"RIFF", b"RIFX", b"RF64") and head[8:] == b"WAVE":
        yield _wave_stream(file, size, head[:4])
    elif head[:4] == b"caff":
        yield _caf_stream(file, size)
    elif head[:4] == b"FORM" and head[8:] in (b"AIFF", b"AIFC"):
        yield _aiff_stream(file, size)
    elif head[:4] in (b".snd", b"dns.") and len(head) == 12:
        yield _au_stream(size, head)
    elif head[4:8] != b"ftyp" and head[:4] not in CONTAINERS:
        for s in mpeg_streams(file, start, size):
            # mpg123 divides the size by that of the frame at hand: with a large claim it stops at the true end.
            yield Stream(s.pieces, s.bytes * 100, s.skip, s.samples, s.there)


def after_id3(file: BinaryIO, size: int) -> int:
    """Where the tags (ID3v2) at the start end."""
    at = 0
    while at < size:
        file.seek(at)
        head = file.read(10)
        if len(head) < 10 or head[:3] != b"ID3" or max(head[6:]) > 127:
            break
        length = head[6] << 21 | head[7] << 14 | head[8] << 7 | head[9]
        at += 10 + length + (10 if head[5] & 16 else 0)
    return at if at < size else 0


# -- FLAC -----------------------------------------------------------------------------------------------------


def _flac_streams(file: BinaryIO, start: int, size: int) -> Iterator[Stream]:
    file.seek(max(size - ID3V1, 0))
    end = size - ID3V1 if file.read(3) == b"TAG" else size
    for a, b in pairwise(chain([start], _find_all(file, FLAC_MARK, start + 1, end), [end])):
        yield Stream([range(a, b)], restart=_flac_restart(file, a, b))


def _flac_restart(file: BinaryIO, start: int, end: int) -> tuple[bytes, bytes] | None:
    """STREAMINFO without the length, and the bytes that all frames of one blocking and rate share."""
    file.seek(start + 8)
    facts = bytearray(file.read(34))
    at, last = start + 4, False
    while not last and at + 4 <= end:
        file.seek(at)
        head = file.read(4)
        at, last = at + 4 + int.from_bytes(head[1:], "big"), head[0] >= 128
    file.seek(at)
    mark = file.read(3)
    if at >= end or len(facts) < 34 or len(mark) < 3 or mark[0] != 0xFF:
        return None
    facts[13], facts[14:18] = facts[13] & 0xF0, bytes(4)
    return b"fLaC\x80\x00\x00\x22" + bytes(facts), mark


def after_damage(path: Path, stream: Stream, position: int) -> Stream | None:
    """What follows in a FLAC stream that libsndfile gave up at a position of the file; None: nothing."""
    piece = stream.pieces[-1]
    if stream.restart is None or isinstance(piece, bytes):
        return None
    header, mark = stream.restart
    with open(path, "rb") as file:
        at = next(_find_all(file, mark, position, piece.stop), None)
    return None if at is None else Stream([header, range(at, piece.stop)], restart=stream.restart)


def _find_all(file: BinaryIO, mark: bytes, start: int, end: int) -> Iterator[int]:
    """The places of a mark between two positions."""
    window = Window(file, end)
    at = window.find(_searcher(mark), start, end)
    while at < end:
        yield at
        at = window.find(_searcher(mark), at + 1, end)


def _searcher(mark: bytes) -> Search:
    return lambda data, at: data.find(mark, at)


# -- Ogg ------------------------------------------------------------------------------------------------------


def _ogg_streams(file: BinaryIO, start: int, size: int) -> Iterator[Stream]:
    """Links of a chain: a new one begins with a page that is marked as first, after pages that are not."""
    window, begin, inside, at, end = Window(file, size), start, False, start, start
    while at + 27 <= size:
        page = window.read(at, PAGE_HEADER)
        if page[:4] != OGG_MARK:
            at = window.find(_searcher(OGG_MARK), at, size)
            continue
        first = bool(page[5] & 2)
        if first and inside:
            yield Stream([range(begin, at)])
            begin = at
        inside = not first
        at = end = at + 27 + page[26] + sum(page[27 : 27 + page[26]])
    yield Stream([range(begin, size)], cut=end > size)


# -- WAV and CAF ----------------------------------------------------------------------------------------------


def _chunks(file: BinaryIO, size: int, order: str) -> Iterator[tuple[bytes, int, int]]:
    """Name, place and claimed length of what each chunk of a RIFF or FORM file holds."""
    at = 12
    while at + 8 <= size:
        file.seek(at)
        name, length = struct.unpack(order + "4sI", file.read(8))
        yield name, at + 8, length
        at += 8 + length + length % 2


def _wave_stream(file: BinaryIO, size: int, kind: bytes) -> Stream:
    order, sizes, long_size, floats = ">" if kind == b"RIFX" else "<", 0, None, None
    for name, at, length in _chunks(file, size, order):
        if name == b"ds64":
            sizes, long_size = at, struct.unpack("<8xQ", file.read(16).ljust(16, b"\0"))[0]
        if name == b"fmt ":
            floats = float_type(file, at, order)
        if name == b"data":
            there, sound = size - at, WaveSound(file, size, at, order, floats)
            if kind == b"RF64" and length == LARGEST and long_size is not None:
                if (long_size == 0 and there) or sound.goes_on(long_size):
                    return _with_size(file, sizes + 8, there, "<Q", size)
                return Stream([range(size)], there=share(there, long_size, long_size >= UNKNOWN_LONG))
            true = sound.length(length)
            if kind == b"RIFF" and true > LARGEST:
                return _as_rf64(at - 8, true, size)
            if true > length:
                return _with_size(file, at - 4, min(true, LARGEST), order + "I", size)
            return Stream([range(size)], there=share(there, length, is_placeholder(length)))
    return Stream([range(size)])


def _as_rf64(at: int, length: int, size: int) -> Stream:
    """A WAV file, whose data chunk begins at `at` and holds so many bytes, as RF64: its sizes have 64 bits."""
    sizes = struct.pack("<4sI3QI", b"ds64", 28, size - 8, length, 0, 0)
    header = b"RF64\xff\xff\xff\xffWAVE" + sizes
    return Stream([header, range(12, at), b"data\xff\xff\xff\xff", range(at + 8, size)])


def _aiff_stream(file: BinaryIO, size: int) -> Stream:
    """A recorder that was stopped leaves an SSND chunk that ends before the first sample."""
    for name, at, length in _chunks(file, size, ">"):
        if name == b"SSND":
            if length == 8 and size - at > 8 and not chunk_follows(file, at + 8, size, ">"):
                return _with_size(file, at - 4, min(size - at, LARGEST), ">I", size)
            break
    return Stream([range(size)])


def _au_stream(size: int, head: bytes) -> Stream:
    """libsndfile finds no sound where the size ends beyond 2 GiB: for it that is a negative one. -1 is "unknown"."""
    start, claimed = struct.unpack(">4x2I" if head[:4] == b".snd" else "<4x2I", head)
    if start + claimed < 1 << 31:
        return Stream([range(size)])
    unknown = is_placeholder(claimed)
    end = size if unknown else min(size, start + claimed)
    return Stream([range(8), b"\xff\xff\xff\xff", range(12, end)], there=share(size - start, claimed, unknown))


def _caf_stream(file: BinaryIO, size: int) -> Stream:
    at = 8
    while at + 12 <= size:
        file.seek(at)
        name, length = struct.unpack(">4sq", file.read(12))
        there = size - at - 12
        if name == b"data" and not 0 < length <= there:  # libsndfile refuses what does not fit
            stream = _with_size(file, at + 4, there, ">q", size)
            return Stream(stream.pieces, there=share(there, length, length >= UNKNOWN_LONG))
        if length < 0:
            break
        at += 12 + length
    return Stream([range(size)])


def _with_size(file: BinaryIO, at: int, value: int, form: str, size: int) -> Stream:
    """The file with another number at a position."""
    number = struct.pack(form, value)
    return Stream([range(at), number, range(at + len(number), size)])

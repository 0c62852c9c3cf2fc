"""MPEG audio (MP3, MP2, MP1): its frames, the streams that they form, and the tag with the encoder's delay.

An MP3 file has no header of its own, only frames. Some begin with a frame that holds a tag ("Xing" or "Info",
extended by LAME) instead of sound. Each such frame begins a stream. What lies between frames, such as ID3 tags,
is left out.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import lru_cache
from typing import BinaryIO

from .spliced import Piece
from .window import Window

CHAIN = 4  # frames that follow the first one behind other data: by chance samples look like a header or two
FARTHEST = 1 << 14  # bytes before the first frame, beyond which a file is not MPEG audio
HEAD = 192  # bytes of a frame that may hold a tag
DECODER_DELAY = 529  # samples by which the layer III filter bank delays the sound
RATES = {3: (44100, 48000, 32000), 2: (22050, 24000, 16000), 0: (11025, 12000, 8000)}  # by version bits
_V1L1 = tuple(range(32, 449, 32))
_V1L2 = (32, 48, 56, 64, 80, 96, 112, 128, 160, 192, 224, 256, 320, 384)
_V1L3 = (32, 40, 48, 56, 64, 80, 96, 112, 128, 160, 192, 224, 256, 320)
_V2L1 = (32, 48, 56, 64, 80, 96, 112, 128, 144, 160, 176, 192, 224, 256)
_V2L2 = (8, 16, 24, 32, 40, 48, 56, 64, 80, 96, 112, 128, 144, 160)
KBITS = {(1, 1): _V1L1, (1, 2): _V1L2, (1, 3): _V1L3, (2, 1): _V2L1, (2, 2): _V2L2, (2, 3): _V2L2}


@dataclass(frozen=True)
class Frame:
    """Of a frame's header: its size in bytes, its samples, and what all frames of a stream share."""

    size: int
    samples: int
    version: int  # 1, or 2 for MPEG-2 and 2.5
    kind: tuple[int, int, bool]  # version and layer bits, rate, mono


@lru_cache(maxsize=1024)
def parse_header(header: bytes) -> Frame | None:
    """A frame from its first four bytes; None where no frame begins. Free-format frames count as none."""
    if len(header) < 4 or header[0] != 0xFF or header[1] & 0xE0 != 0xE0:
        return None
    version_bits, layer_bits = header[1] >> 3 & 3, header[1] >> 1 & 3
    bitrate, rate_bits = header[2] >> 4, header[2] >> 2 & 3
    if version_bits == 1 or layer_bits == 0 or bitrate in (0, 15) or rate_bits == 3:
        return None
    version, layer = (1 if version_bits == 3 else 2), 4 - layer_bits
    rate, kbits = RATES[version_bits][rate_bits], KBITS[version, layer][bitrate - 1]
    slot = 4 if layer == 1 else 1
    samples = 384 if layer == 1 else 576 if (layer == 3 and version == 2) else 1152
    size = (samples // 8 // slot * kbits * 1000 // rate + (header[2] >> 1 & 1)) * slot
    return Frame(size, samples, version, (header[1] & 0xFE, rate, header[3] >> 6 == 3))


# The second and third bytes of a header do not depend on each other.
_SECOND = bytes(byte for byte in range(256) if parse_header(bytes((0xFF, byte, 0x10, 0))))
_THIRD = bytes(byte for byte in range(256) if parse_header(bytes((0xFF, 0xFB, byte, 0))))
HEADER = re.compile(b"\xff(?=[%b][%b])" % (re.escape(_SECOND), re.escape(_THIRD)))


@dataclass
class MpegStream:
    """Frames that belong together.

    Attributes:
        pieces: ranges of the file that hold its frames, and nothing else.
        bytes, frames: of all pieces.
        skip: samples at the start that are the encoder's delay.
        padding: samples at the end that are filled up.
        promised: number of frames by the tag; 0: unknown.
    """

    spf: int  # samples per frame
    skip: int = 0
    padding: int = 0
    promised: int = 0
    frames: int = 0
    bytes: int = 0
    pieces: list[Piece] = field(default_factory=list)

    def add(self, at: int, frame: Frame) -> None:
        last = self.pieces[-1] if self.pieces else None
        if isinstance(last, range) and last.stop == at:
            self.pieces[-1] = range(last.start, at + frame.size)
        else:
            self.pieces.append(range(at, at + frame.size))
        self.frames += 1
        self.bytes += frame.size

    @property
    def samples(self) -> int:
        """Samples of sound. The padding is known to be at the end only where the tag's number of frames is right."""
        whole = self.frames * self.spf - self.skip
        complete = self.frames == self.promised
        return max(whole - (max(self.padding - DECODER_DELAY, 0) if complete else 0), 0)

    @property
    def there(self) -> float:
        """The share of the promised frames that is there. Some encoders count the frame with the tag."""
        return 1.0 if self.frames >= self.promised - 1 else self.frames / self.promised


def mpeg_streams(file: BinaryIO, start: int, size: int) -> Iterator[MpegStream]:
    """The streams of a file that begins with MPEG audio; none where it does not."""
    stream: MpegStream | None = None
    kind: tuple[int, int, bool] | None = None
    for at, frame, data in _frames(file, start, size):
        tagged = _tagged(frame, data)
        if stream is None or tagged is not None or kind != frame.kind:
            if stream is not None and stream.frames:
                yield stream
            stream = tagged or MpegStream(frame.samples)
        kind = frame.kind
        if tagged is None:
            stream.add(at, frame)
    if stream is not None and stream.frames:
        yield stream


def _frames(file: BinaryIO, start: int, size: int) -> Iterator[tuple[int, Frame, bytes]]:
    """Positions, headers and first bytes of all whole frames. After other data, only frames that another follows."""
    window, at, kind = Window(file, size), start, None
    while at + 4 <= size and (kind is not None or at <= start + FARTHEST):
        data = window.read(at, HEAD)
        frame = parse_header(data[:4])
        first = at == start
        chain = CHAIN if kind is None and not first else 1
        if (
            frame
            and at + frame.size <= size
            and (frame.kind == kind or _confirmed(window, at, frame, size, chain, first))
        ):
            yield at, frame, data
            at, kind = at + frame.size, frame.kind
        else:
            at = window.find(_next_header, at + 1, size if kind else min(start + FARTHEST + 1, size))
            kind = kind and (0, 0, False)  # the next frame needs to be confirmed


def _confirmed(window: Window, at: int, frame: Frame, size: int, chain: int, first: bool) -> bool:
    """Whether `chain` frames of the same kind follow, or fewer up to the file's end. The `first` needs none."""
    following: Frame | None = frame
    for _ in range(chain):
        assert following is not None
        at += following.size
        following = parse_header(window.read(at, 4))
        if following is None:
            return first or at == size
        if following.kind != frame.kind:
            return False
    return True


def _next_header(data: bytes, at: int) -> int:
    """The next place in a block at which a frame may begin; -1: none.

    A header alone is passed over where the block shows that no other follows.
    """
    for match in HEADER.finditer(data, at):
        at = match.start()
        frame = parse_header(data[at : at + 4])
        if frame is None:  # the block ends within the header
            return at
        following = data[at + frame.size : at + frame.size + 4]
        if len(following) < 4 or ((other := parse_header(following)) and other.kind == frame.kind):
            return at
    return -1


def _tagged(frame: Frame, data: bytes) -> MpegStream | None:
    """An empty stream with what a frame's tag gives; None where the frame has no tag."""
    if data[36:40] == b"VBRI":
        return MpegStream(frame.samples, promised=int.from_bytes(data[50:54], "big"))
    mono = frame.kind[2]
    at = 4 + ((17 if mono else 32) if frame.version == 1 else (9 if mono else 17))
    if data[at : at + 4] not in (b"Xing", b"Info"):
        return None
    stream = MpegStream(frame.samples)
    flags = int.from_bytes(data[at + 4 : at + 8], "big")
    if flags & 1:
        stream.promised = int.from_bytes(data[at + 8 : at + 12], "big")
    at += 8 + sum(length for bit, length in ((1, 4), (2, 4), (4, 100), (8, 4)) if flags & bit)
    if data[at : at + 4] in (b"LAME", b"Lavf", b"Lavc"):
        delays = int.from_bytes(data[at + 21 : at + 24], "big")
        stream.skip, stream.padding = (delays >> 12) + DECODER_DELAY, delays & 0xFFF
    return stream

"""Mel spectrograms as PNG pictures, written without a library for drawing."""

from __future__ import annotations

import struct
import zlib
from pathlib import Path

import numpy as np

from .. import audio
from ..demo import BRIGHTEST, DARKEST
from ..mel import MEL, Array, log_mel

MOST_SECONDS = 30.0  # of a recording that its picture shows
# Colours (R, G, B) from dark violet over orange to pale yellow, as in samples/page.html.
STOPS = [(10, 5, 40), (90, 20, 110), (190, 55, 85), (245, 130, 30), (252, 240, 165)]


def mel_picture(path: str | Path) -> bytes:
    """A PNG of a recording's log-mel: a pixel a frame and band, low bands at the bottom.

    Raises:
        InputError: the recording cannot be read.
    """
    mel = log_mel(beginning(path))
    shades = np.clip((mel - DARKEST) / (BRIGHTEST - DARKEST), 0, 1)[::-1] * 255
    return png(shades.astype(np.uint8), palette())


def beginning(path: str | Path, seconds: float = MOST_SECONDS) -> Array:
    """The first seconds of a recording, (N,) at 22,050 Hz."""
    wanted, blocks, done = round(seconds * MEL.sample_rate), list[Array](), 0
    for block in audio.read_blocks(audio.inspect(path)):
        blocks.append(block)
        done += len(block)
        if done >= wanted:
            break
    return np.concatenate(blocks)[:wanted]


def palette() -> np.ndarray:
    """256 colours, (256, 3) bytes."""
    places = np.linspace(0, len(STOPS) - 1, 256)
    channels = [np.interp(places, range(len(STOPS)), channel) for channel in zip(*STOPS, strict=True)]
    return np.stack(channels, axis=1).round().astype(np.uint8)


def png(pixels: np.ndarray, colours: np.ndarray) -> bytes:
    """A PNG (ISO/IEC 15948) of bytes (height, width) that index the colours."""
    height, width = pixels.shape
    rows = np.pad(pixels, ((0, 0), (1, 0)))  # each row begins with its filter: 0 is none
    header = struct.pack(">IIBBBBB", width, height, 8, 3, 0, 0, 0)  # 8 bits, colours by index
    chunks = (
        (b"IHDR", header),
        (b"PLTE", colours.tobytes()),
        (b"IDAT", zlib.compress(rows.tobytes(), 9)),
        (b"IEND", b""),
    )
    return b"\x89PNG\r\n\x1a\n" + b"".join(_chunk(kind, data) for kind, data in chunks)


def _chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

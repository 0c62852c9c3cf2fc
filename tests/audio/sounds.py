"""Sound files as bytes: whole ones, and what recorders, streams and cutters leave of them."""

from __future__ import annotations

import io
import struct
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import soundfile

from fastvoicegrad import audio
from tests.conftest import vowels


@cache
def speech(seconds: float = 1.0, rate: int = 48000) -> np.ndarray:
    return vowels(seconds, rate=rate)


def encoded(wave: np.ndarray, rate: int, kind: str, subtype: str | None = None, **options: Any) -> bytes:
    file = io.BytesIO()
    soundfile.write(file, wave, rate, subtype, format=kind, **options)
    return file.getvalue()


def mp3(wave: np.ndarray, rate: int = 48000, variable: bool = True, level: float = 0.6) -> bytes:
    mode = "VARIABLE" if variable else "CONSTANT"
    return encoded(wave, rate, "MP3", bitrate_mode=mode, compression_level=level)


def split_tag(data: bytes) -> tuple[bytes, int]:
    """An MP3 file without its first frame, which holds the tag, and the number of frames by that tag.

    Raises:
        StopIteration: frames are too small for a tag.
    """
    tag = next(data.index(name) for name in (b"Xing", b"Info") if name in data[:200])
    sync = data[:2]
    frames = struct.unpack(">I", data[tag + 8 : tag + 12])[0]
    return data[data.index(sync, tag) :], frames


def flac_of_unknown_length(data: bytes) -> bytes:
    """The number of samples in STREAMINFO becomes 0, as encoders leave it that write into a pipe."""
    changed = bytearray(data)
    changed[21], changed[22:26] = changed[21] & 0xF0, bytes(4)
    return bytes(changed)


def wav(sound: bytes, size: int, riff: int | None = None, channels: int = 1, rate: int = 48000) -> bytes:
    """16-bit WAV whose header claims `size` bytes of sound."""
    riff = (size + 36) & 0xFFFFFFFF if riff is None else riff
    form = struct.pack("<IHHIIHH", 16, 1, channels, rate, 2 * channels * rate, 2 * channels, 16)
    return b"RIFF" + struct.pack("<I", riff) + b"WAVEfmt " + form + b"data" + struct.pack("<I", size) + sound


def decoded(folder: Path, data: bytes, name: str = "x.bin", strict: bool = False) -> tuple[audio.AudioInfo, np.ndarray]:
    """What is known of these bytes as a file, and their samples at the file's own rate."""
    path = folder / name
    path.write_bytes(data)
    info = audio.inspect(path, strict)
    return info, np.concatenate(list(audio.read_blocks(info, info.rate)))


def length(folder: Path, data: bytes) -> int:
    """The number of samples that are delivered; nothing may be missing."""
    info, wave = decoded(folder, data)
    assert info.decoded == len(wave)
    assert info.warnings == []
    return len(wave)

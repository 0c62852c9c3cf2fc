"""Writing sound files: beside the name that is asked for, so that a failure leaves nothing half-written."""

from __future__ import annotations

import io
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import soundfile

from ..errors import InputError
from ..files import check_target, no_room, replacing, shown
from ..mel import Array

FORMATS = {".wav": "WAV", ".flac": "FLAC", ".ogg": "OGG", ".opus": "OGG", ".mp3": "MP3", ".aiff": "AIFF"}
LARGEST = 2**32 - 2**16  # bytes of sound in WAV and AIFF, whose sizes have 32 bits
SLICE = 1 << 16  # samples: libsndfile's Vorbis encoder puts what it is given on the stack


class Writer:
    """Takes the samples of a mono file. `samples` is their number so far."""

    def __init__(self, path: Path, file: soundfile.SoundFile, most: int | None) -> None:
        self._path, self._file, self._most = path, file, most
        self.samples = 0

    def write(self, block: Array) -> None:
        """Appends samples, shape ``(N,)``, any N; those beyond full scale are clipped.

        Raises:
            InputError: not numbers, more than the format can hold, or the disk is full.
        """
        block = np.asarray(block, np.float32)
        if not np.isfinite(block).all():
            raise InputError(f"{shown(self._path)}: the result has samples that are not numbers; nothing is written")
        if self._most is not None and self.samples + len(block) > self._most:
            raise InputError(f"{shown(self._path)}: too long for its format (4 GiB); write .flac instead")
        for start in range(0, len(block), SLICE):
            self._file.write(np.clip(block[start : start + SLICE], -1.0, 1.0))
        self.samples += len(block)


def check_output(path: str | Path, rate: int) -> None:
    """Finds out before any work what would make `writing` fail.

    Raises:
        InputError: unknown suffix, no such folder, not writable, a rate that the format does not know.
    """
    path = Path(path)
    check_target(path)
    kind = FORMATS.get(path.suffix.lower())
    if kind is None:
        raise InputError(f"{shown(path)}: unknown kind of file '{shown(path.suffix)}'; name it {', '.join(FORMATS)}")
    try:
        soundfile.SoundFile(io.BytesIO(), "w", rate, 1, _subtype(path), format=kind).close()
    except (soundfile.SoundFileError, ValueError) as error:
        name = path.suffix.lower()[1:].upper()
        raise InputError(f"{shown(path)}: {name} cannot hold {rate} Hz; choose --rate 48000 or .wav") from error


def _subtype(path: Path) -> str:
    suffix = path.suffix.lower()
    return "OPUS" if suffix == ".opus" else str(soundfile.default_subtype(FORMATS[suffix]))


@contextmanager
def writing(path: str | Path, rate: int, seconds: float | None = None) -> Iterator[Writer]:
    """A mono sound file that appears under its name only when the block ends without an error.

    The suffix names the format (WAV and AIFF 16 bit, FLAC, OGG Vorbis, MP3, Opus).

    Args:
        rate: samples per second.
        seconds: what is going to be written. Beyond 4 GiB, WAV gets the header of RF64.
    Raises:
        InputError: see `check_output` and `Writer.write`; also where the disk is full.
    """
    path = Path(path)
    check_output(path, rate)
    kind = FORMATS[path.suffix.lower()]
    long = seconds is not None and seconds * rate * 2 > LARGEST
    if long and kind == "AIFF":
        raise InputError(f"{shown(path)}: too long for AIFF (4 GiB); write .flac or .wav instead")
    container = "RF64" if long and kind == "WAV" else kind
    with replacing(path, path.suffix) as part:
        try:
            file = soundfile.SoundFile(_native(part), "w", rate, 1, _subtype(path), format=container)
            with file:
                writer = Writer(path, file, LARGEST // 2 if container in ("WAV", "AIFF") else None)
                yield writer
            complete = writer.samples == 0 or soundfile.info(_native(part)).frames >= writer.samples
        except soundfile.SoundFileError as error:
            raise no_room(path) from error
        if not complete:  # libsndfile's OGG encoders do not report that the disk is full
            raise no_room(path)


def _native(path: Path) -> str | bytes:
    """A name as `soundfile` takes it: on POSIX it need not be UTF-8."""
    return str(path) if sys.platform == "win32" else os.fsencode(path)

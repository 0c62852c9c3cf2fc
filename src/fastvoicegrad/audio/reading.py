"""Reading sound files in blocks."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import soundfile

from ..errors import InputError
from ..mel import MEL, Array
from .resampling import resampled

LOWEST_RATE, HIGHEST_RATE = 8000, 96000  # Hz
BLOCK_SECONDS = 10.0


@dataclass(frozen=True)
class AudioInfo:
    """What a sound file's header holds. `samples` is per channel."""

    path: Path
    rate: int
    samples: int
    channels: int

    @property
    def seconds(self) -> float:
        return self.samples / self.rate


def inspect(path: str | Path) -> AudioInfo:
    """Look at a sound file without reading its samples.

    Raises:
        InputError: missing, not a file, empty, not audio, or of a rate outside 8-96 kHz.
    """
    path = Path(path)
    if not path.exists():
        raise InputError(f"{path}: no such file")
    if not path.is_file():
        raise InputError(f"{path} is not a file; give one recording")
    if path.stat().st_size == 0:
        raise InputError(f"{path} is empty (0 bytes); record or copy it again")
    try:
        info = soundfile.info(str(path))
    except (soundfile.LibsndfileError, RuntimeError) as error:
        raise InputError(f"{path} is not audio that can be read; give WAV, FLAC, OGG, MP3 or Opus") from error
    if info.frames <= 0:
        raise InputError(f"{path} holds no samples; record it again")
    claimed = re.search(r"data\s*:\s*(\d+) \(should be (\d+)\)", info.extra_info)
    if claimed and int(claimed[2]) < int(claimed[1]) < 2**31 - 1:  # larger: a pipe's "length unknown"
        raise InputError(
            f"{path} is cut off: it promises {claimed[1]} bytes of sound and has {claimed[2]}; copy it again"
        )
    if not LOWEST_RATE <= info.samplerate <= HIGHEST_RATE:
        raise InputError(f"{path} has {info.samplerate} Hz; resample it to between {LOWEST_RATE} and {HIGHEST_RATE} Hz")
    return AudioInfo(path, info.samplerate, info.frames, info.channels)


def _mono_blocks(info: AudioInfo) -> Iterator[Array]:
    block = int(BLOCK_SECONDS * info.rate)
    done = 0
    try:
        with soundfile.SoundFile(str(info.path)) as file:
            while True:
                samples = file.read(block, dtype="float32", always_2d=True)
                if len(samples) == 0:
                    break
                if not np.isfinite(samples).all():
                    raise InputError(f"{info.path} has samples that are not numbers (NaN or infinite); export it again")
                done += len(samples)
                yield samples.mean(axis=1)
    except soundfile.LibsndfileError as error:
        raise InputError(f"{info.path} is damaged after {done / info.rate:.1f} s; copy or export it again") from error
    if done < info.samples:
        raise InputError(
            f"{info.path} is cut off: {done / info.rate:.2f} s of the {info.seconds:.2f} s that its header "
            "promises; copy or export it again"
        )


def read_blocks(info: AudioInfo, rate: int = MEL.sample_rate) -> Iterator[Array]:
    """A file as mono float32 blocks at `rate`, channels averaged.

    Raises:
        InputError: damaged, cut off, or with samples that are not numbers.
    """
    return resampled(_mono_blocks(info), info.rate, rate)


def read(path: str | Path, rate: int = MEL.sample_rate) -> Array:
    """A whole file, mono, float32, shape ``(N,)`` at `rate`. For references; sources are read in blocks.

    Raises:
        InputError: see `inspect` and `read_blocks`.
    """
    return np.concatenate(list(read_blocks(inspect(path), rate)))

"""Reading, resampling and writing sound, in blocks: an hour needs no more memory than a minute."""

from __future__ import annotations

import os
import re
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import soundfile
import soxr

from ..errors import InputError
from ..mel import MEL, Array

LOWEST_RATE, HIGHEST_RATE = 8000, 96000  # Hz
BLOCK_SECONDS = 10.0
FORMATS = {".wav": "WAV", ".flac": "FLAC", ".ogg": "OGG", ".opus": "OGG", ".mp3": "MP3", ".aiff": "AIFF"}


@dataclass(frozen=True)
class AudioInfo:
    """What a sound file says of itself. `samples` is per channel."""

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


def resampled(blocks: Iterator[Array], rate: int, target: int) -> Iterator[Array]:
    """Blocks at ``rate`` -> blocks at ``target``; all blocks together equal the whole resampled at once."""
    if rate == target:
        yield from blocks
        return
    resampler = soxr.ResampleStream(rate, target, 1, dtype="float32", quality="HQ")
    for block in blocks:
        yield resampler.resample_chunk(block)
    yield resampler.resample_chunk(np.zeros(0, np.float32), last=True)


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


@contextmanager
def writing(path: str | Path, rate: int, seconds: float = 0.0) -> Iterator[soundfile.SoundFile]:
    """A mono sound file that appears under its name only when the block ends without an error.

    The suffix names the format (WAV and AIFF 16 bit, FLAC, OGG Vorbis, MP3, Opus). `seconds` is what is going
    to be written, to refuse early what a format cannot hold.

    Raises:
        InputError: unknown suffix, no such folder, not writable, a rate that the format does not know.
    """
    path = Path(path)
    kind = FORMATS.get(path.suffix.lower())
    if kind is None:
        raise InputError(f"{path}: unknown kind of file '{path.suffix}'; name it {', '.join(FORMATS)}")
    if not path.parent.is_dir():
        raise InputError(f"{path.parent} is not a folder; make it first")
    if path.is_dir():
        raise InputError(f"{path} is a folder; name a file in it")
    if kind == "WAV" and seconds * rate * 2 > 2**32 - 2**16:
        raise InputError(f"{path}: too long for WAV (4 GiB); write .flac instead")
    subtype = "OPUS" if path.suffix.lower() == ".opus" else soundfile.default_subtype(kind)
    try:
        handle, part = tempfile.mkstemp(dir=path.parent, prefix=f".{path.stem}.", suffix=path.suffix)
    except OSError as error:
        raise InputError(f"{path} cannot be written ({error.strerror}); choose another folder") from error
    os.close(handle)
    try:
        try:
            file = soundfile.SoundFile(part, "w", rate, 1, subtype, format=kind)
        except soundfile.LibsndfileError as error:
            raise InputError(f"{path}: {kind} cannot hold {rate} Hz; choose --rate 48000 or .wav") from error
        with file:
            yield file
        os.chmod(part, 0o666 & ~_umask())
        os.replace(part, path)
    except BaseException:
        Path(part).unlink(missing_ok=True)
        raise


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask

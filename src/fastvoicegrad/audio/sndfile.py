"""Decoding by libsndfile: every sample that it gives, whatever length a header claims."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import soundfile

from ..mel import Array
from .lengths import UNKNOWN_LONG, is_placeholder
from .spliced import Spliced
from .streams import Stream

T = TypeVar("T")
BLOCK_SECONDS = 10.0
MOST_VALUES = 1 << 22  # of one block, all channels
UNKNOWN = 1 << 60  # libsndfile gives numbers of samples from here on where it knows none
TOO_SHORT = re.compile(r"\b(SSND|BODY|Data Size|riff)\s*:\s*(\d+) \(should be (\d+)\)")
PIPE_OF_SOX = range(0x7EFFF000, 0x7F000010)  # sizes of the sound in AIFF files: 0x7F000000 in whole frames


class _Sequential(soundfile.SoundFile):
    """`soundfile` seeks after every read of a seekable file, which is not exact in compressed ones."""

    def seekable(self) -> bool:
        return False


@dataclass(frozen=True)
class StreamFacts:
    """What a stream's header holds. `samples`: the number of them that is there, None if unknown."""

    rate: int
    channels: int
    samples: int | None
    there: float
    is_float: bool


class Damage(Exception):
    """Decoding stopped before the end of a stream, at this position of the file."""

    def __init__(self, reason: str, position: int = 0) -> None:
        super().__init__(reason)
        self.position = position


def _within(worker: ThreadPoolExecutor, work: Callable[..., T], *arguments: Any) -> T:
    """What a function gives in another thread, or in this one where the interpreter ends and takes no more work."""
    try:
        future = worker.submit(work, *arguments)
    except RuntimeError as error:
        if "shutdown" not in str(error):
            raise
        return work(*arguments)
    return future.result()


@contextmanager
def _opened(path: Path, stream: Stream) -> Iterator[tuple[soundfile.SoundFile, ThreadPoolExecutor, Spliced]]:
    """A stream, and the thread in which it has to be used.

    libsndfile calls Python to read. An interrupt (Ctrl-C) that arrives in such a call would be lost; it only
    arrives in the main thread.
    """
    spliced = Spliced(path, stream.pieces, stream.claim)
    worker = ThreadPoolExecutor(1, "audio")
    try:
        try:
            file = _within(worker, _Sequential, spliced)
        except soundfile.SoundFileError:
            if spliced.error:
                raise spliced.error from None
            raise
        try:
            yield file, worker, spliced
        finally:
            worker.shutdown()
            file.close()
    finally:
        worker.shutdown()
        spliced.close()


def stream_facts(path: Path, stream: Stream) -> StreamFacts:
    """Looks at a stream's header.

    Raises:
        soundfile.LibsndfileError: libsndfile cannot read it.
    """
    with _opened(path, stream) as (file, _, _):
        known = 0 < file.frames < UNKNOWN and stream.claim is None
        there = min([stream.there, *map(_share, TOO_SHORT.findall(file.extra_info))])
        samples = stream.samples if stream.samples is not None else file.frames if known else None
        return StreamFacts(file.samplerate, file.channels, samples, there, file.subtype in ("FLOAT", "DOUBLE"))


def _share(found: tuple[str, str, str]) -> float:
    """The share of the sound that is there, by a line of `TOO_SHORT`. Sizes of W64 ("riff") have 64 bits."""
    name, claimed, there = found[0], int(found[1]), int(found[2])
    unknown = claimed >= UNKNOWN_LONG if name == "riff" else is_placeholder(claimed) or claimed in PIPE_OF_SOX
    return 1.0 if unknown or claimed <= there else there / claimed


def decode_stream(path: Path, stream: Stream) -> Iterator[Array]:
    """Samples of a stream, blocks of shape ``(N, channels)``.

    Raises:
        Damage: the stream ends in damaged data. What was decoded before has been delivered.
        soundfile.LibsndfileError: libsndfile cannot open it.
    """
    with _opened(path, stream) as (file, worker, spliced):
        size = max(min(int(BLOCK_SECONDS * file.samplerate), MOST_VALUES // file.channels), 1)
        at, end = -stream.skip, stream.samples
        while True:
            block, damage = _within(worker, _read, file, size)
            if spliced.error:
                raise spliced.error
            whole = len(block)
            block = block[max(-at, 0) : None if end is None else max(end - at, 0)]
            at += whole
            if len(block):
                yield block
            if damage is not None and at + stream.skip < file.frames:  # behind the sound only tags are left
                raise Damage(str(damage), spliced.source_position) from damage
            if whole == 0 or damage is not None:
                return


def _read(file: soundfile.SoundFile, size: int) -> tuple[Array, soundfile.LibsndfileError | None]:
    """The next samples, and the error that ended them. libsndfile does not count the good ones before an error."""
    block = np.full((size, file.channels), np.nan, np.float32)
    try:
        return file.read(out=block), None
    except soundfile.LibsndfileError as error:
        missing = np.isnan(block[:, 0])
        return block[: int(np.argmax(missing)) if missing.any() else size], error

"""A file in place of the microphone, another in place of the headphones: at wall-clock pace or as fast as it goes."""

from __future__ import annotations

import math
import time
import warnings
from collections import deque
from collections.abc import Callable, Generator, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from pathlib import Path
from typing import Literal

import numpy as np

from .. import audio
from ..errors import AudioWarning
from ..mel import Array
from .engine import Engine

Clock = Literal["real", "fast"]
AHEAD = 4  # parts that are decoded early; most have a second


def file_blocks(info: audio.AudioInfo, rate: int, block: int) -> Generator[Array, None, None]:
    """Blocks of one size of a recording at `rate`; the last one is filled with silence."""
    kept = np.zeros(0, np.float32)
    with closing(_ahead(audio.read_blocks(info, rate))) as parts:
        for part in parts:
            kept = np.concatenate([kept, part])
            whole = len(kept) // block * block
            yield from kept[:whole].reshape(-1, block)
            kept = kept[whole:]
    if len(kept):
        yield np.pad(kept, (0, block - len(kept)))


def _ahead(parts: Iterator[Array]) -> Generator[Array, None, None]:
    """The same parts, made by another thread before they are asked for: decoding must not delay a block."""
    worker = ThreadPoolExecutor(1, "decoding")
    try:
        waiting = deque(worker.submit(next, parts, None) for _ in range(AHEAD))
        while (part := waiting.popleft().result()) is not None:
            waiting.append(worker.submit(next, parts, None))
            yield part
    finally:
        worker.shutdown(cancel_futures=True)


def play(
    engine: Engine,
    source: Path,
    output: Path,
    block: int,
    clock: Clock,
    tick: Callable[[float], None] | None = None,
    seconds: float | None = None,
) -> int:
    """Passes a recording through an engine that runs, and writes what comes out: as long, without the delay.

    Args:
        block: samples that the imaginary device brings at once.
        clock: "real" waits for the time of each block; "fast" waits for the networks instead.
        tick: called after each block with the seconds of the source so far.
        seconds: of the source that are played; None: all.
    Returns:
        the number of samples written.
    Raises:
        InputError: a file cannot be read or written. What ended the engine is raised too; the output stays as it was.
    """
    audio.check_output(output, engine.rate)
    info = audio.inspect(source)
    total = _length(info, engine.rate, seconds)
    for message in info.warnings:
        warnings.warn(message, AudioWarning, stacklevel=2)
    blocks = _with_end(file_blocks(info, engine.rate, block), engine.delay, block)
    with audio.writing(output, engine.rate) as file, closing(blocks):
        skipped, started = engine.delay, 0.0
        for number, samples in enumerate(blocks):
            started = started or time.monotonic()  # only now: the first block takes time
            if clock == "real":
                time.sleep(max(0.0, started + number * block / engine.rate - time.monotonic()))
            else:
                engine.settle()
            heading = min(skipped, len(samples))
            skipped -= heading
            file.write(engine.exchange(samples)[heading:][: total - file.samples])
            engine.check()  # else the rest would be silence, in place of an older result
            if file.samples == total:
                break
            if tick:
                tick(min(number * block, total) / engine.rate)
        return file.samples


def _length(info: audio.AudioInfo, rate: int, seconds: float | None) -> int:
    """Samples at `rate` that are played. Where these are all, the warnings are complete and errors have been raised."""
    total, most = 0, math.inf if seconds is None else round(seconds * rate)
    for part in audio.read_blocks(info, rate):
        total += len(part)
        if total >= most:
            return int(most)
    return total


def _with_end(blocks: Iterator[Array], delay: int, block: int) -> Generator[Array, None, None]:
    """The blocks, and as much silence as the delay needs."""
    yield from blocks
    for _ in range(-(-delay // block)):
        yield np.zeros(block, np.float32)

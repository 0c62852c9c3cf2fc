"""A file in place of the microphone, another in place of the headphones: at wall-clock pace or as fast as it goes."""

from __future__ import annotations

import time
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Literal

import numpy as np

from .. import audio
from ..errors import AudioWarning
from ..mel import Array
from .engine import Engine

Clock = Literal["real", "fast"]


def file_blocks(path: Path, rate: int, block: int) -> Iterator[Array]:
    """Blocks of one size of a recording at `rate`; the last one is filled with silence."""
    kept = np.zeros(0, np.float32)
    for part in audio.read_blocks(audio.inspect(path), rate):
        kept = np.concatenate([kept, part])
        whole = len(kept) // block * block
        yield from kept[:whole].reshape(-1, block)
        kept = kept[whole:]
    if len(kept):
        yield np.pad(kept, (0, block - len(kept)))


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
    total = sum(len(part) for part in audio.read_blocks(info, engine.rate))
    for message in info.warnings:  # known since all of it was read
        warnings.warn(message, AudioWarning, stacklevel=2)
    if seconds is not None:
        total = min(total, round(seconds * engine.rate))
    with audio.writing(output, engine.rate) as file:
        skipped, started = engine.delay, time.monotonic()
        for number, samples in enumerate(_with_end(file_blocks(source, engine.rate, block), engine.delay, block)):
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


def _with_end(blocks: Iterator[Array], delay: int, block: int) -> Iterator[Array]:
    """The blocks, and as much silence as the delay needs."""
    yield from blocks
    for _ in range(-(-delay // block)):
        yield np.zeros(block, np.float32)

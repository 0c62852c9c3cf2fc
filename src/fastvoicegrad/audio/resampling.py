"""Sample rates and lengths of signals that arrive in blocks."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

import numpy as np
import soxr

from ..mel import Array


def resampled(blocks: Iterator[Array], rate: int, target: int, channels: int = 1) -> Iterator[Array]:
    """Blocks at `rate` -> blocks at `target`; all blocks together equal the whole resampled at once.

    Args:
        blocks: of shape ``(N,)``, or ``(N, channels)`` for several channels.
    """
    if rate == target:
        yield from blocks
        return
    resampler = soxr.ResampleStream(rate, target, channels, dtype="float32", quality="HQ")
    shape: tuple[int, ...] = (0,)
    for block in blocks:
        shape = (0, *block.shape[1:])
        yield resampler.resample_chunk(block)
    yield resampler.resample_chunk(np.zeros(shape, np.float32), last=True)


def fit_length(blocks: Iterable[Array], samples: int) -> Iterator[Array]:
    """The same signal, cut or filled with silence to `samples`."""
    done = 0
    for block in blocks:
        block = block[: samples - done]
        done += len(block)
        if len(block):
            yield block
    if done < samples:
        yield np.zeros(samples - done, np.float32)

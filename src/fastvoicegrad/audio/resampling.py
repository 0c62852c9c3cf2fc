"""Sample rates and lengths of signals that arrive in blocks."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

import numpy as np
import soxr

from ..mel import Array
from .offset import regrouped

BLOCK = 1 << 16  # samples of blocks that are made here


def resampled(blocks: Iterator[Array], rate: int, target: int, channels: int = 1) -> Iterator[Array]:
    """Blocks at `rate` -> blocks at `target`; all blocks together equal the whole resampled at once.

    Args:
        blocks: of shape ``(N,)``, or ``(N, channels)`` for several channels.
    """
    if rate == target:
        yield from blocks
        return
    resampler = soxr.ResampleStream(rate, target, channels, dtype="float32", quality="HQ")
    shape: tuple[int, ...] = (0,) if channels == 1 else (0, channels)
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
    for start in range(done, samples, BLOCK):
        yield np.zeros(min(BLOCK, samples - start), np.float32)


def side_by_side(tracks: Sequence[Iterable[Array]]) -> Iterator[Array]:
    """Blocks ``(N, tracks)`` of equally long signals whose blocks may have different sizes."""
    for parts in zip(*(regrouped(track, BLOCK) for track in tracks), strict=True):
        yield np.stack(parts, axis=1)

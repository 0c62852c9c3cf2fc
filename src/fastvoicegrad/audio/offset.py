"""Removal of a constant or slowly drifting offset (DC) from signals that arrive in blocks."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

import numpy as np

from ..mel import Array

HOPS = 1000  # per second, over each of which the mean is taken
REACH = 50  # hops in the mean of means: 50 ms


def without_offset(blocks: Iterable[Array], rate: int) -> Iterator[Array]:
    """Subtracts from a signal its moving average, that is, a high-pass of 11 Hz without phase shift.

    The average has a triangular window of 100 ms: the response is ``1 - sinc(0.05 f) ** 2``, within 0.1 dB of 1 from
    60 Hz on. Both ends count as going on with their mean, so an offset that is there from the first sample on
    leaves nothing. The sizes of the blocks change nothing.

    Args:
        blocks: of shape ``(N,)``.
        rate: samples per second.
    """
    hop = max(1, round(rate / HOPS))
    context = None  # means of the last hops before `block`
    block = None
    for following in regrouped(blocks, hop * HOPS):
        if block is not None:
            means = _means(block, hop)
            context = _held(means[:REACH]) if context is None else context
            yield _subtracted(block, hop, context, means, _means(following, hop))
            context = np.concatenate([context, means])[-REACH:]
        block = following
    if block is not None and len(block):
        means = _means(block, hop)
        context = _held(means[:REACH]) if context is None else context
        yield _subtracted(block, hop, context, means, means[:0])


def _subtracted(block: Array, hop: int, before: Array, means: Array, after: Array) -> Array:
    after = np.concatenate([after, _held(np.concatenate([before, means, after])[-REACH:])])[:REACH]
    return np.asarray(block - _average(before, means, after, hop)[: len(block)], np.float32)


def _average(before: Array, means: Array, after: Array, hop: int) -> Array:
    """The moving average at each sample of the hops in `means`: a straight line through each hop."""
    window = np.convolve(np.ones(REACH), np.ones(REACH)) / REACH**2
    smooth = np.convolve(np.concatenate([before, means, after]), window, "valid")  # one more hop on each side
    edges = (smooth[:-1] + smooth[1:]) / 2
    inside = (np.arange(hop) + 0.5) / hop
    return (edges[:-1, None] + np.diff(edges)[:, None] * inside).astype(np.float32).ravel()


def _means(block: Array, hop: int) -> Array:
    """Mean of each hop; the last one may be shorter."""
    whole = len(block) // hop * hop
    means = block[:whole].reshape(-1, hop).mean(axis=1, dtype=np.float64)
    return np.append(means, block[whole:].mean(dtype=np.float64)) if whole < len(block) else means


def _held(means: Array) -> Array:
    return np.full(REACH, means.mean() if len(means) else 0.0)


def regrouped(blocks: Iterable[Array], size: int) -> Iterator[Array]:
    """The same samples in blocks of `size`; the last one may be shorter."""
    parts, have = [], 0
    for block in blocks:
        parts.append(block)
        have += len(block)
        if have >= size:
            joined = np.concatenate(parts)
            whole = have // size * size
            yield from (joined[at : at + size] for at in range(0, whole, size))
            parts, have = [joined[whole:]], have - whole
    if have:
        yield np.concatenate(parts)

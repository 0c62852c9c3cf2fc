"""The loudness of a conversion follows its source's over time, and no sample clips.

Both signals have 22,050 Hz and are described by hops of 256 samples. Three gains, all of them smooth in time, make the
gain of each hop:

- one brings the RMS of some syllables to the source's;
- one keeps single sounds near the source's: after loud speech, quiet speech stays quiet;
- one keeps peaks below the ceiling.

A last gain acts on samples: where the source ends suddenly, the conversion ends with it. What resampling adds to a peak
bends towards full scale.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Iterator

import numpy as np
from numpy.typing import NDArray

from ..errors import InputError
from ..mel import MEL, Array

HOP = MEL.hop_length
SYLLABLES = 12  # hops to each side over which power is averaged: 0.14 s
SOUND = 3  # the same for single sounds: 35 ms
MARGIN = 10.0 ** (6 / 20)  # by which a sound may be louder or quieter than the source's
RELEASE = 2  # hops to each side over which the limiter's gain moves: 23 ms
PERIOD = 2  # hops after a hop whose peaks count as the sample's own: 23 ms, the longest period of a voice
PEAK_MARGIN = 10.0 ** (12 / 20)  # by which peaks may exceed the source's
LOOK_AHEAD = 2 * SYLLABLES + RELEASE + PERIOD + 3  # hops that must be known after the one that is rendered
FLOOR = 1e-9  # power (-90 dB of full scale) below which nothing is matched
LARGEST_GAIN = 10.0 ** (24 / 20)  # more would lift what the vocoder leaves in pauses
CEILING = 0.97  # leaves room for what resampling adds to a peak

_release = np.hanning(2 * RELEASE + 3)[1:-1]
_release /= _release.sum()


class HopTap:
    """Passes blocks of samples on and keeps their hops."""

    def __init__(self, blocks: Iterable[Array]) -> None:
        self.blocks = blocks
        self.hops: deque[Array] = deque()
        self._rest = np.zeros(0, np.float32)

    def __iter__(self) -> Iterator[Array]:
        for block in self.blocks:
            self._add(block)
            yield block
        self._add(np.zeros(-len(self._rest) % HOP, np.float32))

    def _add(self, block: Array) -> None:
        wave = np.concatenate([self._rest, block])
        whole = len(wave) // HOP * HOP
        self._rest = wave[whole:]
        self.hops.extend(wave[:whole].reshape(-1, HOP))

    def take(self, count: int) -> Array:
        """The next hops (count, 256); silence after the end."""
        out = np.zeros((count, HOP), np.float32)
        for row in out[: len(self.hops)]:
            row[:] = self.hops.popleft()
        return out


def hop_powers(wave: Array) -> NDArray[np.float64]:
    """Mean square of each hop of samples ``(256 n,)`` or ``(n, 256)``, ``(n,)``."""
    return np.asarray(np.square(wave.reshape(-1, HOP), dtype=np.float64).mean(1))


def match_loudness(converted: Iterable[Array], source: HopTap) -> Iterator[Array]:
    """A conversion at the loudness that its source has over time, without clipped samples.

    Args:
        converted: blocks of whole hops; the source's blocks must have passed the tap before.
    Returns:
        blocks of the same signal; their sizes change nothing.
    Raises:
        InputError: the conversion holds values that are not numbers.
    """
    follower = _Follower()
    for block in converted:
        if not np.isfinite(block).all():
            raise InputError("the bundle computed values that are not numbers; use another bundle")
        yield from follower.push(block, source.take(len(block) // HOP))
    yield from follower.flush()


class _Follower:
    """Hops that wait for those after them, with `LOOK_AHEAD` rendered hops before them."""

    def __init__(self) -> None:
        self.wave = np.zeros((LOOK_AHEAD, HOP), np.float32)
        self.source = np.zeros((LOOK_AHEAD, HOP), np.float32)

    def push(self, wave: Array, source: Array) -> Iterator[Array]:
        self.wave = np.concatenate([self.wave, wave.reshape(-1, HOP)])
        self.source = np.concatenate([self.source, source])
        ready = len(self.wave) - 2 * LOOK_AHEAD
        if ready > 0:
            yield self._rendered(ready)

    def flush(self) -> Iterator[Array]:
        silence = np.zeros(LOOK_AHEAD * HOP, np.float32)
        yield from self.push(silence, np.zeros((LOOK_AHEAD, HOP), np.float32))

    def _rendered(self, count: int) -> Array:
        """Samples of the next `count` hops."""
        gains = loudness_gains(hop_powers(self.wave), hop_powers(self.source))
        gains *= limiter_gains(np.abs(self.wave).max(1) * neighbourhood_max(gains))
        middles = np.arange(len(gains)) * HOP + (HOP - 1) / 2
        hops = slice(LOOK_AHEAD, LOOK_AHEAD + count + PERIOD + 1)
        samples = np.arange(hops.start * HOP, hops.stop * HOP)
        curve = np.interp(samples, middles, gains).astype(np.float32)
        out = self.wave[hops] * curve.reshape(-1, HOP)
        out = out[:count] * ending_gains(out, self.source[hops])
        self.wave, self.source = self.wave[count:], self.source[count:]
        return out.reshape(-1)


def loudness_gains(converted: NDArray[np.float64], source: NDArray[np.float64]) -> NDArray[np.float64]:
    """Gain of each hop that brings the power of a conversion to its source's; powers and gains are (n,)."""
    gains = np.minimum(_gains(converted, source, SYLLABLES), LARGEST_GAIN)
    sound = _gains(converted, source, SOUND)
    gains = np.clip(gains, sound / MARGIN, sound * MARGIN)
    # What the bounds take from a syllable, its other sounds get back.
    return np.minimum(gains * _gains(converted * gains**2, source, SYLLABLES), LARGEST_GAIN)


def _gains(converted: NDArray[np.float64], source: NDArray[np.float64], reach: int) -> NDArray[np.float64]:
    """Root of the ratio of the powers, each averaged over `reach` hops to each side."""
    window = np.hanning(2 * reach + 3)[1:-1]
    smooth = (np.convolve(power, window / window.sum(), "same") + FLOOR for power in (source, converted))
    return np.asarray(np.sqrt(next(smooth) / next(smooth)))


def limiter_gains(peaks: NDArray[np.float64]) -> NDArray[np.float64]:
    """Gain of each hop that keeps its peak below the ceiling, (n,) -> (n,).

    A minimum over the neighbourhood comes before the average, so the average never exceeds what a hop needs.
    """
    needed = np.minimum(1.0, CEILING / np.maximum(peaks, 1e-9))
    padded = np.pad(needed, RELEASE + 1, constant_values=1.0)
    lowest = np.lib.stride_tricks.sliding_window_view(padded, 2 * RELEASE + 3).min(1)
    padded = np.pad(lowest, RELEASE, constant_values=1.0)
    return np.convolve(padded, _release, "valid")


def below_full_scale(blocks: Iterable[Array]) -> Iterator[Array]:
    """Samples above the ceiling bend towards full scale, each by itself, so the blocks' sizes change nothing."""
    room = np.float32(1 - CEILING)
    for block in blocks:
        size = np.abs(block)
        if size.max(initial=0.0) > CEILING:
            bent = np.copysign(CEILING + room * np.tanh((size - CEILING) / room), block)
            yield np.where(size > CEILING, bent, block).astype(np.float32)
        else:
            yield block


def neighbourhood_max(gains: NDArray[np.float64]) -> NDArray[np.float64]:
    """The largest gain that interpolation can give a hop's samples: its own or a neighbour's."""
    padded = np.pad(gains, 1, mode="edge")
    return np.asarray(np.lib.stride_tricks.sliding_window_view(padded, 3).max(1))


def ending_gains(converted: Array, source: Array) -> Array:
    """Gain of each sample that keeps the coming peaks near the source's, (n + PERIOD + 1, 256) -> (n, 256).

    Only coming samples count. So a conversion ends with the sample that ends its source, and begins unchanged.
    """
    floor = np.float32(np.sqrt(FLOOR))
    bound = np.float32(PEAK_MARGIN) * (coming_peaks(source[:-1]) + floor)
    peaks = np.maximum(coming_peaks(converted[:-1]), largest_peaks(converted))
    return np.minimum(1, bound / (peaks + floor))


def coming_peaks(hops: Array) -> Array:
    """The peak from each sample to the end of the hop `PERIOD` hops later, (n + PERIOD, 256) -> (n, 256)."""
    size = np.abs(hops)
    own = np.maximum.accumulate(size[:-PERIOD, ::-1], axis=1)[:, ::-1]
    later = np.lib.stride_tricks.sliding_window_view(size.max(1)[1:], PERIOD).max(1)
    return np.maximum(own, later[:, None])


def largest_peaks(hops: Array) -> Array:
    """The peak of a hop and the `PERIOD` next ones, in a straight line from hop to hop: a gain by it rises slowly.

    Shapes: (n + PERIOD + 1, 256) -> (n, 256).
    """
    largest = np.lib.stride_tricks.sliding_window_view(np.abs(hops).max(1), PERIOD + 1).max(1)
    passed = np.arange(HOP, dtype=np.float32) / HOP
    return largest[:-1, None] + np.diff(largest)[:, None] * passed

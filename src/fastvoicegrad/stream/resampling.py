"""Sample rates of streams: a resampler whose delay is short and known, unlike those that work in blocks."""

from __future__ import annotations

import math
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from ..mel import Array
from .frontend import framed

CROSSINGS = 24  # of the sinc at the lower rate, to each side: 1.1 ms at 22,050 Hz
CUTOFF = 0.46  # of the lower rate
KAISER = 8.0  # 80 dB
MOST_PLACES = 1024  # of filters; an odd rate has more: between these the error lies 100 dB below the signal


@lru_cache(maxsize=32)
def _filters(source: int, target: int, places: int) -> Array:
    """Filters for places of an output sample from one input sample to the next, (places + 1, 2 `reach`)."""
    reach = reach_of(source, target)
    share = np.arange(places + 1)[:, None] / places
    distance = share - np.arange(1 - reach, reach + 1)  # in input samples
    cutoff = 2 * CUTOFF * min(source, target) / source
    window = np.i0(KAISER * np.sqrt(np.maximum(0, 1 - (distance / reach) ** 2))) / np.i0(KAISER)
    taps = cutoff * np.sinc(cutoff * distance) * window
    return np.asarray(taps / taps.sum(1, keepdims=True), np.float32)


def reach_of(source: int, target: int) -> int:
    """Input samples that an output sample waits for beyond its own time; 0 where the rates are equal."""
    return 0 if source == target else math.ceil(CROSSINGS * max(1.0, source / target))


class Resampler:
    """Samples at one rate -> samples at another, as they come. Output n belongs to the time n / target.

    Args:
        source, target: Hz.
    """

    def __init__(self, source: int, target: int) -> None:
        self.source, self.target = source, target
        self.reach = reach_of(source, target)
        self.received, self.given = 0, 0
        self._first = 1 - self.reach  # of the kept input samples
        self._kept = np.zeros(max(0, self.reach - 1), np.float32)

    def push(self, samples: Array) -> Array:
        """All output samples that the input so far determines and that were not given yet."""
        if self.source == self.target:
            return samples
        self._kept = np.concatenate([self._kept, samples])
        self.received += len(samples)
        ready = max(self.given, ((self.received - self.reach) * self.target - 1) // self.source + 1)
        numbers = np.arange(self.given, ready, dtype=np.int64) * self.source
        starts = numbers // self.target + 1 - self.reach - self._first
        if not len(numbers):
            return np.zeros(0, np.float32)
        windows = framed(self._kept, 2 * self.reach)[starts]
        output = np.einsum("nt,nt->n", windows, self._filters_at(numbers % self.target))
        self.given = ready
        drop = ready * self.source // self.target + 1 - self.reach - self._first
        self._kept, self._first = self._kept[drop:].copy(), self._first + drop
        return output

    def _filters_at(self, parts: NDArray[np.int64]) -> Array:
        """Filters ``(n, 2 reach)`` for places between two input samples, in units of 1 / `target`."""
        places = self.target // math.gcd(self.source, self.target)
        if places <= MOST_PLACES:
            return _filters(self.source, self.target, places)[parts * places // self.target]
        filters = _filters(self.source, self.target, MOST_PLACES)
        left, share = np.divmod(parts * MOST_PLACES / self.target, 1)
        index, share = left.astype(int), share[:, None].astype(np.float32)
        return filters[index] * (1 - share) + filters[index + 1] * share

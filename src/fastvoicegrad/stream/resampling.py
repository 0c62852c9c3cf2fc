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
ROWS = 1024  # output samples of a run, unless the places repeat later


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


@lru_cache(maxsize=8)
def _period(source: int, target: int) -> tuple[Array, NDArray[np.int64]]:
    """A run of output samples after which the places repeat, at a rate with few of them.

    Returns:
        the filter of each, ``(R, 2 reach)``, and the input sample ``(R + 1,)`` before each; the last is the next run's.
    """
    places, step = (rate // math.gcd(source, target) for rate in (target, source))
    starts, left = np.divmod(np.arange(places * max(1, ROWS // places) + 1) * step, places)
    return _filters(source, target, places)[left[:-1]], starts


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
        if ready == self.given:
            output = np.zeros(0, np.float32)
        elif self.target // math.gcd(self.source, self.target) <= MOST_PLACES:
            output = self._by_runs(ready)
        else:
            output = self._one_by_one(ready)
        drop = max(0, ready * self.source // self.target + 1 - self.reach - self._first)
        self.given, self._first = ready, self._first + drop
        self._kept = self._kept[drop:].copy()
        return output

    def _by_runs(self, ready: int) -> Array:
        """The output samples `given` to `ready` of a rate whose places repeat soon."""
        filters, starts = _period(self.source, self.target)
        windows, parts = framed(self._kept, 2 * self.reach), list[Array]()
        while self.given < ready:
            run, row = divmod(self.given, len(filters))
            stop = min(len(filters), row + ready - self.given)
            place = run * int(starts[-1]) + 1 - self.reach - self._first
            parts.append(np.einsum("nt,nt->n", windows[starts[row:stop] + place], filters[row:stop]))
            self.given += stop - row
        return np.concatenate(parts)

    def _one_by_one(self, ready: int) -> Array:
        """The same of a rate that has a filter for nearly each output sample."""
        windows, parts = framed(self._kept, 2 * self.reach), list[Array]()
        for first in range(self.given, ready, ROWS):
            numbers = np.arange(first, min(first + ROWS, ready), dtype=np.int64) * self.source
            starts = numbers // self.target + 1 - self.reach - self._first
            parts.append(np.einsum("nt,nt->n", windows[starts], self._filters_at(numbers % self.target)))
        return np.concatenate(parts)

    def _filters_at(self, parts: NDArray[np.int64]) -> Array:
        """Filters ``(n, 2 reach)`` for places between two input samples, in units of 1 / `target`."""
        filters = _filters(self.source, self.target, MOST_PLACES)
        left, share = np.divmod(parts * MOST_PLACES / self.target, 1)
        index, share = left.astype(int), share[:, None].astype(np.float32)
        return filters[index] * (1 - share) + filters[index + 1] * share

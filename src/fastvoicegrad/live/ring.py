"""A ring of samples between two threads: one writes, one reads, neither waits."""

from __future__ import annotations

import numpy as np

from ..mel import Array


class Ring:
    """Holds at most `size` samples. Each counter is changed by one thread only, so no lock is needed.

    Attributes:
        written, taken: samples so far.
    """

    def __init__(self, size: int) -> None:
        self._samples = np.zeros(size, np.float32)
        self.written = self.taken = 0

    @property
    def available(self) -> int:
        """Samples that can be read."""
        return self.written - self.taken

    def write(self, samples: Array) -> int:
        """Adds samples as far as there is room; gives how many had none."""
        kept = samples[: len(self._samples) - self.available]
        self._at(self.written, len(kept), kept)
        self.written += len(kept)
        return len(samples) - len(kept)

    def read(self, most: int) -> Array:
        """The oldest samples, `most` at most."""
        count = min(most, self.available)
        samples = self._at(self.taken, count)
        self.taken += count
        return samples

    def skip(self, most: int) -> int:
        """Drops the oldest samples, `most` at most; gives how many."""
        count = min(most, self.available)
        self.taken += count
        return count

    def _at(self, place: int, count: int, new: Array | None = None) -> Array:
        """The samples at a place of the endless signal, replaced by new ones where these are given."""
        start = place % len(self._samples)
        first = min(count, len(self._samples) - start)
        if new is not None:
            self._samples[start : start + first] = new[:first]
            self._samples[: count - first] = new[first:]
            return new
        return np.concatenate([self._samples[start : start + first], self._samples[: count - first]])

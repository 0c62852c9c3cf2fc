"""What a live stream passes besides the conversion: delay, fades, gate, meters."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from ..mel import Array

SWITCH = 0.01  # seconds in which one signal fades to another, or rises after a gap
STOP = 0.002  # seconds in which the last sample before a gap falls by 26 dB
ATTACK, RELEASE, HOLD = 0.002, 0.08, 0.25  # seconds: the gate opens, closes, and stays open after speech
METER_FALL = 20.0  # dB a second
SILENCE = -90.0  # dB of full scale: the lowest level that is shown
CLIPPED = 0.999


class DelayLine:
    """The same samples, a number of samples later."""

    def __init__(self, samples: int) -> None:
        self._kept = np.zeros(samples, np.float32)

    def push(self, samples: Array) -> Array:
        joined = np.concatenate([self._kept, samples])
        self._kept = joined[len(samples) :].copy()
        return joined[: len(samples)]


class Slope:
    """A factor that moves to where it should be at a bounded speed.

    Args:
        rise, fall: seconds from 0 to 1 and back.
    """

    def __init__(self, rate: int, rise: float, fall: float, value: float = 0.0) -> None:
        self._up, self._down = 1 / (rise * rate), 1 / (fall * rate)
        self.value = value

    def run(self, target: float, count: int) -> Array:
        """The factors of the next samples, ``(count,)``."""
        steps = np.arange(1, count + 1)
        if target >= self.value:
            values = np.minimum(self.value + self._up * steps, target)
        else:
            values = np.maximum(self.value - self._down * steps, target)
        self.value = float(values[-1]) if count else self.value
        return values.astype(np.float32)


class Gaps:
    """Fills the gaps of a signal without a click: its last sample fades out, and what follows fades in."""

    def __init__(self, rate: int) -> None:
        self._slope = Slope(rate, SWITCH, SWITCH, 1.0)
        self._decay = np.float32(math.exp(-3 / (STOP * rate)))
        self._last = self._tail = np.float32(0)  # the last sample; what still sounds of the one before the gap

    def cut(self) -> None:
        """Something is left out here: what comes next follows as after a gap."""
        self._tail, self._slope.value = self._last, 0.0

    def filled(self, samples: Array, count: int) -> Array:
        """The next samples ``(count,)``, of which only the first ones may be there."""
        there = len(samples)
        if there == count and self._slope.value == 1.0:  # nearly always
            self._last = samples[-1] if there else self._last
            return samples
        falling = self._decay ** np.arange(1, count + 1, dtype=np.float32)
        output = np.empty(count, np.float32)
        output[:there] = samples * self._slope.run(1.0, there) + self._tail * falling[:there]
        if there:
            self._last, self._tail = output[there - 1], self._tail * falling[there - 1]
        if there < count:
            self.cut()
            output[there:] = self._last * falling[: count - there]
            self._last = self._tail = output[-1]
        return output


class Gate:
    """Silences the output where the input is only noise.

    The output is later than the input, so the gate is open before the first word comes out.

    Args:
        threshold: dB of full scale; None keeps it open.
    """

    def __init__(self, rate: int, threshold: float | None) -> None:
        self.rate, self.threshold = rate, threshold
        self._slope = Slope(rate, ATTACK, RELEASE)
        self._held = 0  # samples for which it stays open

    @property
    def open(self) -> bool:
        return self.threshold is None or self._held > 0

    def factors(self, samples: Array, late: int) -> Array:
        """Factors of the output ``(N,)`` for as many input samples.

        Args:
            late: samples by which the output is later than the input.
        """
        if self.threshold is None:
            return self._slope.run(1.0, len(samples))
        if decibels(samples) > self.threshold:
            self._held = round(HOLD * self.rate) + late
        factors = self._slope.run(1.0 if self._held > 0 else 0.0, len(samples))
        self._held = max(0, self._held - len(samples))
        return factors


def decibels(samples: Array) -> float:
    """Level in dB of full scale."""
    power = float(np.dot(samples, samples)) / max(1, len(samples))
    return max(SILENCE, 10 * math.log10(power)) if power > 0 else SILENCE


@dataclass
class Meter:
    """Shows the peak, which falls slowly, and whether anything was clipped."""

    peak: float = SILENCE
    clipped: bool = False

    def add(self, samples: Array, rate: int) -> None:
        largest = float(np.abs(samples).max(initial=0.0))
        level = 20 * math.log10(largest) if largest > 0 else SILENCE
        self.peak = max(SILENCE, level, self.peak - METER_FALL * len(samples) / rate)
        self.clipped |= largest >= CLIPPED

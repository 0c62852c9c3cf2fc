"""Running forms of what the whole-file pipeline measures first: the level of the speech and the median pitch."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np

from ..audio.level import BINS, LOWEST, SILENCE, TARGET_LEVEL, LevelMeter
from ..mel import MEL, Array
from .rendering import UNKNOWN_PITCH

HOPS = MEL.sample_rate / MEL.hop_length  # a second
HALF_LIFE = 10.0  # seconds after which a measured level counts half
FORGET = 0.5 ** (1 / (HALF_LIFE * HOPS))  # after each hop
SMALLEST_GAIN, LARGEST_GAIN = 0.1, 30.0
# Seconds of sound in which the gain moves fast, and both time constants. It also falls fast where it is far too high
# (the networks do not convert what is much too loud). Small changes are slow both ways, else the mean gain falls.
FIRST, FAST, SLOW = 1.0, 0.1, 5.0
FAR = 0.5  # of the gain, 6 dB
LOUDEST_HOP = 6.0  # RMS of a hop in units of the networks' level: 99.9 % of speech stays below 4.4, none reached 6.1
REMEMBERED = round(6 * HOPS)  # frames of which the median pitch is taken
LEAST_VOICED = 10  # frames before which the median is not known
SURE = round(HOPS)  # voiced frames from which on the median moves only between phrases
PAUSE = round(0.1 * HOPS)  # unvoiced frames that end a phrase
STEPS = (np.arange(MEL.hop_length, dtype=np.float32) + 1) / MEL.hop_length
GLIDE = 0.05  # seconds: time constant of the pitch ratio within the first phrase


class _RunningLevel(LevelMeter):
    """The active speech level of the last seconds with sound: old hops count less and less."""

    def __init__(self) -> None:
        super().__init__()
        self._count = np.zeros(BINS)  # type: ignore[assignment]

    def add_hop(self, power: float) -> None:
        """Take the mean square of a hop."""
        if power <= SILENCE**2:  # a muted microphone: what was measured stays
            return
        self._count *= FORGET
        self._power *= FORGET
        index = int(min(max(10 * math.log10(power) - LOWEST, 0), BINS - 1))
        self._count[index] += 1
        self._power[index] += power


@dataclass
class RunningGain:
    """Brings speech to the level that the networks are trained on.

    The gain changes linearly over a hop, to a value that the hops before give. So samples can be scaled as they come.

    Args:
        fixed: whether it stays as it is.
    """

    gain: float = 1.0
    fixed: bool = False
    before: float = 0.0  # at the hop's start; 0: as `gain`
    power: float = 0.0  # sum of squares of the hop so far
    place: int = 0  # samples of the hop so far
    sounding: int = 0  # hops that were no silence
    meter: _RunningLevel = field(default_factory=_RunningLevel)

    def scale(self, samples: Array) -> tuple[Array, list[tuple[float, float]]]:
        """Samples of any number, scaled, and (first, last) gain of each hop that starts in them."""
        start, taken, gains = self.place, 0, [(self.before or self.gain, self.gain)]
        while taken < len(samples):
            part = samples[taken : taken + MEL.hop_length - self.place]
            self.power = _summed(self.power, part)
            self.place += len(part)
            taken += len(part)
            if self.place == MEL.hop_length:
                self._next_hop()
                gains.append((self.before, self.gain))
        scaled = samples * ramps(gains).ravel()[start : start + len(samples)]
        return scaled, gains[start > 0 : len(gains) - (self.place == 0)]

    def _next_hop(self) -> None:
        power, self.power, self.place = self.power / MEL.hop_length, 0.0, 0
        self.before = self.gain
        if self.fixed:
            return
        self.meter.add_hop(power)
        self.sounding += power > SILENCE**2
        if level := self.meter.level:
            wanted = min(max(TARGET_LEVEL / level, SMALLEST_GAIN), LARGEST_GAIN)
            fast = wanted < FAR * self.gain or self.sounding < FIRST * HOPS
            self.gain *= (wanted / self.gain) ** (1 - math.exp(-1 / ((FAST if fast else SLOW) * HOPS)))
        loud = self.gain * math.sqrt(power) / TARGET_LEVEL
        if loud > LOUDEST_HOP:  # speech after a noise: what is measured so far belongs to the noise
            self.gain = max(self.gain * LOUDEST_HOP / loud, SMALLEST_GAIN)


def _summed(before: float, samples: Array) -> float:
    """Adds squares one by one, so that each split of a hop gives the same bits.

    The pitch depends on the gain. Where other bits round it to another value, all later pulses move.
    """
    return float(np.add.accumulate(np.concatenate([[before], samples.astype(np.float64) ** 2]))[-1])


def ramps(gains: Sequence[tuple[float, float]]) -> Array:
    """Gains ``(n, 256)`` of the samples of hops, from the first and last gain of each."""
    first, last = np.array(gains).T[:, :, None]
    return np.asarray(first.astype(np.float32) + (last - first).astype(np.float32) * STEPS)


@dataclass
class RunningMedian:
    """Median pitch of the source over its last 6 s of frames, which moves between phrases only.

    Before it is known, and in the first second of voiced frames, it glides.

    Args:
        hertz: the median so far.
        fixed: whether it is known beforehand.
    """

    hertz: float = UNKNOWN_PITCH
    fixed: bool = False
    pitches: Array = field(default_factory=lambda: np.zeros(REMEMBERED, np.float32))
    place: int = 0
    voiced: int = 0  # frames so far
    unvoiced: int = 0  # frames since the last voiced one

    def add(self, pitch: float) -> float:
        """Take the F0 of a frame in Hz, 0 where unvoiced; gives the median that counts for it."""
        if self.fixed:
            return self.hertz
        self.pitches[self.place] = pitch
        self.place = (self.place + 1) % REMEMBERED
        self.voiced += pitch > 0
        self.unvoiced = 0 if pitch > 0 else self.unvoiced + 1
        first = LEAST_VOICED <= self.voiced < SURE
        if first or self.unvoiced == PAUSE:
            known = self.pitches[self.pitches > 0]
            if len(known) >= LEAST_VOICED:
                share = 1 - math.exp(-1 / (GLIDE * HOPS)) if self.unvoiced < PAUSE else 1.0
                self.hertz *= (float(np.median(known)) / self.hertz) ** share
        return self.hertz

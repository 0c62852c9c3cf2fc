"""The level of the speech in a recording, measured block by block so that length costs no memory."""

from __future__ import annotations

import math
from collections.abc import Iterable

import numpy as np

from ..mel import Array

TARGET_LEVEL = 0.056  # RMS of active speech (-25 dB of full scale) that all networks are trained on
BLOCK = 512  # samples, about 23 ms at 22,050 Hz
SILENCE = 1e-4  # RMS (-80 dB of full scale) below which a block holds nothing
ACTIVE_RANGE = 0.03  # RMS in units of the loud blocks': a block counts as active within 30 dB of them
LOUD_SHARE = 0.05  # of the blocks that hold something: the loud ones
HEADROOM = 10  # dB above the loud blocks' level to which louder ones count: a click is no speech
BACKGROUND_SHARE = 0.1  # of the blocks that hold something: the quiet ones
LOWEST, BINS = -80, 260  # dB of full scale, and bins of 1 dB from there on
ACTIVE_BINS = -round(20 * math.log10(ACTIVE_RANGE))


class LevelMeter:
    """Active speech level of a signal that arrives in pieces (a plain relative of ITU-T P.56).

    A histogram with bins of 1 dB keeps the blocks' powers: its size does not grow with the signal.
    """

    def __init__(self) -> None:
        self._rest = np.zeros(0, np.float32)
        self._count = np.zeros(BINS, np.int64)
        self._power = np.zeros(BINS)  # sums

    def add(self, wave: Array) -> None:
        """Take the next samples, shape ``(N,)``."""
        wave = np.concatenate([self._rest, wave])
        whole = len(wave) // BLOCK * BLOCK
        self._rest = wave[whole:]
        power = np.mean(np.square(wave[:whole].reshape(-1, BLOCK), dtype=np.float64), axis=1)
        power = power[power > SILENCE**2]
        index = np.clip(10 * np.log10(power) - LOWEST, 0, BINS - 1).astype(int)
        self._count += np.bincount(index, minlength=BINS)
        self._power += np.bincount(index, weights=power, minlength=BINS)

    @property
    def level(self) -> float:
        """RMS of the active blocks; 0.0 where there is nothing but silence."""
        from_top = self._count[::-1].cumsum()
        if not from_top[-1]:
            rms = float(np.sqrt(np.mean(np.square(self._rest, dtype=np.float64)))) if len(self._rest) else 0.0
            return rms if rms > SILENCE else 0.0
        loud = BINS - 1 - int(from_top.searchsorted(max(1.0, LOUD_SHARE * from_top[-1])))
        lowest = max(loud - ACTIVE_BINS, 0)
        ceiling = 10.0 ** ((LOWEST + loud + HEADROOM) / 10)
        power = np.minimum(self._power[lowest:], self._count[lowest:] * ceiling).sum()
        return math.sqrt(power / from_top[BINS - 1 - lowest])

    @property
    def background(self) -> float:
        """RMS of the quietest tenth of the blocks that hold something; 0.0 where none of 23 ms does."""
        if not self._count.any():
            return 0.0
        from_bottom = np.cumsum(self._count)
        quiet = slice(int(np.searchsorted(from_bottom, BACKGROUND_SHARE * from_bottom[-1])) + 1)
        return float(np.sqrt(self._power[quiet].sum() / self._count[quiet].sum()))


def speech_level(wave: Array) -> float:
    """RMS of the active speech in ``wave``, shape ``(N,)``; 0.0 for silence."""
    return level_of_blocks([wave])


def level_of_blocks(blocks: Iterable[Array]) -> float:
    """`speech_level` of a signal that arrives in blocks."""
    meter = LevelMeter()
    for block in blocks:
        meter.add(block)
    return meter.level

"""The level of the speech in a recording, measured block by block so that length costs no memory."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np

from ..mel import Array

TARGET_LEVEL = 0.056  # RMS of active speech (-25 dB of full scale) that all networks are trained on
BLOCK = 512  # samples, about 23 ms at 22,050 Hz
SILENCE = 1e-4  # RMS (-80 dB of full scale) below which a recording counts as silent
ACTIVE_RANGE = 0.03  # a block counts as active within 30 dB of the loud ones


class LevelMeter:
    """Active speech level of a signal that arrives in pieces (a plain relative of ITU-T P.56).

    Block energies are kept as a histogram in steps of 0.5 dB: its size does not grow with the signal.
    """

    _bins = 400  # 0.5 dB each, from -160 dB

    def __init__(self) -> None:
        self._rest = np.zeros(0, np.float32)
        self._count = np.zeros(self._bins, np.int64)
        self._energy = np.zeros(self._bins, np.float64)

    def add(self, wave: Array) -> None:
        """Take the next samples, shape ``(N,)``."""
        wave = np.concatenate([self._rest, wave])
        whole = len(wave) // BLOCK * BLOCK
        self._rest = wave[whole:]
        power = np.mean(np.square(wave[:whole].reshape(-1, BLOCK), dtype=np.float64), axis=1)
        index = np.clip((20 * np.log10(np.maximum(power, 1e-16)) + 320) / 1, 0, 2 * self._bins - 1).astype(int) // 2
        self._count += np.bincount(index, minlength=self._bins)
        self._energy += np.bincount(index, weights=power, minlength=self._bins)

    @property
    def level(self) -> float:
        """RMS of the active blocks; 0.0 where there is nothing but silence."""
        if not self._count.any():
            if len(self._rest) == 0:
                return 0.0
            rms = float(np.sqrt(np.mean(np.square(self._rest, dtype=np.float64))))
            return rms if rms > SILENCE else 0.0
        count, energy = self._count, self._energy
        # The loud end: the level that a twentieth of the blocks reach.
        loud = int(np.searchsorted(np.cumsum(count[::-1]), max(1.0, count.sum() / 20)))
        loud = self._bins - 1 - loud
        floor = max(loud - int(-20 * np.log10(ACTIVE_RANGE)), 0)
        active = slice(floor, None)
        rms = float(np.sqrt(energy[active].sum() / count[active].sum()))
        return rms if rms > SILENCE else 0.0


def speech_level(wave: Array) -> float:
    """RMS of the active speech in ``wave``, shape ``(N,)``; 0.0 for silence."""
    meter = LevelMeter()
    meter.add(wave)
    return meter.level


def level_of_blocks(blocks: Iterable[Array]) -> float:
    """`speech_level` of a signal that arrives in blocks."""
    meter = LevelMeter()
    for block in blocks:
        meter.add(block)
    return meter.level

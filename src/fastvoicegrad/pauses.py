"""What stands where the source has no speech: the conversion, silence, or the source's own background.

A hop of 256 samples counts as speech where it is voiced, or where it is louder than the background and than quiet
speech. Hops near it count too: they hold what is unvoiced and soft at both ends of a word. The fades depend on a few
hops to each side, so the signal can arrive in blocks of any size.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Iterator
from itertools import chain

import numpy as np
from numpy.typing import NDArray

from .audio.level import TARGET_LEVEL
from .audio.loudness import HOP, HopTap, hop_powers
from .errors import InputError
from .files import shown
from .mel import Array

PAUSES = ("converted", "silence", "source")

LOUD = 10.0 ** (-20 / 20)  # of the speech level: louder hops count as speech without a pitch
ABOVE_BACKGROUND = 10.0 ** (9 / 20)  # by which such hops must exceed the background
VOICED = 10.0 ** (-35 / 20)  # of the speech level: quieter hops are no speech, whatever their pitch
NEIGHBOURS, LEAST = 2, 3  # hops to each side, and how many of these five must count: a click is no speech
BEFORE, AFTER = 13, 21  # hops that belong to the speech after them (0.15 s) and before them (0.25 s)
FADE = 5  # hops to each side over which a fade moves: 58 ms
LOOK_AHEAD = NEIGHBOURS + max(BEFORE, AFTER) + FADE + 1  # hops to each side on which a hop's fade depends

_fade = np.hanning(2 * FADE + 3)[1:-1]
_fade /= _fade.sum()


def check_pauses(pauses: str) -> None:
    """Raises InputError where pauses are not filled in this way."""
    if pauses not in PAUSES:
        raise InputError(f"pauses must be one of {', '.join(PAUSES)}, got '{shown(str(pauses))}'")


class PauseFiller:
    """Passes the blocks of a source on, and fills the pauses of their conversion.

    Args:
        pauses: one of `PAUSES`.
        blocks: the source at 22,050 Hz.
        gain: brings its speech to the level that the networks are trained on.
        background: RMS of what lies behind its speech.
    """

    def __init__(self, pauses: str, blocks: Iterable[Array], gain: float, background: float) -> None:
        self._idle, self._silence = pauses == "converted", pauses == "silence"
        self._blocks, self._tap = blocks, HopTap(blocks)
        level = TARGET_LEVEL / gain
        self._voiced_power = (VOICED * level) ** 2
        self._loud_power = max(LOUD * level, ABOVE_BACKGROUND * background) ** 2
        self._voiced: deque[bool] = deque()
        self._converted = self._source = np.zeros((LOOK_AHEAD, HOP), np.float32)
        self._speech = np.zeros(LOOK_AHEAD, bool)

    def __iter__(self) -> Iterator[Array]:
        return iter(self._blocks if self._idle else self._tap)

    def add_pitch(self, pitch: Array) -> None:
        """F0 of the source's next frames (T,), 0 where unvoiced. A frame is a hop."""
        if not self._idle:
            self._voiced.extend(pitch > 0)

    def filled(self, converted: Iterable[Array]) -> Iterator[Array]:
        """The conversion with its pauses filled.

        Args:
            converted: blocks of whole hops; the source and its pitch must have arrived before.
        """
        if self._idle:
            yield from converted
            return
        for block in chain(converted, [np.zeros(LOOK_AHEAD * HOP, np.float32)]):
            self._push(block.reshape(-1, HOP))
            ready = len(self._converted) - 2 * LOOK_AHEAD
            if ready > 0:
                yield self._mixed(ready)

    def _push(self, converted: Array) -> None:
        hops, source = len(converted), self._tap.take(len(converted))
        power, count = hop_powers(source), min(hops, len(self._voiced))
        voiced = np.array([self._voiced.popleft() for _ in range(count)] + [False] * (hops - count), bool)
        speech = (voiced & (power > self._voiced_power)) | (power > self._loud_power)
        self._converted = np.concatenate([self._converted, converted])
        self._source = np.concatenate([self._source, source])
        self._speech = np.concatenate([self._speech, speech])

    def _mixed(self, count: int) -> Array:
        """Samples of the next `count` hops. The powers of both parts add up."""
        shares = speech_shares(self._speech)
        middles = np.arange(len(shares)) * HOP + (HOP - 1) / 2
        samples = np.arange(LOOK_AHEAD * HOP, (LOOK_AHEAD + count) * HOP)
        angle = np.interp(samples, middles, shares) * np.pi / 2
        converted, source = (x[LOOK_AHEAD : LOOK_AHEAD + count].reshape(-1) for x in (self._converted, self._source))
        self._converted, self._source = self._converted[count:], self._source[count:]
        self._speech = self._speech[count:]
        behind = 0.0 if self._silence else source * np.cos(angle)
        return np.asarray(converted * np.sin(angle) + behind, np.float32)


def speech_shares(speech: NDArray[np.bool_]) -> NDArray[np.float64]:
    """Share of the conversion in each hop, (n,) -> (n,), between 0 and 1.

    Args:
        speech: whether a hop alone looks like speech.
    """
    lasting = np.convolve(speech, np.ones(2 * NEIGHBOURS + 1), "same") >= LEAST
    wide = np.convolve(lasting, np.ones(BEFORE + AFTER + 1))[BEFORE:][: len(speech)] > 0
    return np.clip(np.convolve(wide, _fade, "same"), 0.0, 1.0)

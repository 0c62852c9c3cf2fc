"""Which channels of a recording are used, and by what they are scaled. Decided on the whole of it."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import numpy as np

from ..errors import InputError
from ..files import shown
from ..mel import Array
from .level import SILENCE

SIDES = ("left", "right")
EACH = "each"  # channel after channel by itself
QUIET = 10 ** (-30 / 20)  # a channel this far below the loudest carries no sound
CANCELS = 10 ** (-15 / 20)  # channels whose mean is this far below them cancel each other
PLAUSIBLE = 8.0  # times full scale up to which a peak may be a single one
LARGEST = 2.0**32  # times full scale: no unit of sound is larger
FEWEST = 1e-3  # of the samples have to exceed full scale where the unit is another, such as 16-bit integers


@dataclass(frozen=True)
class Mix:
    """Takes the mean of `channels` and scales it. `notes`: what a user has to know, sentences without the name."""

    channels: list[int]
    scale: float = 1.0
    notes: tuple[str, ...] = ()

    def __call__(self, block: Array) -> Array:
        """Shape ``(N, C)`` -> ``(N,)``."""
        mono = np.array(block[:, self.channels[0]])
        for channel in self.channels[1:]:
            mono += block[:, channel]
        factor = self.scale / len(self.channels)
        return mono if factor == 1.0 else mono * np.float32(factor)


class Statistics:
    """Sums over a recording, from which the mix follows.

    Attributes:
        count: samples per channel.
        peak, peak_at: of floats, the largest magnitude and the sample where it is.
        over: of floats, the number of samples, of all channels, beyond full scale.
    """

    def __init__(self, channels: int, is_float: bool) -> None:
        self.count, self.peak, self.peak_at, self.over = 0, 0.0, 0, 0
        self._is_float = is_float
        self._sum = np.zeros(channels)
        self._products = np.zeros((channels, channels))

    def add(self, block: Array) -> None:
        """The next samples, shape ``(N, C)``."""
        if self._is_float:
            self._add_peak(np.abs(block))
        rows = np.ascontiguousarray(block.T, np.float64)
        self._sum += rows.sum(axis=1)
        self._products += rows @ rows.T
        self.count += len(block)

    def _add_peak(self, size: Array) -> None:
        if float(size.max()) > self.peak:
            self.peak = float(size.max())
            self.peak_at = self.count + int(np.argmax(size)) // size.shape[1]
        self.over += int(np.count_nonzero(size > 1.0))

    @property
    def covariance(self) -> np.ndarray:
        """Of the channels, offsets removed: ``(C, C)``."""
        mean = self._sum / max(self.count, 1)
        return self._products / max(self.count, 1) - np.outer(mean, mean)


def choose_mix(statistics: Statistics, name: str, rate: int, wanted: list[int] | None = None) -> Mix:
    """The mix for a recording.

    Args:
        wanted: the channels to use; None: those with sound.
    Raises:
        InputError: samples that no unit explains.
    """
    notes: list[str] = []
    channels = _channels(statistics.covariance, notes) if wanted is None else wanted
    scale = _scale(statistics, name, rate, notes)
    return Mix(channels, scale, tuple(notes))


def wanted_channels(channel: str | int | None, count: int, name: str) -> list[int] | None:
    """Indices of the channels that a user asks for; None where the choice is left to `choose_mix`.

    Args:
        channel: "left", "right", "mix" (the mean of all), or a number from 1 on. Of a recording with one channel,
            both sides are that one, so folders may have mono and stereo recordings; 1 and 2 are the same as sides.
        count: of the recording's channels.
    Raises:
        InputError: there is no such channel.
    """
    if channel is None:
        return None
    check_channel(channel)
    channel = str(channel)
    if channel == EACH:
        raise InputError("one channel is needed here, not each of them")
    if channel == "mix":
        return list(range(count))
    number = SIDES.index(channel) if channel in SIDES else int(channel) - 1
    if count == 1 and number < len(SIDES):
        return [0]
    if number >= count:
        raise InputError(f"{name} has {count} channel{'s' if count > 1 else ''}; there is no channel {channel}")
    return [number]


def check_channel(channel: str | int) -> None:
    """Raises InputError where this names no channel of any recording."""
    channel = str(channel)
    is_number = channel.isascii() and channel.isdecimal() and 1 <= int(channel) <= 1024
    if channel not in (*SIDES, "mix", EACH) and not is_number:
        raise InputError(f"the channel must be left, right, mix, each or a number from 1 on, got '{shown(channel)}'")


def _channels(covariance: np.ndarray, notes: list[str]) -> list[int]:
    level = np.sqrt(np.maximum(np.diag(covariance), 0.0))
    loudest = int(np.argmax(level))
    used = np.flatnonzero(level > QUIET * level[loudest])
    if level[loudest] <= SILENCE or len(level) == 1:
        return list(range(len(level)))
    mean = np.sqrt(max(covariance[np.ix_(used, used)].sum(), 0.0)) / len(used)
    if mean >= CANCELS * np.sqrt(np.square(level[used]).mean()):
        return [int(channel) for channel in used]
    called = ("left", "right")[loudest] + " one" if len(level) == 2 else f"one numbered {loudest + 1}"
    notes.append(f"its channels cancel each other; the {called} is used")
    return [loudest]


def _scale(statistics: Statistics, name: str, rate: int, notes: list[str]) -> float:
    peak = statistics.peak
    if peak <= 1.0:
        return 1.0
    if is_absurd(peak, statistics.over, statistics.count * len(statistics.covariance)):
        raise _absurd(name, peak, statistics.peak_at / rate)
    notes.append(f"its samples reach {peak:.3g} times full scale; they are scaled")
    return 1.0 / peak


def is_absurd(peak: float, over: int, values: int) -> bool:
    """Whether no unit explains samples, of which so many values exceed full scale."""
    return peak > LARGEST or (peak > PLAUSIBLE and over < FEWEST * values)


def _absurd(name: str, peak: float, seconds: float) -> InputError:
    return InputError(
        f"{name} has a sample of {peak:.2g} times full scale at {seconds:.2f} s; repair or export it again"
    )


def checked(blocks: Iterable[Array], name: str, rate: int) -> Iterator[Array]:
    """The same blocks.

    Raises:
        InputError: a sample is not a number or absurdly large; the message gives its time.
    """
    done = 0
    for block in blocks:
        bad = None if len(block) == 0 else float(np.abs(block).max())
        if bad is not None and not bad <= LARGEST:  # NaN fails every comparison
            rows = ~(np.abs(block) <= LARGEST).all(axis=1)
            at = int(np.argmax(rows))
            if np.isfinite(block[at]).all():
                raise _absurd(name, float(np.abs(block[at]).max()), (done + at) / rate)
            when = f"at {(done + at) / rate:.2f} s"
            raise InputError(f"{name} has samples that are not numbers (NaN or infinite) {when}; export it again")
        done += len(block)
        yield block

"""Integrated loudness (ITU-R BS.1770-4) of a mono signal at 22,050 Hz, and a signal brought to a wanted one.

The K-weighting is two filters; their impulse response has died away after 0.2 s and is applied by FFT. The last step of
the standard, the gates, follows the text: blocks of 400 ms that overlap by three quarters.
"""

from __future__ import annotations

import math
import tempfile
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from functools import cache
from typing import IO

import numpy as np
from numpy.typing import NDArray

from ..errors import InputError
from ..mel import MEL, Array
from .loudness import HOP, limiter_gains

QUIETEST, LOUDEST = -60.0, -6.0  # LUFS that can be asked for
STEP = MEL.sample_rate // 10  # samples of a quarter of a gating block: 100 ms
TAPS = 4410  # of the impulse response: 0.2 s
ABSOLUTE_GATE, RELATIVE_GATE = -70.0, -10.0  # LUFS, and LU below the mean
OFFSET = -0.691  # dB, of the standard's equation 2
CLOSE = 0.05  # LU by which the result may differ
ROUNDS = 5  # the limiter takes loudness away, which the next round gives back
CHUNK = 4096  # hops that are rendered at once

# Filters of the standard as analogue prototypes: frequency (Hz), quality, gain (dB); after De Man, JAES 2018.
SHELF = (1681.974450955533, 0.7071752369554196, 3.999843853973347)
HIGH_PASS = (38.13547087602444, 0.5003270373238773)


def check_loudness(lufs: float) -> None:
    """Raises InputError where no conversion is brought to this loudness."""
    if not QUIETEST <= lufs <= LOUDEST:
        raise InputError(f"the loudness must lie between {QUIETEST:g} and {LOUDEST:g} LUFS, got {lufs:g}")


@cache
def k_weighting(rate: int = MEL.sample_rate) -> NDArray[np.float64]:
    """Impulse response of the K-weighting at a rate in Hz, (`TAPS`,)."""
    response = np.zeros(TAPS)
    response[0] = 1.0
    for numerator, denominator in (_shelf(rate), _high_pass(rate)):
        response = _filtered(response, numerator, denominator)
    return response


Coefficients = tuple[list[float], list[float]]  # of powers of 1/z: numerator, denominator


def _shelf(rate: int) -> Coefficients:
    frequency, quality, gain = SHELF
    k = math.tan(math.pi * frequency / rate)
    high = 10.0 ** (gain / 20)
    band = high**0.4996667741545416
    scale = 1 + k / quality + k * k
    numerator = [high + band * k / quality + k * k, 2 * (k * k - high), high - band * k / quality + k * k]
    return [b / scale for b in numerator], [1.0, 2 * (k * k - 1) / scale, (1 - k / quality + k * k) / scale]


def _high_pass(rate: int) -> Coefficients:
    frequency, quality = HIGH_PASS
    k = math.tan(math.pi * frequency / rate)
    scale = 1 + k / quality + k * k
    return [1.0, -2.0, 1.0], [1.0, 2 * (k * k - 1) / scale, (1 - k / quality + k * k) / scale]


def _filtered(x: NDArray[np.float64], numerator: list[float], denominator: list[float]) -> NDArray[np.float64]:
    y = np.convolve(x, numerator)[: len(x)]
    for n in range(len(y)):
        for k in range(1, min(n, 2) + 1):
            y[n] -= denominator[k] * y[n - k]
    return y


class ProgrammeMeter:
    """Integrated loudness of a signal that arrives in blocks. Their sizes change nothing but rounding."""

    def __init__(self) -> None:
        self._before = np.zeros(TAPS - 1, np.float32)
        self._rest = np.zeros(0)
        self._powers: list[NDArray[np.float64]] = []  # of each 100 ms

    def add(self, block: Array) -> None:
        """The next samples, shape ``(N,)``."""
        wave = np.concatenate([self._before, block])
        size = 1 << (len(wave) - 1).bit_length()
        spectrum = np.fft.rfft(wave, size) * np.fft.rfft(k_weighting(), size)
        weighted = np.concatenate([self._rest, np.fft.irfft(spectrum, size)[TAPS - 1 : len(wave)]])
        whole = len(weighted) // STEP * STEP
        self._powers.append(np.square(weighted[:whole].reshape(-1, STEP)).mean(1))
        self._before, self._rest = wave[len(wave) - TAPS + 1 :], weighted[whole:]

    @property
    def lufs(self) -> float:
        """In LUFS; minus infinity for silence. A signal below 400 ms counts as one block."""
        powers = np.concatenate([*self._powers, np.zeros(0)])
        if len(powers) < 4:
            rest = np.square(self._rest).sum()
            samples = len(powers) * STEP + len(self._rest)
            return _lufs((powers.sum() * STEP + rest) / max(samples, 1))
        blocks = np.convolve(powers, np.full(4, 0.25), "valid")
        audible = blocks[blocks > _power(ABSOLUTE_GATE)]
        if len(audible) == 0:
            return -math.inf
        return _lufs(audible[audible > audible.mean() * 10.0 ** (RELATIVE_GATE / 10)].mean())


def _lufs(power: float) -> float:
    return OFFSET + 10 * math.log10(power) if power > 0 else -math.inf


def _power(lufs: float) -> float:
    return float(10.0 ** ((lufs - OFFSET) / 10))


def at_loudness(blocks: Iterable[Array], lufs: float) -> Iterator[Array]:
    """The same signal at an integrated loudness, without clipped samples. Silence stays as it is.

    The signal waits in a temporary file (317 MB an hour), so its length costs no memory. Where peaks have to be held
    down so much that `lufs` is out of reach, the result is quieter.

    Args:
        blocks: at 22,050 Hz.
    Raises:
        InputError: there is no place for the file.
    """
    with _temporary_file() as file:
        meter = ProgrammeMeter()
        for block in blocks:
            with _needs_room():
                file.write(np.asarray(block, np.float32).tobytes())
            meter.add(block)
        gains = _gains(file, lufs, meter.lufs)
        yield from _rendered(file, gains)


@contextmanager
def _needs_room() -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise InputError("no temporary file of that size can be written; free some room, or set TMPDIR") from error


def _temporary_file() -> IO[bytes]:
    with _needs_room():
        return tempfile.TemporaryFile()


def _gains(file: IO[bytes], lufs: float, measured: float) -> NDArray[np.float64]:
    """Gain of each hop that brings a stored signal to a loudness."""
    peaks = np.concatenate([*(_hop_peaks(wave) for wave in _stored(file)), np.zeros(0)])
    gain, gains = 1.0, np.ones(len(peaks))
    for _ in range(ROUNDS):
        if not math.isfinite(measured) or abs(lufs - measured) < CLOSE:
            break
        gain *= 10.0 ** ((lufs - measured) / 20)
        limiter = limiter_gains(gain * peaks)
        gains = gain * limiter
        if limiter.min(initial=1.0) >= 1.0:
            break
        meter = ProgrammeMeter()
        for block in _rendered(file, gains):
            meter.add(block)
        measured = meter.lufs
    return gains


def _stored(file: IO[bytes]) -> Iterator[Array]:
    """A stored signal in blocks of whole hops, but for the last."""
    file.seek(0)
    while data := file.read(CHUNK * HOP * 4):
        yield np.frombuffer(data, np.float32)


def _hop_peaks(wave: Array) -> Array:
    return np.asarray(np.abs(np.pad(wave, (0, -len(wave) % HOP))).reshape(-1, HOP).max(1))


def _rendered(file: IO[bytes], gains: NDArray[np.float64]) -> Iterator[Array]:
    """A stored signal times its gains, with straight lines between the middles of hops."""
    middles = np.arange(len(gains)) * HOP + (HOP - 1) / 2
    for index, wave in enumerate(_stored(file)):
        samples = index * CHUNK * HOP + np.arange(len(wave))
        yield wave * np.interp(samples, middles, gains).astype(np.float32)

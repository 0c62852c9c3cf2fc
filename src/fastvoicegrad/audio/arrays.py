"""Samples that come as arrays: the same checks and blocks as for files."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..errors import InputError
from ..mel import MEL, Array
from .mixing import EACH, is_absurd, wanted_channels
from .offset import without_offset
from .reading import HIGHEST_INPUT_RATE, LOWEST_INPUT_RATE
from .resampling import resampled

BLOCK = 1 << 18  # samples
Samples = NDArray[np.floating[Any]] | NDArray[np.integer[Any]]  # what `checked_array` takes


def checked_array(
    wave: Any, rate: Any, warn: Callable[[str], None], channel: str | int | None = None
) -> tuple[list[Array], int]:
    """The tracks of samples, float32 within full scale, each ``(N,)``, and their rate in Hz.

    Args:
        wave: ``(N,)`` or ``(N, channels)``; floats of full scale +-1, or integers, whose type gives their full scale.
        warn: takes a sentence about samples above full scale.
        channel: "left", "right", a number from 1 on, "each" for a track of every channel; None or "mix": their mean.
    Raises:
        InputError: another shape, no numbers, not finite, a rate outside 4-384 kHz, or no such channel.
    """
    try:
        wave, rate_in_hz = np.asarray(wave), float(rate)
    except (TypeError, ValueError, OverflowError) as error:
        raise InputError(f"samples and a rate in Hz are needed ({error})") from error
    if not (LOWEST_INPUT_RATE <= rate_in_hz <= HIGHEST_INPUT_RATE and rate_in_hz == int(rate_in_hz)):
        raise InputError(f"the rate must be whole and lie between {LOWEST_INPUT_RATE} and {HIGHEST_INPUT_RATE} Hz")
    if wave.ndim not in (1, 2) or (wave.ndim == 2 and not 0 < wave.shape[1] <= 64):
        raise InputError(f"samples of shape (N,) or (N, channels) are needed, got shape {wave.shape}")
    wave = _within_full_scale(wave if wave.ndim == 2 else wave[:, None], warn)
    return _tracks(wave, channel), int(rate_in_hz)


def _tracks(wave: Array, channel: str | int | None) -> list[Array]:
    """Those of samples ``(N, C)`` that are asked for."""
    count = wave.shape[1]
    if channel == EACH:
        return [np.ascontiguousarray(wave[:, number]) for number in range(count)]
    wanted = wanted_channels(channel, count, "the array") or list(range(count))
    return [np.ascontiguousarray(wave[:, wanted[0]]) if len(wanted) == 1 else wave[:, wanted].mean(axis=1)]


def _within_full_scale(wave: np.ndarray, warn: Callable[[str], None]) -> Array:
    if wave.dtype.kind in "iu":
        limits = np.iinfo(wave.dtype)
        middle = (limits.max + 1) / 2 if wave.dtype.kind == "u" else 0
        return ((wave - middle) / (limits.max + 1 - middle)).astype(np.float32)
    if wave.dtype.kind != "f":
        raise InputError(f"samples must be floats or integers, got {wave.dtype}")
    if not np.isfinite(wave).all():
        raise InputError("the samples hold NaN or infinite values; clean them first")
    peak = float(max(wave.max(initial=0.0), -wave.min(initial=0.0)))
    if peak > 1.0:
        if is_absurd(peak, int(np.count_nonzero(np.abs(wave) > 1.0)), wave.size):
            raise InputError(f"the samples reach {peak:.3g} times full scale; they are no recording")
        warn(f"the samples reach {peak:.3g} times full scale; they are scaled to full scale")
        wave = wave / peak
    return wave.astype(np.float32, copy=False)


def blocks_of_array(wave: Array, rate: int) -> Iterator[Array]:
    """Blocks at 22,050 Hz, without a constant offset, of samples ``(N,)`` at `rate`."""
    parts = (wave[start : start + BLOCK] for start in range(0, len(wave), BLOCK))
    yield from resampled(without_offset(parts, rate), rate, MEL.sample_rate)

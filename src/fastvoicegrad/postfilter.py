"""Post-filter for one-step estimates of a mel.

Such estimates are noisy from frame to frame, and over-smoothed across mel bands and over time. The filter smooths in
time, sharpens across bands and restores each band's variance (global variance: Toda et al. 2007; Silen et al.,
Interspeech 2012). It is not in the paper.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Any, NamedTuple

import msgspec
import numpy as np
from numpy.typing import NDArray

from .mel import MEL, Array, lowpass

TILT_COSINES = 3  # cosine components over the bands that sharpening leaves alone
QUIET = -6.0  # natural log of a frame's mean magnitude, 35 dB below loud speech at the converter's level
SOFTNESS = 0.5  # natural log: width of the transition from pause to speech
PRIOR_FRAMES = 20.0  # weight, in frames (0.23 s), of the target's variance at the start of a recording
LEAST_FACTOR, MOST_FACTOR = 0.85, 1.2  # limits of variance matching; wider limits cost words


class Sums(NamedTuple):
    """Statistics of all frames so far: the speech weight, and the weighted sums of the mel and its square (80, 1)."""

    weight: NDArray[np.float64]
    first: NDArray[np.float64]
    second: NDArray[np.float64]


NO_SUMS = Sums(np.zeros((1, 1)), np.zeros((MEL.n_mels, 1)), np.zeros((MEL.n_mels, 1)))


@dataclass(frozen=True)
class PostFilter:
    """Settings of the post-filter; the defaults change nothing."""

    smoothing: Annotated[float, msgspec.Meta(ge=0, le=0.5)] = 0.0  # weight of each neighbouring frame
    sharpening: Annotated[float, msgspec.Meta(ge=0, le=4)] = 1.0  # factor on what is finer than the spectral tilt
    match_variance: bool = False  # whether each band gets the variance that the target voice has

    def __call__(self, mel: Array, voice: Array, keep: slice, sums: Sums) -> tuple[Array, Sums]:
        """Filter a window of frames; see `match_variance` for the arguments."""
        mel = sharpen(smooth(mel, self.smoothing), self.sharpening)
        return match_variance(mel, voice, keep, sums) if self.match_variance else (mel, sums)


def smooth(mel: Array, weight: float) -> Array:
    """Average each frame of (80, T) with its two neighbours, which get `weight` each.

    Mel frames overlap by three quarters, so natural speech changes slowly from frame to frame.
    """
    padded = np.pad(mel, ((0, 0), (1, 1)), mode="edge")
    return ((1 - 2 * weight) * mel + weight * (padded[:, :-2] + padded[:, 2:])).astype(np.float32)


def sharpen(mel: Array, gain: float) -> Array:
    """Multiply what is finer than each frame's spectral tilt by `gain`; the frame's power stays the same. (80, T)."""
    coarse = lowpass(mel, TILT_COSINES)
    sharp = coarse + gain * (mel - coarse)
    return (sharp + _log_power(mel) - _log_power(sharp)).astype(np.float32)


def _log_power(mel: NDArray[np.floating[Any]]) -> NDArray[np.floating[Any]]:
    """Half the logarithm of each frame's power, (1, T)."""
    top = mel.max(0, keepdims=True)
    return np.asarray(top + np.log(np.exp(2 * (mel - top)).sum(0, keepdims=True)) / 2)


def speech_probability(mel: Array) -> NDArray[np.float64]:
    """How far each frame of (80, T) counts as speech by its loudness, (1, T), between 0 and 1."""
    loudness = np.log(np.exp(mel.astype(np.float64)).mean(0, keepdims=True))
    return np.asarray(1 / (1 + np.exp(-(loudness - QUIET) / SOFTNESS)))


def _running_sums(mel: Array, weights: NDArray[np.float64]) -> Sums:
    """The sums up to and including each frame."""
    return Sums(*(np.cumsum(weights * power, axis=1) for power in (1.0, mel, np.square(mel, dtype=np.float64))))


def match_variance(mel: Array, voice: Array, keep: slice, sums: Sums = NO_SUMS) -> tuple[Array, Sums]:
    """Scale each band's deviation from its running mean to the deviation that the target voice has.

    Args:
        mel: ``(80, T)``, natural log.
        voice: ``(80, N)``, frames of the target voice.
        keep: the frames that are new in this window; those before it were counted already.
        sums: running sums of all frames before the first new one.
    Returns:
        the mel, and the running sums after the last new frame.
    """
    weights, voice_weights = speech_probability(mel), speech_probability(voice)
    mean = (voice_weights * voice).sum(1, keepdims=True) / voice_weights.sum()
    wanted = (voice_weights * np.square(voice - mean)).sum(1, keepdims=True) / voice_weights.sum()
    running = _running_sums(mel, weights)
    offset = [s - r[:, keep.start - 1 : keep.start] if keep.start else s for r, s in zip(running, sums, strict=True)]
    weight, first, second = (r + o for r, o in zip(running, offset, strict=True))
    total = np.maximum(PRIOR_FRAMES + weight, 1.0)
    running_mean = (PRIOR_FRAMES * mean + first) / total
    variance = (PRIOR_FRAMES * (wanted + mean**2) + second) / total - running_mean**2
    factor = np.clip(np.sqrt(wanted / np.maximum(variance, 1e-6)), LEAST_FACTOR, MOST_FACTOR)
    after = Sums(*(x[:, keep.stop - 1 : keep.stop] for x in (weight, first, second)))
    return (mel + weights * (factor - 1) * (mel - running_mean)).astype(np.float32), after

"""What a network of one step leaves undone in a mel, made good frame by frame.

An estimate of the mean is rough where it should be smooth, in time, and even where it should not be: between the
bands, and over an utterance (Toda et al. 2007, "global variance"; Silen et al., Interspeech 2012).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from .mel import MEL, Array, lowpass_projection

COARSE = 3  # cosines over the bands, from the lowest, that `sharpen` leaves alone
QUIET = -6.0  # natural log of a frame's mean magnitude, 35 dB below loud speech at the converter's level
SOFTNESS = 0.5  # natural log around it in which a frame begins to count
PRIOR = 20.0  # frames (0.23 s) for which the voice's own deviation stands in at the beginning
LEAST, MOST = 0.85, 1.2  # factor on a band's deviation; twice as far, and words suffer


@dataclass(frozen=True)
class PostFilter:
    """What is done to a converted mel, in this order; as it stands, nothing."""

    smoothing: float = 0.0  # share of each neighbour in a frame
    sharpening: float = 1.0  # factor on what is finer than the tilt
    match_variance: bool = False  # whether bands deviate from their means as far as the voice's do

    def __call__(self, mel: Array, voice: Array, kept: slice, before: Sums) -> tuple[Array, Sums]:
        """See `match_variance`."""
        mel = sharpen(smooth(mel, self.smoothing), self.sharpening)
        return match_variance(mel, voice, kept, before) if self.match_variance else (mel, before)


def smooth(mel: Array, share: float) -> Array:
    """Each frame of (80, T) with `share` of either neighbour in it. A network of one step leaves a little roughness
    from frame to frame, which speech, seen in frames that overlap by three quarters, cannot have."""
    padded = np.pad(mel, ((0, 0), (1, 1)), mode="edge")
    return ((1 - 2 * share) * mel + share * (padded[:, :-2] + padded[:, 2:])).astype(np.float32)


def sharpen(mel: Array, gain: float) -> Array:
    """(80, T) with what is finer than its tilt times `gain`: formants and harmonics stand out, and every frame is as
    loud as before."""
    coarse = lowpass_projection(COARSE) @ mel
    sharp = coarse + gain * (mel - coarse)
    return (sharp + _loudness(mel) - _loudness(sharp)).astype(np.float32)


def _loudness(mel: NDArray[np.floating[Any]]) -> NDArray[np.floating[Any]]:
    """Of each frame of (80, T), half the logarithm of its power, (1, T)."""
    top = mel.max(0, keepdims=True)
    return np.asarray(top + np.log(np.exp(2 * (mel - top)).sum(0, keepdims=True)) / 2)


class Sums(NamedTuple):
    """Over the frames before some frame: their weights, and in each band (80, 1) the weighted sums of the mel and
    of its square."""

    weight: NDArray[np.float64]
    first: NDArray[np.float64]
    second: NDArray[np.float64]


NO_SUMS = Sums(np.zeros((1, 1)), np.zeros((MEL.n_mels, 1)), np.zeros((MEL.n_mels, 1)))


def speech_probability(mel: Array) -> NDArray[np.float64]:
    """How far each frame of (80, T) counts as speech, (1, T), between 0 and 1."""
    loudness = np.log(np.exp(mel.astype(np.float64)).mean(0, keepdims=True))
    return np.asarray(1 / (1 + np.exp(-(loudness - QUIET) / SOFTNESS)))


def _running(mel: Array, counts: NDArray[np.float64]) -> Sums:
    """The sums up to and with each frame."""
    return Sums(*(np.cumsum(counts * power, axis=1) for power in (1.0, mel, np.square(mel, dtype=np.float64))))


def match_variance(mel: Array, voice: Array, kept: slice, before: Sums = NO_SUMS) -> tuple[Array, Sums]:
    """A mel that deviates from its mean as far as the voice does, in each band, up to each frame.

    Args:
        mel: ``(80, T)``, natural log.
        voice: ``(80, N)``, frames of the voice.
        kept: of the frames, those that have not been before; what is left of them is context.
        before: of the frames before these.
    Returns:
        the mel, and the sums before the frame that follows.
    """
    counts, own = speech_probability(mel), speech_probability(voice)
    mean = (own * voice).sum(1, keepdims=True) / own.sum()
    wanted = (own * np.square(voice - mean)).sum(1, keepdims=True) / own.sum()
    running = _running(mel, counts)
    known = [b - r[:, kept.start - 1 : kept.start] if kept.start else b for r, b in zip(running, before, strict=True)]
    weight, first, second = (r + k for r, k in zip(running, known, strict=True))
    total = np.maximum(PRIOR + weight, 1.0)
    mean_so_far = (PRIOR * mean + first) / total
    variance = (PRIOR * (wanted + mean**2) + second) / total - mean_so_far**2
    factor = np.clip(np.sqrt(wanted / np.maximum(variance, 1e-6)), LEAST, MOST)
    after = Sums(*(x[:, kept.stop - 1 : kept.stop] for x in (weight, first, second)))
    return (mel + counts * (factor - 1) * (mel - mean_so_far)).astype(np.float32), after

"""Where the speech is: a bounded sample of a recording of any length, and how speech-like each of its frames is.

Speech changes its spectrum and its pitch all the time. Hum, beeps, chords, held notes and steady noise keep one of
them still. Loudness alone cannot tell these apart.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property
from itertools import pairwise
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .audio.level import ACTIVE_RANGE, BLOCK, SILENCE, TARGET_LEVEL
from .bundle import Bundle
from .mel import MEL, Array, log_mel, lowpass

SEGMENT = 2 * MEL.sample_rate  # samples: the unit of the sample
MOST_SEGMENTS = 16  # 32 s, kept whatever the length is
# Standard deviation of a segment's level in dB: noise and hum stay below 0.6, most music below 5, and 99 % of clean
# speech lies above 6. Where room is short, the least lively segments go first.
LIVELY = (1.5, 5.0)
LEVEL_RANGE = 40.0  # dB below a segment's loudest block at which its level is cut
QUIETEST = 1e-3  # of the loudest kept segment; below that (-60 dB) a segment holds nothing

PIECE = 10 * MEL.sample_rate  # samples that are analysed at once
SHORTEST_PIECE = 2 * MEL.n_fft  # samples below which a piece is left out

LOUD_RANGE = 3.45  # natural log: speech lies within 30 dB of the loud frames
FLOOR_RANGE = 6.0  # natural log below the loud frames at which the spectrum is cut
WIDE_RANGE, LEAST_WIDE = 4.0, 0.16  # share of bands within 35 dB of a frame's own peak: speech 0.18 (1 %), siren 0.14
COSINES = 12  # of the spectral envelope
STEP = 3  # frames (35 ms) before and after a frame between which change is measured
HALF_WINDOW, HOP = 43, 8  # frames: change is judged over 1 s, every 93 ms
TINY, DECIBELS = 1e-3, 20 / np.log(10)
# Voiced frames in a window below which it is not judged. The second where all else fails, the third if the recording is
# short, too: one word has few.
LEAST_FRAMES, SHORT = (10, 6, 3), 344  # frames (4 s)
# Logistic regression on windows of 630 clips, 450 noisy clips (5 to 15 dB) and 300 synthetic sounds.
CHANGE_WEIGHT = 1.6  # of the spectral change: natural log in 70 ms, root mean square over the cosines
SLOPE_WEIGHT, MOST_SLOPE = 2.4, 4.0  # of the pitch, in semitones a second
SWING_WEIGHT, MOST_SWING = 2.7, 8.0  # standard deviation of the level, in dB
BIAS = -4.7
LIKELY = 0.5  # likelihood from which frames count as speech
NEAR = 43  # frames (0.5 s) around speech that belong to it
LEAST_ACTIVE = 0.75  # active frames near speech for each frame of speech: 500 real recordings lie above 0.95


@dataclass
class _Tier:
    """Segments of like liveliness, every `stride`-th of those that came."""

    kept: list[tuple[int, Array]] = field(default_factory=list)
    stride: int = 1
    count: int = 0

    @property
    def weight(self) -> float:
        """How many segments of the recording each kept one stands for."""
        return self.count / len(self.kept)

    def add(self, index: int, wave: Array) -> None:
        if self.count % self.stride == 0:
            self.kept.append((index, wave))
        self.count += 1

    def thin(self) -> None:
        """Drop every second segment, or the only one."""
        self.kept = self.kept[::2] if len(self.kept) > 1 else []
        self.stride *= 2


class SpeechSampler:
    """A bounded sample of a signal that arrives in blocks, spread evenly over what may be speech.

    The sample depends on the signal alone, not on its blocks. It holds everything but silence up to 32 s.
    """

    def __init__(self) -> None:
        self._tiers = [_Tier() for _ in range(len(LIVELY) + 1)]
        self._buffer = np.zeros(SEGMENT, np.float32)
        self._filled = 0
        self._index = 0

    def add(self, block: Array) -> None:
        """Take the next samples at 22,050 Hz, shape ``(N,)``, N of any size."""
        while len(block):
            count = min(len(block), SEGMENT - self._filled)
            self._buffer[self._filled : self._filled + count] = block[:count]
            self._filled, block = self._filled + count, block[count:]
            if self._filled == SEGMENT:
                self._take(self._buffer)
                self._filled, self._index = 0, self._index + 1

    def _take(self, wave: Array) -> None:
        levels = _block_levels(wave)
        if levels.max(initial=0.0) <= SILENCE:
            return
        tier = self._tiers[int(np.searchsorted(LIVELY, _liveliness(wave)))]
        tier.add(self._index, wave.copy())
        if sum(len(t.kept) for t in self._tiers) > MOST_SEGMENTS:
            next(t for t in self._tiers if t.kept).thin()

    def segments(self) -> list[Array]:
        """The kept waves at their own level, in order; neighbours are joined. Shapes ``(N,)``, float32."""
        return [np.concatenate([wave for _, wave, _ in run]) for run in self._runs()]

    def weights(self) -> list[Array]:
        """How many samples of the recording each sample of `segments` stands for, in the same shapes."""
        return [np.concatenate([np.full(len(wave), weight) for _, wave, weight in run]) for run in self._runs()]

    def _runs(self) -> list[list[tuple[int, Array, float]]]:
        """Number, wave and weight of the kept segments that are not silent; neighbours stand in one list."""
        kept = sorted(((*item, tier.weight) for tier in self._tiers for item in tier.kept), key=lambda item: item[0])
        rest = self._buffer[: self._filled]
        if _block_levels(rest).max(initial=0.0) > SILENCE:
            kept.append((self._index, rest.copy(), 1.0))
        peaks = [_block_levels(wave).max() for _, wave, _ in kept]
        kept = [item for item, peak in zip(kept, peaks, strict=True) if peak > QUIETEST * max(peaks)]
        breaks = [i + 1 for i, (a, b) in enumerate(pairwise(kept)) if b[0] != a[0] + 1]
        return [kept[a:b] for a, b in pairwise([0, *breaks, len(kept)]) if b > a]


def _block_levels(wave: Array) -> NDArray[np.float64]:
    """RMS of each block of 23 ms."""
    blocks = wave[: len(wave) // BLOCK * BLOCK].reshape(-1, BLOCK)
    return np.sqrt(np.square(blocks, dtype=np.float64).mean(1))


def _liveliness(wave: Array) -> float:
    """Standard deviation of the level in dB. The first difference keeps rumble out."""
    levels = 20 * np.log10(np.maximum(_block_levels(np.diff(wave)), 1e-9))
    return float(np.maximum(levels, levels.max() - LEVEL_RANGE).std())


@dataclass(frozen=True)
class Frames:
    """Frames of a recording's sample, with what is speech among them.

    Attributes:
        mel: log-mel (80, T).
        pitch: F0 in Hz (T,), 0 where unvoiced.
        lengths: number of frames of each contiguous piece.
        active: frames within 30 dB of the networks' level (T,).
        likelihood: of speech, between 0 and 1 (T,).
    """

    mel: Array
    pitch: Array
    lengths: list[int]
    active: NDArray[np.bool_]
    likelihood: Array

    @property
    def speech(self) -> NDArray[np.bool_]:
        """Frames of speech (T,), voiced and unvoiced."""
        return self.likelihood > LIKELY

    @property
    def spoken(self) -> NDArray[np.bool_]:
        """Active frames within 0.5 s of speech (T,): what describes the speaker.

        Where something else is so much louder that little speech counts as active, all frames near speech.
        """
        spoken = self.active & self.near_speech
        return spoken if spoken.sum() >= LEAST_ACTIVE * self.speech.sum() else self.near_speech

    @cached_property
    def near_speech(self) -> NDArray[np.bool_]:
        """Frames within 0.5 s of speech in the same piece (T,)."""
        kernel, found = np.ones(2 * NEAR + 1), np.zeros(len(self.pitch), bool)
        for piece in self.pieces():
            found[piece] = np.convolve(self.speech[piece], kernel)[NEAR:-NEAR] > 0
        return found

    def pieces(self) -> list[slice]:
        """The frames of each contiguous piece."""
        edges = np.cumsum([0, *self.lengths])
        return [slice(int(a), int(b)) for a, b in pairwise(edges)]


def seconds(mask: NDArray[np.bool_]) -> float:
    """Duration of the frames in a mask."""
    return float(mask.sum()) * MEL.hop_length / MEL.sample_rate


def spoken_seconds(frames: Frames, weights: Sequence[Array]) -> float:
    """Duration of what describes the speaker in the whole recording, where there is speech.

    Args:
        weights: see `SpeechSampler.weights`.
    """
    parts = [piece[:: MEL.hop_length] for weight in weights for piece in pieces(weight)]
    counted = np.concatenate([part[:length] for part, length in zip(parts, frames.lengths, strict=True)])
    return seconds(frames.spoken) * float(counted[frames.speech].mean())  # noise beside it may have other weights


def analyse(bundle: Bundle, segments: Sequence[Array], gain: float) -> Frames:
    """Mel, pitch and speech likelihood of waves at 22,050 Hz, brought to the networks' level by `gain`."""
    waves = [piece * np.float32(gain) for wave in segments for piece in pieces(wave)]
    mels = [log_mel(wave) for wave in waves]
    pitches = bundle.pitches(mels)
    mel = np.concatenate([np.zeros((MEL.n_mels, 0), np.float32), *mels], axis=1)
    pitch = np.concatenate([np.zeros(0, np.float32), *pitches])
    lengths = [m.shape[1] for m in mels]
    active = np.concatenate([np.zeros(0, bool), *(_active(wave) for wave in waves)])
    for least in LEAST_FRAMES if mel.shape[1] <= SHORT else LEAST_FRAMES[:2]:
        frames = Frames(mel, pitch, lengths, active, speech_likelihood(mel, pitch, lengths, least))
        if frames.speech.any():
            break
    return frames


def _active(wave: Array) -> NDArray[np.bool_]:
    """Frames of a wave at the networks' level that are within 30 dB of it."""
    hops = wave[: len(wave) // MEL.hop_length * MEL.hop_length].reshape(-1, MEL.hop_length)
    return np.asarray(np.sqrt(np.square(hops).mean(1)) > ACTIVE_RANGE * TARGET_LEVEL)


def pieces(wave: Array) -> list[Array]:
    """A wave at 22,050 Hz in pieces of 10 s, as `analyse` reads it; the last one is up to half longer, or shorter."""
    cuts = range(PIECE, len(wave) - PIECE // 2, PIECE)
    return [piece for piece in np.split(wave, list(cuts)) if len(piece) >= SHORTEST_PIECE]


def speech_likelihood(mel: Array, pitch: Array, lengths: Sequence[int], least: int = LEAST_FRAMES[0]) -> Array:
    """How likely the second around each frame is speech; 0 for quiet frames.

    Args:
        mel: log-mel (80, T).
        pitch: F0 in Hz (T,), 0 where unvoiced.
        lengths: number of frames of each contiguous piece.
        least: voiced frames that a window needs.
    Returns:
        (T,), between 0 and 1.
    """
    if mel.shape[1] < 2 * STEP + 1:
        return np.zeros(len(pitch), np.float32)
    loudness = np.log(np.exp(mel).mean(0))
    top = np.percentile(loudness, 95)
    loud = loudness > top - LOUD_RANGE
    wide = (mel > mel.max(0) - WIDE_RANGE).mean(0) >= LEAST_WIDE
    judged = loud & wide & _voiced_around(pitch, lengths)
    floored = np.maximum(mel, top - FLOOR_RANGE)
    envelope = lowpass(floored, COSINES + 1) - lowpass(floored, 1)  # without the level
    change = np.sqrt(np.square(_difference(envelope)).sum(0) / COSINES)
    slope = np.abs(_difference(12 * np.log2(np.maximum(pitch, 1.0)))) * MEL.sample_rate / (2 * STEP * MEL.hop_length)
    low_change, low_slope = (_lower_quartile(x, judged, least) for x in (change, slope))
    swing = _swing(np.maximum(loudness, top - WIDE_RANGE)) * DECIBELS
    score = BIAS + CHANGE_WEIGHT * np.log(np.maximum(low_change, TINY))
    score += SLOPE_WEIGHT * np.log(np.clip(low_slope, TINY, MOST_SLOPE))
    score += SWING_WEIGHT * np.log(np.clip(swing, TINY, MOST_SWING))
    return np.where(loud, np.repeat(1 / (1 + np.exp(-score)), HOP)[: len(pitch)], 0.0).astype(np.float32)


def _voiced_around(pitch: Array, lengths: Sequence[int]) -> NDArray[np.bool_]:
    """Frames whose neighbours within `STEP` are all voiced and of the same piece."""
    voiced = pitch > 0
    edges = np.cumsum(lengths)
    voiced[edges - 1] = voiced[edges[:-1]] = voiced[0] = False
    around = np.convolve(voiced, np.ones(2 * STEP + 1), "same") > 2 * STEP
    return np.asarray(around)


def _difference(x: Array) -> Array:
    """Change from `STEP` frames before to `STEP` frames after each frame (..., T)."""
    padded = np.concatenate([x[..., :1]] * STEP + [x] + [x[..., -1:]] * STEP, axis=-1)
    return padded[..., 2 * STEP :] - padded[..., : -2 * STEP]


def _lower_quartile(x: NDArray[np.floating[Any]], judged: NDArray[np.bool_], least: int) -> Array:
    """Of the judged frames in each window of 1 s; 0 where they are fewer than `least`. Shape (ceil(T / HOP),).

    Changes from note to note are large but rare, so the quartile leaves them out.
    """
    padded = np.pad(np.where(judged, x, np.inf), HALF_WINDOW, constant_values=np.inf)
    ordered = np.sort(np.lib.stride_tricks.sliding_window_view(padded, 2 * HALF_WINDOW + 1)[::HOP], axis=1)
    count = np.isfinite(ordered).sum(1)
    return np.where(count >= least, ordered[np.arange(len(ordered)), count // 4], 0.0)


def _swing(x: Array) -> Array:
    """Standard deviation in each window of 1 s, (ceil(T / HOP),)."""
    padded = np.pad(x, HALF_WINDOW, mode="edge")
    return np.asarray(np.lib.stride_tricks.sliding_window_view(padded, 2 * HALF_WINDOW + 1)[::HOP].std(1))

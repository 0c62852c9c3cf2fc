"""What speaks against a recording: too little speech, a narrow band, clipping, noise, more than one speaker."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from .mel import MEL, Array, hz_to_mel
from .speech import Frames, seconds

LEAST_SPEECH = 0.3  # seconds
# Music and the like hold little speech by the likelihood: 94 % of 300 sounds stay below both, none of 1,080 clips does.
LEAST_SHARE, ENOUGH_SPEECH = 0.1, 2.0  # of the active frames; seconds that are enough at any share
SHORT, WISHED = 1.0, 3.0  # seconds of speech in a reference: fewer are warned about; the advice

BELOW_4K, ABOVE_4K = (300.0, 3400.0), (4300.0, 7000.0)  # Hz
NARROW = -5.0  # natural log of the loud ends' ratio: 99 % of wide-band clips lie above -2.9, of 8 kHz below -7.2
NOISE_QUANTILE = 5  # percent of the frames near speech: their level is the noise
NOISY = 14.0  # dB: 99 % of clean clips lie above 15; speech with noise at 10 dB below 16, at 5 dB below 12
CLIP_STEPS = np.arange(-20.0, 0.01, 0.25)  # dB below the peak, the edges of a histogram of magnitudes
CLIP_WINDOW = 4  # steps (1 dB) that a plateau is wide; resampling makes it ripple
CLIP_SHARE = 3e-4  # least share of the samples on a plateau
CLIPPED = 1.45  # times the density below: 99.5 % of clean clips lie below; 10 dB of clipping lies above (95 %)

TURN = 172  # frames (2 s) of which one speaker embedding is computed to tell speakers apart
LEAST_TURNS = 2  # of each speaker
# Cosine of two groups of windows. All of 140 joined files of one speaker lie above. All of 140
# files of two speakers lie below.
APART = 0.5
# Cosine of two recordings' embeddings. Of one person 99.8 % lie above; of two people 85 % lie below.
STRANGERS = 0.25
LEAST_COMPARED = 2.0  # seconds of speech whose embedding is certain enough


def holds_speech(frames: Frames) -> bool:
    """Whether there is a voice in a recording at all."""
    spoken = seconds(frames.speech)
    voiced = (frames.pitch[frames.speech] > 0).any()
    enough = spoken >= min(ENOUGH_SPEECH, LEAST_SHARE * seconds(frames.active))
    return bool(spoken >= LEAST_SPEECH and voiced and enough)


def judge_reference(label: str, segments: Sequence[Array], frames: Frames, turns: Array) -> list[str]:
    """Warnings about a reference, plain sentences.

    Args:
        label: of the recording.
        segments: waves (N,) at the recording's level.
        frames: their analysis; it holds speech.
        turns: speaker embeddings of 2 s each, (n, S).
    """
    found = []
    spoken, ratio = seconds(frames.speech), signal_to_noise(frames)
    if spoken < SHORT:
        found.append(f"{label} holds {spoken:.1f} s of speech; {WISHED:.0f} s or more sound closer to the voice")
    if is_narrow(frames):
        found.append(f"{label} holds nothing above 4 kHz, like a telephone call; a wide-band one sounds closer")
    if is_clipped(segments):
        found.append(f"{label} is clipped; a recording at a lower level sounds closer to the voice")
    if ratio < NOISY:
        found.append(f"{label} is noisy, about {ratio:.0f} dB below the speech; a quiet one sounds closer to the voice")
    if speakers_apart(turns):
        found.append(f"{label}: more than one person seems to speak; the voice becomes a mixture of them")
    return found


def judge_together(embeddings: Sequence[Array], spoken: Sequence[float]) -> list[str]:
    """Warnings about the references of one voice, plain sentences.

    Args:
        embeddings: of unit length (S,), one a recording.
        spoken: seconds of speech in each.
    """
    compared = [e for e, length in zip(embeddings, spoken, strict=True) if length >= LEAST_COMPARED]
    if not compared or np.min(np.stack(compared) @ np.stack(compared).T) >= STRANGERS:
        return []
    return ["the references seem to be of different people; the voice becomes a mixture of them"]


def judge_source(frames: Frames, turns: Array) -> list[str]:
    """Warnings about a source, plain sentences; see `judge_reference` for the arguments."""
    if not holds_speech(frames):
        return ["no speech was found in the source; its pitch stays as it is"]
    if speakers_apart(turns):
        return ["more than one person seems to speak in the source; they all get the same voice and pitch shift"]
    return []


def is_narrow(frames: Frames) -> bool:
    """Whether speech stops at 4 kHz, as that of telephones does."""
    centres = np.linspace(hz_to_mel(MEL.fmin), hz_to_mel(MEL.fmax), MEL.n_mels + 2)[1:-1]
    loud = []
    for low, high in (ABOVE_4K, BELOW_4K):
        band = frames.mel[(centres > hz_to_mel(low)) & (centres < hz_to_mel(high))]
        loud.append(np.percentile(band[:, frames.speech].mean(0), 98))
    return bool(loud[0] - loud[1] < NARROW)


def signal_to_noise(frames: Frames) -> float:
    """Level of the speech in dB above that of the quietest frames around it."""
    power = np.square(np.exp(frames.mel.astype(np.float64))).mean(0)
    noise = np.percentile(power[frames.near_speech], NOISE_QUANTILE)
    return float(10 * np.log10(power[frames.speech].mean() / noise))


def is_clipped(segments: Sequence[Array]) -> bool:
    """Whether magnitudes gather at a level near the peak: then their density has a bump there."""
    magnitude = np.abs(np.concatenate(list(segments)))
    decibels = 20 * np.log10(np.maximum(magnitude, 1e-9) / max(magnitude.max(), 1e-9))
    count = np.convolve(np.histogram(decibels, CLIP_STEPS)[0], np.ones(CLIP_WINDOW), "valid")
    at = np.arange(3 * CLIP_WINDOW, len(count))
    below = np.mean([count[at - k * CLIP_WINDOW] for k in (1, 2, 3)], axis=0)
    plateau = (count[at] > CLIPPED * np.maximum(below, 1.0)) & (count[at] >= CLIP_SHARE * len(magnitude))
    return bool(plateau.any())


def speakers_apart(turns: Array) -> bool:
    """Whether speaker embeddings (n, S) fall into two groups that no single speaker gives."""
    if len(turns) < 2 * LEAST_TURNS:
        return False
    unit = turns / np.linalg.norm(turns, axis=1, keepdims=True)
    similarity = unit @ unit.T
    first, second = np.unravel_index(similarity.argmin(), similarity.shape)
    centres = unit[[first, second]]
    for _ in range(5):  # two-means on the sphere; it settles in two or three rounds
        group = (unit @ centres.T).argmax(1)
        if np.bincount(group, minlength=2).min() < LEAST_TURNS:
            return False
        centres = np.stack([unit[group == k].sum(0) for k in (0, 1)])
        centres /= np.linalg.norm(centres, axis=1, keepdims=True)
    return bool(centres[0] @ centres[1] < APART)

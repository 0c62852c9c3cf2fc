"""From recordings to a voice: speaker embedding, median pitch, and frames for retrieval.

A reference and a source pass through the same analysis. It reads a bounded sample, so length costs no memory.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from .audio.level import TARGET_LEVEL, LevelMeter
from .bundle import Bundle
from .errors import InputError
from .judgement import LEAST_TURNS, TURN, holds_speech, judge_reference, judge_source
from .mel import MEL, Array
from .speech import Frames, SpeechSampler, analyse, spoken_seconds
from .voice import MOST_FRAMES, Voice, evenly_spaced

SHORTEST_WINDOW = 16  # frames below which a speaker embedding means nothing
SPEAKER_WINDOW = 344  # frames (4 s) of a reference of which one speaker embedding is computed
MOST_TURNS = 6  # windows of 2 s among which speakers are distinguished
SOURCE_WINDOWS = 2  # windows of 4 s that describe the source speaker
SOURCE_FRAMES = 430  # frames (5 s) of the source for retrieval: 18 ms of content encoding
SHORTEST_REFERENCE = 0.35  # seconds below which no speech can be found

Warn = Callable[[str], None]


def encode_voice(
    bundle: Bundle, read: Callable[[], Iterator[Array]], label: str, name: str, warn: Warn | None = None
) -> Voice:
    """A voice from blocks of samples at 22,050 Hz.

    Args:
        read: starts the blocks; they are read once.
        label: of the recording in messages.
        name: of the recording in the voice.
        warn: receives each warning about the recording, a plain sentence.
    Raises:
        InputError: silent, or without speech.
    """
    meter, sampler = LevelMeter(), SpeechSampler()
    for block in read():
        meter.add(block)
        sampler.add(block)
    if meter.level == 0.0:
        raise InputError(f"{label} is silent; give a reference with speech")
    segments = sampler.segments()
    if (length := sum(map(len, segments)) / MEL.sample_rate) < SHORTEST_REFERENCE:
        raise InputError(f"{label} holds only {length:.1f} s of sound; give a reference of 3 s or more")
    frames = analyse(bundle, segments, TARGET_LEVEL / meter.level)
    if not holds_speech(frames):
        raise InputError(
            f"{label} is not a voice: no speech was found in it; give a reference in which somebody speaks"
        )
    keys, mel = _retrieval_frames(bundle, frames, MOST_FRAMES)  # first: the speaker encoder may still be loading
    embedding = speaker_embedding(bundle, frames.mel[:, frames.spoken])
    if warn:
        for sentence in judge_reference(label, segments, frames, turns(bundle, frames)):
            warn(sentence)
    duration = spoken_seconds(frames, sampler.weights())
    return Voice(embedding, keys, mel, _median_pitch(frames), bundle.fingerprint, duration, [name])


def analyse_source(bundle: Bundle, frames: Frames, target: Voice) -> tuple[Voice | None, list[str]]:
    """The source speaker's voice, None where there is no speech, and warnings about the source: plain sentences.

    Only guidance looks at more than its pitch; without guidance the rest stays the target's.

    Args:
        frames: of the source, see `analyse`.
        target: gives what a voice holds besides.
    """
    return _source(bundle, frames, target), judge_source(frames, turns(bundle, frames))


def _source(bundle: Bundle, frames: Frames, target: Voice) -> Voice | None:
    if not holds_speech(frames):
        return None
    source = replace(target, pitch=_median_pitch(frames), adapter=None)
    if not bundle.config.guidance:
        return source
    keys, mel = _retrieval_frames(bundle, frames, SOURCE_FRAMES)
    embedding = speaker_embedding(bundle, frames.mel[:, frames.spoken], SOURCE_WINDOWS)
    return replace(source, embedding=embedding, keys=keys, mel=mel)


def speaker_embedding(bundle: Bundle, mel: Array, most: int | None = None) -> Array:
    """Speaker embedding (S,) of speech frames (80, T), of unit length: the mean over windows of at most 4 s.

    Args:
        most: windows that are embedded, spread evenly; None: all.
    """
    windows = np.array_split(mel, -(-mel.shape[1] // SPEAKER_WINDOW), axis=1)
    windows = [windows[k] for k in evenly_spaced(len(windows), most or len(windows))]
    total = np.array([window.shape[1] for window in windows]) @ bundle.speakers(windows)
    return np.asarray(total / np.linalg.norm(total), np.float32)


def turns(bundle: Bundle, frames: Frames) -> Array:
    """Speaker embeddings of 2 s of speech each, spread evenly, in order: (n, S), n at most 6."""
    spoken = np.flatnonzero(frames.spoken)
    count = min(MOST_TURNS, len(spoken) // TURN)
    if count < 2 * LEAST_TURNS:
        return np.zeros((0, 0), np.float32)
    starts = np.linspace(0, len(spoken) - TURN, count).round().astype(int)
    return bundle.speakers([frames.mel[:, spoken[start : start + TURN]] for start in starts])


def _median_pitch(frames: Frames) -> float:
    """Hz, of the voiced speech frames."""
    pitch = frames.pitch[frames.speech]
    return float(np.median(pitch[pitch > 0]))


def _retrieval_frames(bundle: Bundle, frames: Frames, most: int) -> tuple[Array, Array]:
    """Content (C, n) and log-mel (80, n) of frames near speech, spread evenly; n is at most `most`."""
    wanted = frames.near_speech
    share = min(1.0, most / wanted.sum())
    spans = [_densest(wanted, piece, share) for piece in frames.pieces() if wanted[piece].any()]
    keys = np.concatenate([bundle.content(_even(frames.mel[:, s]))[:, : s.stop - s.start] for s in spans], axis=1)
    mel, wanted = (np.concatenate([x[..., s] for s in spans], axis=-1) for x in (frames.mel, wanted))
    kept = np.flatnonzero(wanted)[evenly_spaced(int(wanted.sum()), most)]
    return keys[:, kept], mel[:, kept]


def _densest(wanted: NDArray[np.bool_], piece: slice, share: float) -> slice:
    """The stretch that covers `share` of a piece and holds most of the wanted frames."""
    length = piece.stop - piece.start
    size = min(length, max(SHORTEST_WINDOW, round(share * length)))
    count = np.convolve(wanted[piece], np.ones(size), "valid")
    start = piece.start + int(count.argmax())
    return slice(start, start + size)


def _even(mel: Array) -> Array:
    """The content encoder reads pairs of frames."""
    return np.pad(mel, ((0, 0), (0, mel.shape[1] % 2)), mode="edge")

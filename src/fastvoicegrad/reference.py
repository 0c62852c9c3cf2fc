"""From recordings to a voice: speaker embedding, median pitch, and frames for retrieval."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, replace

import numpy as np

from .audio.level import ACTIVE_RANGE, TARGET_LEVEL, level_of_blocks
from .bundle import Bundle
from .errors import InputError
from .mel import MEL, Array, log_mel
from .postfilter import speech_probability
from .voice import MOST_FRAMES, Voice, evenly_spaced

BLOCK_SAMPLES = 10 * MEL.sample_rate  # of a reference that are encoded at once
SHORTEST_BLOCK = 2 * MEL.n_fft  # samples below which a block is left out
LEAST_VOICED = 0.15  # share of a reference's active frames; below it there is no speech
LEAST_SPEECH = 0.3  # seconds
SHORTEST_WINDOW = 16  # frames below which a speaker embedding means nothing
SPEAKER_WINDOW = 344  # frames (4 s) of which one speaker embedding is computed


@dataclass(frozen=True)
class _Block:
    """Of one block of a reference.

    Attributes:
        embedding: sum over its active frames of their windows' speaker embeddings, (S,).
        active: number of active frames.
        pitch: F0 in Hz of the voiced active frames.
        keys, mel: content (C, N) and log-mel (80, N) of the frames that are kept for retrieval.
    """

    embedding: Array
    active: int
    pitch: Array
    keys: Array
    mel: Array


def encode_voice(bundle: Bundle, read: Callable[[], Iterator[Array]], label: str, name: str) -> Voice:
    """A voice from blocks of samples at 22,050 Hz.

    Args:
        read: starts the blocks again: they are read once for the level and once for the sound.
        label: of the recording in messages.
        name: of the recording in the voice.
    Raises:
        InputError: silent, or without speech.
    """
    level = level_of_blocks(read())
    if level == 0.0:
        raise InputError(f"{label} is silent; give a reference with speech")
    gain = np.float32(TARGET_LEVEL / level)
    encoded = (_encode_block(bundle, block * gain) for block in _regroup(read(), BLOCK_SAMPLES))
    parts = [part for part in encoded if part is not None]
    active, pitch = sum(part.active for part in parts), np.concatenate([np.zeros(0), *(p.pitch for p in parts)])
    seconds = active * MEL.hop_length / MEL.sample_rate
    if seconds < LEAST_SPEECH or len(pitch) < LEAST_VOICED * active:
        raise InputError(f"{label}: no speech was found in it; give a reference in which somebody speaks")
    total = np.sum([part.embedding for part in parts], axis=0)
    keys = np.concatenate([part.keys for part in parts], axis=1)
    mel = np.concatenate([part.mel for part in parts], axis=1)
    kept = evenly_spaced(mel.shape[1], MOST_FRAMES)
    embedding = (total / np.linalg.norm(total)).astype(np.float32)
    median = float(np.median(pitch))
    return Voice(embedding, keys[:, kept], mel[:, kept], median, bundle.fingerprint, seconds, [name])


def _encode_block(bundle: Bundle, wave: Array) -> _Block | None:
    """The speech in a block; None where there is none."""
    if len(wave) < SHORTEST_BLOCK:
        return None
    mel = log_mel(wave)
    hops = wave[: len(wave) // MEL.hop_length * MEL.hop_length].reshape(-1, MEL.hop_length)
    active = np.flatnonzero(np.sqrt(np.square(hops).mean(1)) > ACTIVE_RANGE * TARGET_LEVEL)
    if len(active) < SHORTEST_WINDOW:
        return None
    keys, pitch = bundle.content(_even(mel)), bundle.pitch(mel)[active]
    parts = np.array_split(mel[:, active], -(-len(active) // SPEAKER_WINDOW), axis=1)
    embeddings = [bundle.speaker(part) * part.shape[1] for part in parts]
    kept = evenly_spaced(mel.shape[1], MOST_FRAMES)
    return _Block(np.sum(embeddings, axis=0), len(active), pitch[pitch > 0], keys[:, kept], mel[:, kept])


def source_speaker(bundle: Bundle, mel: Array, target: Voice, most: int) -> Voice | None:
    """The source speaker's voice from the first `most` speech frames of a mel (80, T); None where there are too few.

    All frames serve retrieval; only speech frames give the embedding. A source that is never voiced gets the target's
    pitch.
    """
    speech = np.flatnonzero(speech_probability(mel)[0] > 0.5)[:most]
    if len(speech) < SHORTEST_WINDOW:
        return None
    mel = mel[:, : speech[-1] + 1]
    keys, pitch = bundle.content(_even(mel)), bundle.pitch(mel)[speech]
    voiced = pitch[pitch > 0]
    embedding = bundle.speaker(mel[:, speech])
    kept = evenly_spaced(mel.shape[1], MOST_FRAMES)
    median = float(np.median(voiced)) if len(voiced) else target.pitch
    return replace(target, embedding=embedding, keys=keys[:, kept], mel=mel[:, kept], pitch=median)


def _even(mel: Array) -> Array:
    """The content encoder reads pairs of frames."""
    return np.pad(mel, ((0, 0), (0, mel.shape[1] % 2)), mode="edge")


def _regroup(blocks: Iterable[Array], size: int) -> Iterator[Array]:
    """The same samples in blocks of `size`; the last one is up to half longer, or shorter."""
    rest = np.zeros(0, np.float32)
    for block in blocks:
        rest = np.concatenate([rest, block])
        while len(rest) >= size + size // 2:
            yield rest[:size]
            rest = rest[size:]
    yield rest

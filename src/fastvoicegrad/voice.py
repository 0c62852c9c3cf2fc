"""A voice: a speaker embedding, a median pitch, frames for retrieval, and perhaps an adapter."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np

from .errors import InputError
from .files import shown
from .mel import MEL, Array
from .voice_file import (
    AGAIN,
    HIGHEST_PITCH,
    LONGEST_DESCRIPTION,
    LONGEST_SOURCE,
    LOWEST_PITCH,
    MOST_CHANNELS,
    MOST_FRAMES,
    MOST_SOURCES,
    About,
    Adapter,
    read_voice,
    storable,
    write_voice,
)

LARGEST_OFFSET = 100.0  # of an adapter's values; trained ones stay below 10
LOWEST_MEL, HIGHEST_MEL = -30.0, 10.0  # natural log; the front-end's floor is -11.5
UNIT_TOLERANCE = 1e-2  # of an embedding's length: half precision is nearer


@dataclass(frozen=True, eq=False)
class Voice:
    """A target voice.

    Attributes:
        embedding: speaker embedding ``(S,)`` of unit length.
        keys: content embedding ``(C, N)`` of the frames for retrieval.
        mel: log-mel ``(80, N)`` of the same frames.
        pitch: median F0 in Hz.
        encoder: fingerprint of the encoders that made it; it fits only bundles with the same ones.
        seconds: of speech in all references together.
        sources: names of the references.
        description: a line for people.
        recordings: file names of the references that a library keeps; see `library.VoiceLibrary.add`.
        adapter: what `fastvoicegrad adapt` learnt of the voice; it fits one bundle only. None: nothing.
    """

    embedding: Array
    keys: Array
    mel: Array
    pitch: float
    encoder: str
    seconds: float
    sources: list[str] = field(default_factory=list)
    description: str = ""
    recordings: list[str] = field(default_factory=list)
    adapter: Adapter | None = None

    def check(self) -> None:
        """Raises InputError where a shape or a value is none of a voice's."""
        problem = _problem(self)
        if problem:
            raise InputError(f"the voice is damaged ({problem}); {AGAIN}")

    def save(self, path: str | Path, most_frames: int = MOST_FRAMES) -> None:
        """Write a ``.voice`` file: safetensors in half precision, about 0.45 kB a frame.

        Args:
            most_frames: that are kept for retrieval, spread evenly.
        Raises:
            InputError: the file cannot be written, or the voice is damaged.
        """
        self.check()
        if most_frames < 1:
            raise InputError(f"a voice keeps 1 to {MOST_FRAMES} frames, not {most_frames}")
        about = About(
            float(self.pitch),
            self.encoder,
            float(self.seconds),
            [storable(source, LONGEST_SOURCE) for source in self.sources[:MOST_SOURCES]],
            storable(self.description, LONGEST_DESCRIPTION),
            self.recordings,
        )
        kept = evenly_spaced(self.mel.shape[1], most_frames)
        arrays: dict[str, np.ndarray] = {
            "embedding": self.embedding.astype(np.float32),
            "keys": self.keys[:, kept].astype(np.float16),
            "mel": self.mel[:, kept].astype(np.float16),
        }
        write_voice(path, about, arrays, self.adapter)

    @classmethod
    def load(cls, path: str | Path) -> Voice:
        """Read a ``.voice`` file.

        Raises:
            InputError: missing, damaged, or of another format.
        """
        about, arrays, adapter = read_voice(path)
        voice = cls(
            _of_unit_length(arrays["embedding"]),
            arrays["keys"],
            arrays["mel"],
            about.pitch,
            about.encoder,
            about.seconds,
            about.sources,
            about.description,
            about.recordings,
            adapter,
        )
        if problem := _problem(voice):
            raise InputError(f"{shown(path)} is damaged ({problem}); {AGAIN}")
        return voice


def _problem(voice: Voice) -> str:
    """What is wrong with a voice's shapes and values; empty where all is right."""
    embedding, keys, mel = voice.embedding, voice.keys, voice.mel
    if not (embedding.ndim == 1 and keys.ndim == mel.ndim == 2 and keys.shape[1] == mel.shape[1]):
        return "its arrays do not fit together"
    if not (1 <= len(embedding) <= MOST_CHANNELS and 1 <= len(keys) <= MOST_CHANNELS and len(mel) == MEL.n_mels):
        return "its arrays have other sizes"
    if not 1 <= mel.shape[1] <= MOST_FRAMES:
        return f"it has {mel.shape[1]} frames, not 1 to {MOST_FRAMES}"
    if not all(np.isfinite(x).all() for x in (embedding, keys, mel)):
        return "it has values that are not finite"
    if not LOWEST_MEL <= mel.min() <= mel.max() <= HIGHEST_MEL:
        return "its mel is out of range"
    if not abs(float(np.linalg.norm(embedding)) - 1) <= UNIT_TOLERANCE:
        return "its embedding is not of unit length"
    if not LOWEST_PITCH <= voice.pitch <= HIGHEST_PITCH:
        return "its pitch is out of range"
    adapters = [one for one in (voice.adapter, voice.adapter and voice.adapter.stream) if one]
    if not all(_usable(one.values) for one in adapters):
        return "its adapter is out of range"
    return "" if 0 <= voice.seconds < 1e7 else "its duration is out of range"


def _usable(adapter: Array) -> bool:
    return adapter.ndim == 1 and bool((np.abs(adapter) <= LARGEST_OFFSET).all())  # not a number: false


def _of_unit_length(embedding: Array) -> Array:
    """An embedding without the rounding of its file; one that is none stays as it is."""
    length = float(np.linalg.norm(embedding)) if embedding.ndim == 1 else 0.0
    return (embedding / np.float32(length)).astype(np.float32) if abs(length - 1) <= UNIT_TOLERANCE else embedding


def evenly_spaced(frames: int, most: int) -> np.ndarray:
    """Indices of at most `most` out of `frames` frames."""
    return np.linspace(0, frames - 1, min(frames, most)).round().astype(int)


def pool(voices: list[Voice], weights: Sequence[float] | None = None) -> Voice:
    """One voice from several: weighted means of embeddings and pitches, and a share of each voice's frames.

    The weight of a voice is its speech duration times its entry in `weights`. Different speakers blend. An adapted
    voice stands alone: its adapter is trained for that voice and for no mixture.

    Raises:
        InputError: nothing to pool, made by different encoders, weights that do not fit, or an adapted voice among
            several.
    """
    if not voices:
        raise InputError("no reference was given; name at least one recording or .voice file")
    if len(voices) > 1 and any(voice.adapter for voice in voices):
        raise InputError("an adapted voice cannot be mixed with others; name it alone")
    if len({v.encoder for v in voices}) > 1:
        raise InputError("the voices were made by different bundles; make them again with one")
    for voice in voices:
        voice.check()
    if len({(len(v.embedding), len(v.keys)) for v in voices}) > 1:
        raise InputError("the voices are of different sizes; make them again with one bundle")
    weights = [1.0] * len(voices) if weights is None else weights
    if len(weights) != len(voices):
        raise InputError(f"{len(voices)} references need as many weights, got {len(weights)}")
    if min(weights) < 0 or not sum(weights) > 0 or not math.isfinite(sum(weights)):
        raise InputError("weights must not be negative, and not all 0")
    shares = np.array([w * v.seconds for v, w in zip(voices, weights, strict=True)])
    if not 0 < shares.sum() < math.inf:
        raise InputError("the voices hold no speech with these weights; give other ones")
    shares /= shares.sum()
    total = sum(s * v.embedding for v, s in zip(voices, shares, strict=True))
    if not np.linalg.norm(total) > UNIT_TOLERANCE:
        raise InputError("the voices cancel each other; give other weights")
    # The largest number of frames of which every voice can fill its share.
    frames = min(v.mel.shape[1] / s for v, s in zip(voices, shares, strict=True) if s > 0)
    most = min(frames, MOST_FRAMES)
    counts = np.diff(np.round(most * np.cumsum(shares)), prepend=0).astype(int)  # together at most `most`
    kept = [evenly_spaced(v.mel.shape[1], count) for v, count in zip(voices, counts, strict=True)]
    return Voice(
        np.asarray(total / np.linalg.norm(total), dtype=np.float32),
        np.concatenate([v.keys[:, k] for v, k in zip(voices, kept, strict=True)], axis=1),
        np.concatenate([v.mel[:, k] for v, k in zip(voices, kept, strict=True)], axis=1),
        math.exp(sum(s * math.log(v.pitch) for v, s in zip(voices, shares, strict=True))),
        voices[0].encoder,
        sum(v.seconds for v in voices),
        [s for v in voices for s in v.sources],
        description=voices[0].description if len(voices) == 1 else "",
        adapter=voices[0].adapter,
    )


def blend(voices: list[Voice], weights: Sequence[float]) -> Voice:
    """One voice between several. Unlike in `pool`, only the weights count, not how much speech a voice holds.

    Raises:
        InputError: see `pool`.
    """
    pooled = pool([replace(voice, seconds=1.0) for voice in voices], weights)
    return replace(pooled, seconds=sum(voice.seconds for voice in voices))

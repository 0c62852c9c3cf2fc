"""A voice: a speaker embedding, a median pitch, frames for retrieval, and the file that keeps them."""

from __future__ import annotations

import io
import json
import math
import zipfile
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any

import msgspec
import numpy as np

from .archives import TooLargeError, read_from_zip
from .errors import InputError
from .files import regular_file, replacing, shown
from .mel import MEL, Array

FORMAT = 2
MOST_FRAMES = 2048  # frames (24 s) that a voice keeps for retrieval
MOST_CHANNELS = 1024  # of an embedding
LOWEST_PITCH, HIGHEST_PITCH = 20.0, 2000.0  # Hz
LOWEST_MEL, HIGHEST_MEL = -30.0, 10.0  # natural log; the front-end's floor is -11.5
UNIT_TOLERANCE = 1e-2  # of an embedding's length: half precision is nearer
MOST_SOURCES, LONGEST_SOURCE = 1000, 300  # names that a file keeps, characters of a name
MOST_TEXT, MOST_NUMBERS = 1 << 23, MOST_CHANNELS * MOST_FRAMES * 8 + 4096  # bytes in a part of the file
AGAIN = "make it again with 'fastvoicegrad voice make'"


class _About(msgspec.Struct, forbid_unknown_fields=True):
    """The part of a ``.voice`` file that is text."""

    format: int
    pitch: Annotated[float, msgspec.Meta(ge=LOWEST_PITCH, le=HIGHEST_PITCH)]
    encoder: Annotated[str, msgspec.Meta(max_length=64)]
    seconds: Annotated[float, msgspec.Meta(ge=0, lt=1e7)]
    sources: Annotated[
        list[Annotated[str, msgspec.Meta(max_length=LONGEST_SOURCE)]], msgspec.Meta(max_length=MOST_SOURCES)
    ]


@dataclass(frozen=True)
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
    """

    embedding: Array
    keys: Array
    mel: Array
    pitch: float
    encoder: str
    seconds: float
    sources: list[str] = field(default_factory=list)

    def check(self) -> None:
        """Raises InputError where a shape or a value is none of a voice's."""
        problem = _problem(self)
        if problem:
            raise InputError(f"the voice is damaged ({problem}); {AGAIN}")

    def save(self, path: str | Path) -> None:
        """Write a ``.voice`` file (NumPy's .npz, half precision, about 0.5 kB a frame).

        Raises:
            InputError: the file cannot be written, or the voice is damaged.
        """
        self.check()
        about = {
            "format": FORMAT,
            "pitch": float(self.pitch),
            "encoder": self.encoder,
            "seconds": float(self.seconds),
            "sources": [_storable(source) for source in self.sources[:MOST_SOURCES]],
        }
        with replacing(path) as part, part.open("wb") as file:
            np.savez(
                file,
                about=np.array(json.dumps(about)),
                embedding=self.embedding,
                keys=self.keys.astype(np.float16),
                mel=self.mel.astype(np.float16),
            )

    @classmethod
    def load(cls, path: str | Path) -> Voice:
        """Read a ``.voice`` file.

        Raises:
            InputError: missing, damaged, or of another format.
        """
        path = Path(path)
        regular_file(path)
        try:
            about = _about(path)
            embedding, keys, mel = (_numbers(path, name) for name in ("embedding", "keys", "mel"))
            voice = cls(_of_unit_length(embedding), keys, mel, about.pitch, about.encoder, about.seconds, about.sources)
            problem = _problem(voice)
        except _OtherFormat as error:
            raise InputError(f"{shown(path)} has format {error}, this version reads {FORMAT}; {AGAIN}") from error
        except (OSError, ValueError, msgspec.MsgspecError, RecursionError, zipfile.BadZipFile, TooLargeError) as error:
            raise InputError(f"{shown(path)} is damaged, or no voice; {AGAIN}") from error
        if problem:
            raise InputError(f"{shown(path)} is damaged ({problem}); {AGAIN}")
        return voice


class _OtherFormat(Exception):
    """A file of another format than this version's."""


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
    return "" if 0 <= voice.seconds < 1e7 else "its duration is out of range"


def _storable(source: str) -> str:
    """A name without what JSON cannot hold (file names need not be text)."""
    return source[:LONGEST_SOURCE].encode("utf-8", "replace").decode("utf-8")


def _about(path: Path) -> _About:
    array = _array(path, "about", MOST_TEXT)
    if array.ndim or array.dtype.kind != "U":
        raise ValueError("no text")
    raw = msgspec.json.decode(str(array))
    version = raw.get("format") if isinstance(raw, dict) else None
    if type(version) is int and version != FORMAT and 0 < version < 10**6:
        raise _OtherFormat(version)
    about = msgspec.convert(raw, _About)
    if about.format != FORMAT:
        raise ValueError("no format number")
    return about


def _numbers(path: Path, name: str) -> Array:
    array = _array(path, name, MOST_NUMBERS)
    if array.dtype.kind != "f" or array.dtype.itemsize > 8 or 0 in array.shape:
        raise ValueError("no numbers")
    with np.errstate(over="ignore"):
        return array.astype(np.float32)


def _of_unit_length(embedding: Array) -> Array:
    """An embedding without the rounding of its file; one that is none stays as it is."""
    length = float(np.linalg.norm(embedding)) if embedding.ndim == 1 else 0.0
    return (embedding / np.float32(length)).astype(np.float32) if abs(length - 1) <= UNIT_TOLERANCE else embedding


def _array(path: Path, name: str, most: int) -> np.ndarray[Any, Any]:
    """An array of an .npz file. Its header is read first: what it claims must be exactly what is there."""
    data = read_from_zip(path, f"{name}.npy", most)
    file = io.BytesIO(data)
    if np.lib.format.read_magic(file) != (1, 0):
        raise ValueError("another version of .npy")
    shape, fortran, dtype = np.lib.format.read_array_header_1_0(file, max_header_size=1000)
    if dtype.hasobject or dtype.names or not len(shape) <= 2 or not all(0 <= size <= most for size in shape):
        raise ValueError("not an array of numbers or text")
    if math.prod(shape) * dtype.itemsize != len(data) - file.tell():
        raise ValueError("its header claims another size")
    array = np.frombuffer(data, dtype, math.prod(shape), file.tell())
    return array.reshape(shape, order="F" if fortran else "C")


def evenly_spaced(frames: int, most: int) -> np.ndarray:
    """Indices of at most `most` out of `frames` frames."""
    return np.linspace(0, frames - 1, min(frames, most)).round().astype(int)


def pool(voices: list[Voice], weights: Sequence[float] | None = None) -> Voice:
    """One voice from several: weighted means of embeddings and pitches, and a share of each voice's frames.

    The weight of a voice is its speech duration times its entry in `weights`. Different speakers blend.

    Raises:
        InputError: nothing to pool, made by different encoders, or weights that do not fit.
    """
    if not voices:
        raise InputError("no reference was given; name at least one recording or .voice file")
    if len({v.encoder for v in voices}) > 1:
        raise InputError("the voices were made by different bundles; make them again with one")
    for voice in voices:
        voice.check()
    if len({(len(v.embedding), len(v.keys)) for v in voices}) > 1:
        raise InputError("the voices are of different sizes; make them again with one bundle")
    weights = [1.0] * len(voices) if weights is None else weights
    if len(weights) != len(voices) or min(weights) < 0 or not sum(weights) > 0 or not math.isfinite(sum(weights)):
        raise InputError(f"{len(voices)} references need as many weights, none negative and not all 0")
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
    )

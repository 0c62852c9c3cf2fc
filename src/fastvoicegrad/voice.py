"""A voice: a speaker embedding, a median pitch, frames for retrieval, and the file that keeps them."""

from __future__ import annotations

import json
import math
import zipfile
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from .errors import InputError
from .mel import Array

FORMAT = 2
MOST_FRAMES = 2048  # frames (24 s) that a voice keeps for retrieval


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

    def save(self, path: str | Path) -> None:
        """Write a ``.voice`` file (NumPy's .npz, half precision, about 0.5 kB a frame).

        Raises:
            InputError: the file cannot be written.
        """
        about = {name: getattr(self, name) for name in ("pitch", "encoder", "seconds", "sources")}
        part = Path(path).with_name(f".{Path(path).name}.part")
        try:
            with part.open("wb") as file:
                np.savez(
                    file,
                    about=np.array(json.dumps({"format": FORMAT} | about)),
                    embedding=self.embedding,
                    keys=self.keys.astype(np.float16),
                    mel=self.mel.astype(np.float16),
                )
            part.replace(path)
        except OSError as error:
            raise InputError(f"{path} cannot be written ({error.strerror}); choose another place") from error

    @classmethod
    def load(cls, path: str | Path) -> Voice:
        """Read a ``.voice`` file.

        Raises:
            InputError: missing, damaged, or of another format.
        """
        again = "make it again with 'fastvoicegrad voice make'"
        try:
            with Path(path).open("rb") as file, np.load(file, allow_pickle=False) as data:
                about = json.loads(str(data["about"]))
                embedding, keys, mel = (np.asarray(data[n], np.float32) for n in ("embedding", "keys", "mel"))
            version = about.pop("format")
            voice = cls(embedding, keys, mel, **about)
        except OSError as error:
            raise InputError(f"{path} cannot be read ({error.strerror}); give a .voice file") from error
        except (ValueError, KeyError, TypeError, AttributeError, EOFError, zipfile.BadZipFile) as error:
            raise InputError(f"{path} is not a voice of this version; {again}") from error
        if version != FORMAT:
            raise InputError(f"{path} has format {version}, this version reads {FORMAT}; {again}")
        fits = embedding.ndim == 1 and keys.ndim == mel.ndim == 2 and keys.shape[1] == mel.shape[1]
        if not fits or not all(np.isfinite(x).all() for x in (embedding, keys, mel)) or not voice.pitch > 0:
            raise InputError(f"{path} is damaged; {again}")
        return voice


def evenly_spaced(frames: int, most: int) -> np.ndarray:
    """Indices of at most `most` out of `frames` frames."""
    return np.linspace(0, frames - 1, min(frames, most)).round().astype(int)


def pool(voices: list[Voice], weights: list[float] | None = None) -> Voice:
    """One voice from several: weighted means of embeddings and pitches, and a share of each voice's frames.

    The weight of a voice is its speech duration times its entry in `weights`. Different speakers blend.

    Raises:
        InputError: nothing to pool, made by different encoders, or weights that do not fit.
    """
    if not voices:
        raise InputError("no reference was given; name at least one recording or .voice file")
    if len({v.encoder for v in voices}) > 1:
        raise InputError("the voices were made by different bundles; make them again with one")
    weights = [1.0] * len(voices) if weights is None else weights
    if len(weights) != len(voices) or min(weights) < 0 or not sum(weights) > 0 or not math.isfinite(sum(weights)):
        raise InputError(f"{len(voices)} references need as many weights, none negative and not all 0")
    shares = np.array([w * v.seconds for v, w in zip(voices, weights, strict=True)])
    shares /= shares.sum()
    total = sum(s * v.embedding for v, s in zip(voices, shares, strict=True))
    # The largest number of frames of which every voice can fill its share.
    frames = min(v.mel.shape[1] / s for v, s in zip(voices, shares, strict=True) if s > 0)
    most = min(frames, MOST_FRAMES)
    kept = [evenly_spaced(v.mel.shape[1], round(most * s)) for v, s in zip(voices, shares, strict=True)]
    return Voice(
        np.asarray(total / np.linalg.norm(total), dtype=np.float32),
        np.concatenate([v.keys[:, k] for v, k in zip(voices, kept, strict=True)], axis=1),
        np.concatenate([v.mel[:, k] for v, k in zip(voices, kept, strict=True)], axis=1),
        math.exp(sum(s * math.log(v.pitch) for v, s in zip(voices, shares, strict=True))),
        voices[0].encoder,
        sum(v.seconds for v in voices),
        [s for v in voices for s in v.sources],
    )

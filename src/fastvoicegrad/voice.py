"""A voice: one unit vector, where it came from, and how to keep it."""

from __future__ import annotations

import json
import math
from dataclasses import asdict, dataclass, field
from pathlib import Path

import numpy as np

from .errors import InputError
from .mel import Array

FORMAT = 1


@dataclass(frozen=True)
class Voice:
    """A target voice.

    Attributes:
        embedding: ``(S,)`` of unit length.
        encoder: fingerprint of the speaker encoder that made it; it fits only bundles with the same.
        seconds: of speech in all references together.
        sources: names of the references.
    """

    embedding: Array
    encoder: str
    seconds: float
    sources: list[str] = field(default_factory=list)

    def save(self, path: str | Path) -> None:
        """Write a ``.voice`` file (JSON).

        Raises:
            InputError: the file cannot be written.
        """
        data = asdict(self) | {"format": FORMAT, "embedding": [round(float(x), 8) for x in self.embedding]}
        part = Path(path).with_name(f".{Path(path).name}.part")
        try:
            part.write_text(json.dumps(data) + "\n")
            part.replace(path)
        except OSError as error:
            raise InputError(f"{path} cannot be written ({error.strerror}); choose another place") from error

    @classmethod
    def load(cls, path: str | Path) -> Voice:
        """Read a ``.voice`` file.

        Raises:
            InputError: missing, damaged, or of a newer format.
        """
        try:
            data = json.loads(Path(path).read_text())
            version = data.pop("format")
            if version > FORMAT:
                raise InputError(f"{path} has format {version}; run 'pip install -U fastvoicegrad'")
            data["embedding"] = np.array(data["embedding"], np.float32)
            voice = cls(**data)
        except OSError as error:
            raise InputError(f"{path} cannot be read ({error.strerror}); give a .voice file") from error
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise InputError(f"{path} is not a voice; make one with 'fastvoicegrad voice make'") from error
        if voice.embedding.ndim != 1 or not np.isfinite(voice.embedding).all():
            raise InputError(f"{path} is damaged; make it again with 'fastvoicegrad voice make'")
        return voice


def pool(voices: list[Voice], weights: list[float] | None = None) -> Voice:
    """One voice from several: the mean of their embeddings by speech duration, times `weights`.

    Different speakers blend.

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
    total = sum(w * v.seconds * v.embedding for v, w in zip(voices, weights, strict=True))
    embedding = np.asarray(total / np.linalg.norm(total), dtype=np.float32)
    return Voice(embedding, voices[0].encoder, sum(v.seconds for v in voices), [s for v in voices for s in v.sources])

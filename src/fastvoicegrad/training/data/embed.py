"""The content and speaker arrays of a feature store, made by this project's own encoders."""

from __future__ import annotations

from functools import lru_cache
from pathlib import Path

import numpy as np
import torch

from ..alone import alone
from ..models.content import ContentEncoder
from ..models.speaker import SpeakerEncoder
from ..networks import load_content, load_speaker
from .filling import File, Shape, dated, fill
from .perturb import PerturbConfig, perturb
from .store import Entry, Store, finish


def embed_content(
    store: Store, checkpoint: str | Path, perturbation: PerturbConfig | None, seed: int = 0, jobs: int = 1
) -> None:
    """Write content.npy and content_unperturbed.npy.

    The first encodes every recording in a random other voice. What is left of a voice in such content never fits the
    mel that the converter has to make. The second encodes the recording as it is; retrieval compares references by it.

    Args:
        checkpoint: of the content encoder.
        perturbation: of the recording; None encodes the recording as it is in both.
        jobs: processes at once.
    Raises:
        InputError: another run works in the store.
    """
    with alone(store.root):
        _embed_content(store, dated(checkpoint), perturbation, seed, jobs)


def _embed_content(store: Store, file: File, perturbation: PerturbConfig | None, seed: int, jobs: int) -> None:
    shape = Shape("frames", (_content_encoder(file).config.dim,), np.float16)
    shapes = {"content": shape, "content_unperturbed": shape}
    given = str(store.root.resolve()), file, perturbation, seed
    arrays = fill(store, shapes, contents_of, *given, jobs=jobs)
    for name in ("content_unperturbed", "content"):
        finish(store.root / f"{name}.npy", arrays[name])


@torch.inference_mode()
def contents_of(
    number: int, entry: Entry, store: str, checkpoint: File, perturbation: PerturbConfig | None, seed: int
) -> tuple[np.ndarray, np.ndarray]:
    """Content embeddings (T, C) of a recording in a random other voice, and as it is; float16."""
    encoder = _content_encoder(checkpoint)
    x = torch.from_numpy(_mel(store)[entry.slice].astype(np.float32).T[None].copy())
    x = torch.nn.functional.pad(x, (0, entry.frames % 2), mode="replicate")
    plain = encoder(x)[0, :, : entry.frames].T.numpy().astype(np.float16)
    if perturbation is None:
        return plain, plain
    other = perturb(x, np.random.default_rng((seed, number)), perturbation)
    return encoder(other)[0, :, : entry.frames].T.numpy().astype(np.float16), plain


def embed_speaker(store: Store, checkpoint: str | Path, longest: int = 1024, jobs: int = 1) -> None:
    """Write speaker.npy from the first `longest` frames of every recording.

    Args:
        checkpoint: of the speaker encoder.
        jobs: processes at once.
    Raises:
        InputError: another run works in the store.
    """
    with alone(store.root):
        _embed_speaker(store, dated(checkpoint), longest, jobs)


def _embed_speaker(store: Store, file: File, longest: int, jobs: int) -> None:
    shapes = {"speaker": Shape("recordings", (_speaker_encoder(file).config.dim,), np.float32)}
    given = str(store.root.resolve()), file, longest
    finish(store.root / "speaker.npy", fill(store, shapes, speaker_of, *given, jobs=jobs)["speaker"])


@torch.inference_mode()
def speaker_of(_: int, entry: Entry, store: str, checkpoint: File, longest: int) -> tuple[np.ndarray]:
    """Speaker embedding (S,) of a recording."""
    x = _mel(store)[entry.start : entry.start + min(entry.frames, longest)].astype(np.float32).T[None]
    return (_speaker_encoder(checkpoint)(torch.from_numpy(x.copy()))[0].numpy(),)


@lru_cache(maxsize=1)
def _content_encoder(checkpoint: File) -> ContentEncoder:
    return load_content(checkpoint[0]).encoder


@lru_cache(maxsize=1)
def _speaker_encoder(checkpoint: File) -> SpeakerEncoder:
    return load_speaker(checkpoint[0])


@lru_cache(maxsize=1)
def _mel(store: str) -> np.ndarray:
    return Store(store).array("mel")

"""The content and speaker arrays of a feature store, made by this project's own encoders."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from rich.progress import track

from ..networks import load_content, load_speaker
from .perturb import PerturbConfig, perturb
from .store import Store, create, finish


@torch.inference_mode()
def embed_content(store: Store, checkpoint: str | Path, perturbation: PerturbConfig | None, seed: int = 0) -> None:
    """Write content.npy and content_unperturbed.npy.

    The first encodes every recording in a random other voice. What is left of a voice in such content never fits the
    mel that the converter has to make. The second encodes the recording as it is; retrieval compares references by it.

    Args:
        checkpoint: of the content encoder.
        perturbation: of the recording; None encodes the recording as it is in both.
    """
    model = load_content(checkpoint)
    random = np.random.default_rng(seed)
    mel = store.array("mel")
    shape = store.total_frames, model.encoder.config.dim
    content, unperturbed = (
        create(store.root / f"{name}.npy", shape, np.float16) for name in ("content", "content_unperturbed")
    )
    for entry in track(store.entries, "content"):
        x = torch.from_numpy(mel[entry.slice].astype(np.float32).T[None].copy())
        x = torch.nn.functional.pad(x, (0, entry.frames % 2), mode="replicate")
        plain = model.encoder(x)[0, :, : entry.frames].T.numpy()
        unperturbed[entry.slice] = plain
        if perturbation is None:
            content[entry.slice] = plain
        else:
            content[entry.slice] = model.encoder(perturb(x, random, perturbation))[0, :, : entry.frames].T.numpy()
    finish(store.root / "content_unperturbed.npy", unperturbed)
    finish(store.root / "content.npy", content)


@torch.inference_mode()
def embed_speaker(store: Store, checkpoint: str | Path, longest: int = 1024) -> None:
    """Write speaker.npy from the first `longest` frames of every recording.

    Args:
        checkpoint: of the speaker encoder.
    """
    model = load_speaker(checkpoint)
    mel = store.array("mel")
    embeddings = create(store.root / "speaker.npy", (len(store.entries), model.config.dim), np.float32)
    for row, entry in enumerate(track(store.entries, "speaker")):
        x = mel[entry.start : entry.start + min(entry.frames, longest)].astype(np.float32).T[None]
        embeddings[row] = model(torch.from_numpy(x.copy()))[0].numpy()
    finish(store.root / "speaker.npy", embeddings)

"""The last two arrays of a feature store: what our own encoders make of its mels."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from rich.progress import track

from ..checkpoint import load_network, read_meta
from ..models.content import ContentConfig
from ..models.pitch import PitchConfig, PitchTracker
from ..models.speaker import SpeakerConfig, SpeakerEncoder
from ..tasks.content import ContentModel
from .perturb import PerturbConfig, perturb
from .store import Store, create, finish


def load_content(path: str | Path) -> ContentModel:
    """The content encoder of its own run, or of a student's that trained it on."""
    meta = read_meta(path)
    model = ContentModel(ContentConfig(**(meta["model"] if meta["task"] == "content" else meta["others"]["content"])))
    load_network(path, model, "content")
    return model.eval()


def load_speaker(path: str | Path) -> SpeakerEncoder:
    model = SpeakerEncoder(SpeakerConfig(**read_meta(path)["model"]))
    load_network(path, model)
    return model.eval()


def load_pitch(path: str | Path) -> PitchTracker:
    model = PitchTracker(PitchConfig(**read_meta(path)["model"]))
    load_network(path, model)
    return model.eval()


@torch.inference_mode()
def embed_content(store: Store, checkpoint: str | Path, voices: PerturbConfig | None, seed: int = 0) -> None:
    """Write content.npy and content_unperturbed.npy. With `voices`, the former hears every recording in a random other
    voice, so that what is left of a voice in the content never fits the mel that the converter has to make; the
    latter, what references are looked up by, hears it as it is."""
    model = load_content(checkpoint)
    random = np.random.default_rng(seed)
    mel = store.array("mel")
    shape = store.total_frames, model.encoder.config.dim
    content, own = (
        create(store.root / f"{name}.npy", shape, np.float16) for name in ("content", "content_unperturbed")
    )
    for entry in track(store.entries, "content"):
        x = torch.from_numpy(mel[entry.slice].astype(np.float32).T[None].copy())
        x = torch.nn.functional.pad(x, (0, entry.frames % 2), mode="replicate")
        own[entry.slice] = model.encoder(x)[0, :, : entry.frames].T.numpy()
        heard = own[entry.slice] if voices is None else model.encoder(perturb(x, random, voices))[0].T.numpy()
        content[entry.slice] = heard[: entry.frames]
    finish(store.root / "content_unperturbed.npy", own)
    finish(store.root / "content.npy", content)


@torch.inference_mode()
def embed_speaker(store: Store, checkpoint: str | Path, longest: int = 1024) -> None:
    """Write speaker.npy from the first `longest` frames of every recording."""
    model = load_speaker(checkpoint)
    mel = store.array("mel")
    embeddings = create(store.root / "speaker.npy", (len(store.entries), model.config.dim), np.float32)
    for row, entry in enumerate(track(store.entries, "speaker")):
        x = mel[entry.start : entry.start + min(entry.frames, longest)].astype(np.float32).T[None]
        embeddings[row] = model(torch.from_numpy(x.copy()))[0].numpy()
    finish(store.root / "speaker.npy", embeddings)

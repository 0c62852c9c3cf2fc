"""Parallel utterances: one text read by several voices, aligned frame by frame.

A reconstruction has one voice. Parallel utterances give real conversions: the source is one voice, the result another.
`parallel.npy` holds, for each frame, the frame of the same sound in one other recording of the text. Dynamic time
warping of content embeddings finds it.
"""

from __future__ import annotations

import re
from collections import defaultdict

import librosa
import numpy as np
from rich.progress import track

from ..alone import alone
from .store import Entry, Store, create, finish


def align(frames: np.ndarray, others: np.ndarray) -> np.ndarray:
    """Dynamic time warping by cosine.

    Args:
        frames, others: unit vectors of two utterances, (T, C) and (N, C).
    Returns:
        for each of `frames` the number of its match in `others`, (T,), never falling.
    """
    cost = 1 - frames @ others.T
    _, backwards = librosa.sequence.dtw(C=cost)
    path = backwards[::-1]
    # Where several of the others match one frame, take the middle one.
    first, last = (np.searchsorted(path[:, 0], np.arange(len(frames)), side) for side in ("left", "right"))
    return np.asarray(path[(first + last - 1) // 2, 1])


def families(store: Store) -> list[list[Entry]]:
    """Training recordings of one text by different voices of one corpus, one for each voice."""
    by_text: dict[tuple[str, str], dict[str, Entry]] = defaultdict(dict)
    for entry in store.split("train"):
        words = re.sub(r"[^\w]+", " ", (entry.recording.text or "").lower()).strip()
        if words:
            by_text[entry.recording.corpus, words][entry.recording.voice] = entry
    return [list(voices.values()) for voices in by_text.values() if len(voices) > 1]


def _directions(store: Store, entry: Entry, mean: np.ndarray, std: np.ndarray) -> np.ndarray:
    content = (store.array("content_unperturbed")[entry.slice].astype(np.float32) - mean) / std
    return np.asarray(content / np.linalg.norm(content, axis=1, keepdims=True))


def align_parallel(store: Store) -> None:
    """Write parallel.npy, (F,): the matching frame of another voice's recording, -1 where there is none.

    Raises:
        InputError: the store has no content_unperturbed.npy, or another run works in it.
    """
    with alone(store.root):
        _align_parallel(store)


def _align_parallel(store: Store) -> None:
    sample = store.array("content_unperturbed")[:: max(1, store.total_frames // 100_000)].astype(np.float32)
    mean, std = sample.mean(0), sample.std(0)
    parallel = create(store.root / "parallel.npy", (store.total_frames,), np.int32)
    parallel[:] = -1
    for family in track(families(store), "parallel"):
        directions = [_directions(store, entry, mean, std) for entry in family]
        for i, entry in enumerate(family):
            j = (i + 1) % len(family)
            parallel[entry.slice] = family[j].start + align(directions[i], directions[j])
    finish(store.root / "parallel.npy", parallel)

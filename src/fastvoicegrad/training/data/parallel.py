"""Twins: the same text read by another voice, aligned frame by frame.

A reconstruction shows a network one voice; only where a corpus has a sentence by several can it practise what it
is for, saying in one voice what another said. `twin.npy` holds for each frame the place of the same sound in one
other recording of the text, found by dynamic time warping of content embeddings.
"""

from __future__ import annotations

import re
from collections import defaultdict

import librosa
import numpy as np
from rich.progress import track

from .store import Entry, Store, create, finish


def align(ours: np.ndarray, theirs: np.ndarray) -> np.ndarray:
    """For each of our frames (T, C) the number of theirs (N, C) that sounds alike: (T,), never falling."""
    cost = 1 - ours @ theirs.T
    _, path = librosa.sequence.dtw(C=cost)
    frames = path[::-1]
    # Where several of their frames meet one of ours, the middle one.
    first, last = (np.searchsorted(frames[:, 0], np.arange(len(ours)), side) for side in ("left", "right"))
    return np.asarray(frames[(first + last - 1) // 2, 1])


def families(store: Store) -> list[list[Entry]]:
    """Recordings of one text by different voices of one corpus."""
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
    """Write twin.npy, (F,): a frame of the recording's twin, -1 where the text was read once. Needs content_unperturbed."""
    sample = store.array("content_unperturbed")[:: max(1, store.total_frames // 100_000)].astype(np.float32)
    mean, std = sample.mean(0), sample.std(0)
    twin = create(store.root / "twin.npy", (store.total_frames,), np.int32)
    twin[:] = -1
    for family in track(families(store), "twins"):
        directions = [_directions(store, entry, mean, std) for entry in family]
        for i, entry in enumerate(family):
            j = (i + 1) % len(family)
            twin[entry.slice] = family[j].start + align(directions[i], directions[j])
    finish(store.root / "twin.npy", twin)

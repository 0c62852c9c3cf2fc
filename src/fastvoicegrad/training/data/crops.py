"""Random crops of a feature store, weighted by corpus."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from ...errors import InputError
from ...mel import MEL
from .store import Entry, Store


@dataclass(frozen=True)
class Crop:
    """A run of frames of one recording."""

    row: int  # of the recording in the store
    start: int  # frame in the store
    frames: int


def require_multiple(frames: int, stride: int, setting: str) -> None:
    """Check that a number of frames fits a network that lowers their rate `stride` times.

    Raises:
        InputError: it is no multiple of `stride`.
    """
    if frames % stride:
        fitting = -(-frames // stride) * stride
        raise InputError(f"{setting} must be a multiple of {stride}, got {frames}; set it to {fitting}")


class Crops:
    """Draws crops of `frames` frames from one split; long recordings and heavy corpora are drawn more often.

    Args:
        weights: weight of a frame by corpus; the default is 1, and 0 leaves the corpus out.
        least_dnsmos: recordings with a known DNSMOS below it are left out.
    Raises:
        InputError: no recording is long enough, or `frames` is below 1.
    """

    def __init__(
        self,
        store: Store,
        split: str,
        frames: int,
        weights: dict[str, float] | None = None,
        least_dnsmos: float = 0.0,
    ) -> None:
        if frames < 1:
            raise InputError(f"a crop needs 1 frame or more, not {frames}; raise the number of frames")
        self.store, self.frames = store, frames
        rows = {id(e): row for row, e in enumerate(store.entries)}
        weights = weights or {}
        entries = [e for e in store.split(split) if e.frames >= frames and weights.get(e.recording.corpus, 1.0) > 0]
        entries = [e for e in entries if e.recording.dnsmos is None or e.recording.dnsmos >= least_dnsmos]
        if not entries:
            wanted = f"{store.root} has no '{split}' recording of {frames} frames"
            raise InputError(f"{wanted}; add longer ones to the manifest, or lower the number of frames")
        self.entries = entries
        self.rows = np.array([rows[id(e)] for e in entries])
        mass = np.array([e.frames * weights.get(e.recording.corpus, 1.0) for e in entries])
        self.probability = mass / mass.sum()

    def draw(self, random: np.random.Generator, count: int) -> list[Crop]:
        """Random crops, with replacement."""
        picks = random.choice(len(self.entries), size=count, p=self.probability)
        crops = []
        for pick in picks:
            entry: Entry = self.entries[pick]
            offset = int(random.integers(entry.frames - self.frames + 1))
            crops.append(Crop(int(self.rows[pick]), entry.start + offset, self.frames))
        return crops

    def take(self, name: str, crops: Sequence[Crop]) -> Tensor:
        """One frame-wise array of the store at the crops: (B, T) or, transposed, (B, C, T)."""
        array = self.store.array(name)
        stacked = np.stack([array[c.start : c.start + c.frames] for c in crops])
        tensor = torch.from_numpy(stacked.astype(np.int64 if stacked.dtype == np.int16 else np.float32))
        return tensor.transpose(1, 2).contiguous() if tensor.ndim == 3 else tensor

    def wave(self, crops: Sequence[Crop]) -> Tensor:
        """(B, 256 T) samples."""
        array, hop = self.store.array("wave"), MEL.hop_length
        stacked = np.stack([array[c.start * hop : (c.start + c.frames) * hop] for c in crops])
        return torch.from_numpy(stacked.astype(np.float32) / 32767)


def statistics(store: Store, crops: Crops, name: str, frames: int = 60_000, seed: int = 0) -> Tensor:
    """A sample of training frames of one array, (frames, C), to fit a normalisation on."""
    random = np.random.default_rng(seed)
    picks = crops.draw(random, max(1, frames // crops.frames))
    return crops.take(name, picks).transpose(1, 2).flatten(0, 1)

"""The average voice: every frame of a recording replaced by the mean mel of its sound.

DiffVC (arXiv 2109.13821, section 2.1) takes phonemes from a forced alignment. A feature store has no phonemes. Its
units are finer: clusters of a recogniser's features, with each voice's mean removed.
"""

from __future__ import annotations

import torch
from torch import Tensor

from ...mel import MEL
from .store import Store


def average_mels(store: Store, split: str = "train") -> Tensor:
    """Mean log-mel of each unit over all recordings of a split, (U, 80).

    A unit without a frame gets the mean of all frames.
    """
    entries = store.split(split)
    units = [torch.from_numpy(store.array("units")[entry.slice].astype("int64")) for entry in entries]
    count = torch.zeros(1 + max(int(u.max()) for u in units), dtype=torch.float64)
    total = torch.zeros(len(count), MEL.n_mels, dtype=torch.float64)
    for entry, of_entry in zip(entries, units, strict=True):
        mel = torch.from_numpy(store.array("mel")[entry.slice].astype("float64"))
        total.index_add_(0, of_entry, mel)
        count.index_add_(0, of_entry, torch.ones(len(of_entry), dtype=torch.float64))
    means = torch.where(count[:, None] > 0, total / count.clamp(min=1)[:, None], total.sum(0) / count.sum())
    return means.float()

"""Harmonic features: the log-mel of a pulse train at a given pitch, one frame for each frame.

A one-step model returns a mean over all possible pitches, and such a mean has no harmonics. With the pitch as an input
there is one alone. The features are the excitation of a source-filter model (NSF, arXiv 1904.12088); the network adds
the voice's envelope. Not in the paper (`UNetConfig.harmonics`).
"""

from __future__ import annotations

import math
from functools import cache

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ...mel import MEL, log_mel

LOWEST, HIGHEST = 50.0, 600.0  # Hz
ROWS = 256


@cache  # it takes half a second
def harmonic_table() -> np.ndarray:
    """Log-mels of pulse trains from `LOWEST` to `HIGHEST` on a logarithmic grid, (ROWS, n_mels).

    Every bin has zero mean, the whole table unit variance.
    """
    time = np.arange(16 * MEL.hop_length) / MEL.sample_rate
    rows = []
    for pitch in np.geomspace(LOWEST, HIGHEST, ROWS):
        numbers = np.arange(1, int(MEL.fmax / pitch) + 1)
        wave = np.cos(2 * np.pi * pitch * numbers[:, None] * time).sum(0) / len(numbers)
        rows.append(log_mel(wave.astype(np.float32))[:, 4:-4].mean(1))
    table = np.array(rows)
    table -= table.mean(0)
    return np.asarray(table / table.std(), np.float32)


class Harmonics(nn.Module):
    """Pitch (B, T) in Hz, 0 where unvoiced -> harmonic features (B, 80, T), 0 where unvoiced."""

    table: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("table", torch.tensor(harmonic_table()), persistent=False)

    def forward(self, pitch: Tensor) -> Tensor:
        octaves = (pitch.clamp(LOWEST, HIGHEST) / LOWEST).log() / math.log(HIGHEST / LOWEST)
        position = octaves * (ROWS - 1)
        low = position.floor().clamp(max=ROWS - 2)
        share = (position - low)[..., None]
        rows = F.embedding(low.long(), self.table) * (1 - share) + F.embedding(low.long() + 1, self.table) * share
        return (rows * (pitch > 0)[..., None]).transpose(1, 2)

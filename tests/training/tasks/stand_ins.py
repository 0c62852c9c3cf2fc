"""Stand-ins for pretrained networks, which no test downloads (PyTorch)."""

from __future__ import annotations

import numpy as np
import torch


class Recogniser(torch.nn.Module):
    """Two layers of features of a mel."""

    depth = 2

    def __init__(self, weights: str, waves: list[np.ndarray]) -> None:
        super().__init__()
        assert waves
        self.project = torch.nn.Linear(80, 192).requires_grad_(False)

    def forward(self, mel: torch.Tensor) -> list[torch.Tensor]:
        layer = self.project(mel.transpose(1, 2)[:, ::2])
        return [layer, layer.cos()]

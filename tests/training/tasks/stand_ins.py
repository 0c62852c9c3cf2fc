"""Stand-ins for pretrained networks, which no test downloads (PyTorch)."""

from __future__ import annotations

import numpy as np
import torch


class Verifier(torch.nn.Module):
    """Some unit vector of a mel."""

    def __init__(self, weights: str, waves: list[np.ndarray]) -> None:
        super().__init__()
        assert waves
        self.project = torch.nn.Linear(80, 192).requires_grad_(False)

    def forward(self, mel: torch.Tensor) -> torch.Tensor:
        return torch.nn.functional.normalize(self.project(mel.mean(2)), dim=1)


class Recogniser(Verifier):
    """Two layers of features of a mel."""

    depth = 2

    def forward(self, mel: torch.Tensor) -> list[torch.Tensor]:  # type: ignore[override]
        layer = self.project(mel.transpose(1, 2)[:, ::2])
        return [layer, layer.cos()]

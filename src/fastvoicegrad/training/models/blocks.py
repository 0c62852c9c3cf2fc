"""Building blocks that several networks share. Shapes: B batch, C channels, T frames."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

LEAST_STD = 1e-3  # what never changes in the training data, such as an empty band, must not be divided by zero


class ConvNeXtBlock(nn.Module):
    """Depthwise convolution over time, then a two-layer perceptron on every frame (ConvNeXt, as in Vocos).

    Args:
        right: frames of look-ahead; None is symmetric, 0 is causal.
        layers: number of stacked blocks; the residual branch starts at one over it.
    """

    def __init__(
        self, width: int, kernel: int = 7, right: int | None = None, expansion: int = 3, layers: int = 8
    ) -> None:
        super().__init__()
        self.right = kernel // 2 if right is None else right
        self.left = kernel - 1 - self.right
        self.depthwise = nn.Conv1d(width, width, kernel, groups=width)
        self.norm = nn.LayerNorm(width)
        self.expand = nn.Linear(width, width * expansion)
        self.reduce = nn.Linear(width * expansion, width)
        self.scale = nn.Parameter(torch.full((width,), 1.0 / layers))

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, T) -> (B, C, T)."""
        y = self.depthwise(F.pad(x, (self.left, self.right))).transpose(1, 2)
        y = self.reduce(F.gelu(self.expand(self.norm(y))))
        return x + (self.scale * y).transpose(1, 2)


class ChannelNorm(nn.LayerNorm):
    """Layer norm over the channels of (B, C, T)."""

    def forward(self, x: Tensor) -> Tensor:
        return super().forward(x.transpose(1, 2)).transpose(1, 2)


class MelNorm(nn.Module):
    """Normalisation by the mean and standard deviation of each mel bin over the training set."""

    mean: Tensor
    std: Tensor

    def __init__(self, n_mels: int = 80) -> None:
        super().__init__()
        self.register_buffer("mean", torch.full((n_mels, 1), -5.0))
        self.register_buffer("std", torch.full((n_mels, 1), 2.0))

    def fit(self, mel: Tensor) -> None:
        """Set the statistics from frames of shape (T, n_mels)."""
        self.mean.copy_(mel.mean(0)[:, None])
        self.std.copy_(mel.std(0)[:, None].clamp(min=LEAST_STD))

    def forward(self, mel: Tensor) -> Tensor:
        """(B, n_mels, T), natural log -> about zero mean and unit variance."""
        return (mel - self.mean) / self.std

    def undo(self, x: Tensor) -> Tensor:
        """The inverse of `forward`."""
        return x * self.std + self.mean


def inner(module: nn.Module) -> Any:
    """The network without the wrapper that training in several processes adds."""
    return getattr(module, "module", module)

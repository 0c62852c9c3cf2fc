"""Speaker encoder: a few seconds of log-mel in, one unit vector per voice out.

The paper uses GE2E. This network is distilled from a pretrained verifier, CAM++: it is smaller, and shares the mel with
all other networks.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from .blocks import ChannelNorm, ConvNeXtBlock, MelNorm


@dataclass(frozen=True)
class SpeakerConfig:
    width: int = 256
    layers: int = 5
    kernel: int = 7
    dim: int = 192
    n_mels: int = 80


class SpeakerEncoder(nn.Module):
    """(B, 80, T) log-mel -> (B, 192) of unit length, by attentive statistics pooling (arXiv 1803.10963)."""

    def __init__(self, config: SpeakerConfig) -> None:
        super().__init__()
        self.config = config
        self.norm = MelNorm(config.n_mels)
        self.stem = nn.Conv1d(config.n_mels, config.width, kernel_size=8, stride=4, padding=2)
        self.stem_norm = ChannelNorm(config.width)
        self.blocks = nn.Sequential(
            *(ConvNeXtBlock(config.width, config.kernel, layers=config.layers) for _ in range(config.layers))
        )
        self.out_norm = ChannelNorm(config.width)
        self.attention = nn.Sequential(
            nn.Conv1d(config.width, 64, 1), nn.Tanh(), nn.Conv1d(64, config.width, 1), nn.Softmax(dim=2)
        )
        self.project = nn.Linear(2 * config.width, config.dim)

    def features(self, mel: Tensor) -> Tensor:
        """(B, 80, T) -> (B, width, T / 4): what is pooled over time."""
        return self.out_norm(self.blocks(self.stem_norm(self.stem(self.norm(mel)))))

    def forward(self, mel: Tensor) -> Tensor:
        """(B, 80, T) -> (B, 192)."""
        x = self.features(mel)
        weights = self.attention(x)
        mean = (weights * x).sum(2)
        std = ((weights * x.square()).sum(2) - mean.square()).clamp(min=1e-5).sqrt()
        return F.normalize(self.project(torch.cat([mean, std], 1)), dim=1)

"""DiffVC's average-voice encoder (arXiv 2109.13821, section 2.1): a mel to the same words in an average voice.

A transformer over frames and a small convolutional network over the time-frequency plane, which smooths its output.
The published one is wider, see `PUBLISHED`.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ...mel import MEL
from .blocks import ChannelNorm, MelNorm


@dataclass(frozen=True)
class AverageVoiceConfig:
    width: int = 96
    filters: int = 384  # of the convolutions between the attentions
    layers: int = 4
    heads: int = 2
    kernel: int = 3
    window: int = 4  # frames to each side whose offset the attention reads
    postnet: int = 16  # channels of the network over the time-frequency plane, a multiple of 8
    dropout: float = 0.1


PUBLISHED = AverageVoiceConfig(width=192, filters=768, layers=6, postnet=128)


class OffsetAttention(nn.Module):
    """Self-attention over frames with a learned bias for each small offset (for arXiv 1803.02155's relative keys)."""

    def __init__(self, width: int, heads: int, window: int) -> None:
        super().__init__()
        self.heads, self.window = heads, window
        self.project = nn.Linear(width, 3 * width)
        self.out = nn.Linear(width, width)
        self.bias = nn.Parameter(torch.zeros(heads, 2 * window + 1))

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, T) -> (B, C, T)."""
        frames = torch.arange(x.shape[2], device=x.device)
        offset = frames[None, :] - frames[:, None]
        near = offset.abs() <= self.window
        bias = self.bias[:, offset.clamp(-self.window, self.window) + self.window] * near
        parts = self.project(x.transpose(1, 2)).unflatten(2, (3, self.heads, -1)).permute(2, 0, 3, 1, 4)
        query, key, value = parts.unbind(0)
        attended = F.scaled_dot_product_attention(query, key, value, attn_mask=bias[None])
        return self.out(attended.transpose(1, 2).flatten(2)).transpose(1, 2)


class TransformerLayer(nn.Module):
    """Attention, then two convolutions; each is added to its input and normalised."""

    def __init__(self, config: AverageVoiceConfig) -> None:
        super().__init__()
        self.attention = OffsetAttention(config.width, config.heads, config.window)
        self.convolutions = nn.Sequential(
            nn.Conv1d(config.width, config.filters, config.kernel, padding=config.kernel // 2),
            nn.ReLU(),
            nn.Dropout(config.dropout),
            nn.Conv1d(config.filters, config.width, config.kernel, padding=config.kernel // 2),
        )
        self.norms = nn.ModuleList(ChannelNorm(config.width) for _ in range(2))
        self.dropout = nn.Dropout(config.dropout)

    def forward(self, x: Tensor) -> Tensor:
        x = self.norms[0](x + self.dropout(self.attention(x)))
        y: Tensor = self.norms[1](x + self.dropout(self.convolutions(x)))
        return y


class Smoothing(nn.Module):
    """Two 7x7 convolutions over the time-frequency plane with group normalisation and Mish, beside a direct path."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.enter = nn.Conv2d(1, channels, 1)
        self.convolutions = nn.Sequential(
            *(
                part
                for _ in range(2)
                for part in (nn.Conv2d(channels, channels, 7, padding=3), nn.GroupNorm(8, channels), nn.Mish())
            )
        )
        self.direct = nn.Conv2d(channels, channels, 1)
        self.leave = nn.Conv2d(channels, 1, 1)

    def forward(self, x: Tensor) -> Tensor:
        """(B, 80, T) -> (B, 80, T)."""
        plane = self.enter(x[:, None])
        y: Tensor = self.leave(self.convolutions(plane) + self.direct(plane))[:, 0]
        return y


class AverageVoiceEncoder(nn.Module):
    """(B, 80, T) normalised mel -> (B, 80, T), the mean to which DiffVC's diffusion reverts."""

    def __init__(self, config: AverageVoiceConfig) -> None:
        super().__init__()
        self.config = config
        self.norm = MelNorm(MEL.n_mels)
        self.stem = nn.Sequential(
            nn.Conv1d(MEL.n_mels, config.width, 5, padding=2), ChannelNorm(config.width), nn.ReLU()
        )
        self.layers = nn.ModuleList(TransformerLayer(config) for _ in range(config.layers))
        self.head = nn.Conv1d(config.width, MEL.n_mels, 1)
        self.postnet = Smoothing(config.postnet)

    def forward(self, x: Tensor) -> Tensor:
        x = self.stem(x)
        for layer in self.layers:
            x = layer(x)
        y: Tensor = self.postnet(self.head(x))
        return y

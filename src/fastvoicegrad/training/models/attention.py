"""Reference attention: the converter looks up the target's frames with learned queries, keys and values.

Retrieval (retrieval.py) averages the frames of similar content by a fixed rule. Here the network learns what to look
for and what to take. The order of the frames does not count, as in SEF-VC (arXiv 2312.08676). Timbre tokens, made of
the speaker embedding, stand beside the frames (MeanVC 2). So a short reference always has something to attend to. Not
in the paper (`UNetConfig.attention`).
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from .blocks import ChannelNorm, ConvNeXtBlock


@dataclass(frozen=True)
class AttentionConfig:
    width: int = 192
    heads: int = 4
    layers: int = 2  # ConvNeXt blocks over the reference's frames
    tokens: int = 8  # timbre tokens


class ReferenceEncoder(nn.Module):
    """Reference (B, 80 + C, N), mel and content, and speaker (B, S) -> memory (B, W, M) with M = N // 2 + 1 + tokens.

    Two frames make one entry. The last entries are the timbre tokens, to which an adapter adds offsets (B, W tokens).
    """

    def __init__(self, config: AttentionConfig, inputs: int, speaker_dim: int) -> None:
        super().__init__()
        self.config = config
        self.stem = nn.Conv1d(inputs, config.width, 4, stride=2, padding=2)
        self.stem_norm = ChannelNorm(config.width)
        self.blocks = nn.Sequential(
            *(ConvNeXtBlock(config.width, layers=config.layers) for _ in range(config.layers)),
            ChannelNorm(config.width),
        )
        self.tokens = nn.Linear(speaker_dim, config.tokens * config.width)

    def forward(self, reference: Tensor, speaker: Tensor, offsets: Tensor | None = None) -> Tensor:
        frames = self.blocks(self.stem_norm(self.stem(reference)))
        tokens = self.tokens(speaker) if offsets is None else self.tokens(speaker) + offsets
        tokens = tokens.unflatten(1, (self.config.width, self.config.tokens))
        return torch.cat([frames, tokens], 2)


class ReferenceAttention(nn.Module):
    """x + W_o softmax(q k / sqrt(d)) v for every head: x (B, C, T), memory (B, W, M) -> (B, C, T)."""

    def __init__(self, config: AttentionConfig, channels: int) -> None:
        super().__init__()
        self.heads = config.heads
        self.norm = ChannelNorm(channels)
        self.query = nn.Conv1d(channels, config.width, 1)
        self.key = nn.Conv1d(config.width, config.width, 1)
        self.value = nn.Conv1d(config.width, config.width, 1)
        self.out = nn.Conv1d(config.width, channels, 1)

    def _split(self, x: Tensor) -> Tensor:
        """(B, W, T) -> (B, heads, T, W / heads)."""
        return x.unflatten(1, (self.heads, -1)).transpose(2, 3)

    def forward(self, x: Tensor, memory: Tensor) -> Tensor:
        q, k, v = self._split(self.query(self.norm(x))), self._split(self.key(memory)), self._split(self.value(memory))
        attended = F.scaled_dot_product_attention(q, k, v)
        return x + self.out(attended.transpose(2, 3).flatten(1, 2))

"""Transformer blocks that read a bounded number of neighbours: Whisper's encoder blocks, for sound of any length.

Whisper (arXiv 2212.04356) reads 30 s at once and knows every frame's place in them. Here a frame attends to `SPAN`
frames on either side, and only distances count (arXiv 1803.02155). So a chunk with enough context equals the whole.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

SPAN = 32  # frames on either side that a frame attends to
NEVER = -1e4  # logit of what must not be attended to; half precision holds it


class LocalAttention(nn.Module):
    """softmax(q k / sqrt(d) + b) v over neighbours at most `SPAN` away, for every head: (B, T, C) -> (B, T, C).

    The bias b depends on head and distance. Queries are taken in blocks of `SPAN` frames; each block reads itself and
    its two neighbours.
    """

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.query = nn.Linear(width, width)
        self.key = nn.Linear(width, width, bias=False)
        self.value = nn.Linear(width, width)
        self.out = nn.Linear(width, width)
        self.level = nn.Parameter(torch.zeros(heads, 2 * SPAN + 1))  # b, from SPAN frames before to SPAN after

    def bias(self) -> Tensor:
        """b of a block's queries and of the keys around it, (heads, SPAN, 3 SPAN)."""
        distances = torch.arange(3 * SPAN) - torch.arange(SPAN)[:, None] - SPAN
        padded = F.pad(self.level, (SPAN, SPAN), value=NEVER)
        return padded[:, distances + 2 * SPAN]

    def take_bias(self, bias: Tensor) -> None:
        """The inverse of `bias`, in place."""
        self.level.copy_(bias[:, 0, : 2 * SPAN + 1])

    def _windows(self, x: Tensor, blocks: int | torch.SymInt, value: float = 0.0) -> Tensor:
        """(B, T, C) -> (B, blocks, 3 SPAN, C): each block with its neighbours."""
        padded = F.pad(x, (0, 0, SPAN, 2 * SPAN), value=value)
        shifted = [padded[:, i * SPAN : (i + blocks) * SPAN].unflatten(1, (blocks, SPAN)) for i in range(3)]
        return torch.cat(shifted, 2)

    def forward(self, x: Tensor) -> Tensor:
        frames = x.shape[1]
        blocks = frames // SPAN + 1
        q = F.pad(self.query(x), (0, 0, 0, SPAN))[:, : blocks * SPAN].unflatten(1, (blocks, SPAN))
        k, v = self._windows(self.key(x), blocks), self._windows(self.value(x), blocks)
        outside = self._windows(torch.zeros_like(x[:1, :, :1]), blocks, NEVER)  # the recording's ends
        q, k, v = (y.unflatten(3, (self.heads, -1)).transpose(2, 3) for y in (q, k, v))
        logits = q @ k.transpose(3, 4) / q.shape[4] ** 0.5 + self.bias() + outside[:, :, None, None, :, 0]
        attended = logits.softmax(4) @ v
        return self.out(attended.transpose(2, 3).flatten(3).flatten(1, 2)[:, :frames])


class LocalTransformerBlock(nn.Module):
    """Attention, then a two-layer perceptron on every frame, each with a residual: (B, T, C) -> (B, T, C)."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.attention_norm = nn.LayerNorm(width)
        self.attention = LocalAttention(width, heads)
        self.norm = nn.LayerNorm(width)
        self.expand = nn.Linear(width, width * 4)
        self.reduce = nn.Linear(width * 4, width)

    def forward(self, x: Tensor) -> Tensor:
        x = x + self.attention(self.attention_norm(x))
        return x + self.reduce(F.gelu(self.expand(self.norm(x))))

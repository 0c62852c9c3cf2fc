"""Layers of the networks that stream: causal, with every cache an argument and a result (PyTorch).

Shapes: B batch, T frames, C channels; frames come before channels, because each layer works frame by frame. A network
that looks L frames ahead returns its outputs L frames late: output t belongs to frame t - L. So a whole sequence and
single frames take the same way, and give the same values.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from .attention import AttentionConfig
from .blocks import MelNorm

Between = Mapping[int, Callable[[Tensor], Tensor]]


class StreamBlock(nn.Module):
    """A ConvNeXt block that reads the past frames from a cache.

    Args:
        right: frames of look-ahead, and of delay.
        layers: number of stacked blocks; the residual branch starts at one over it.
    """

    def __init__(self, width: int, kernel: int, right: int, expansion: int, layers: int) -> None:
        super().__init__()
        self.past, self.right = kernel - 1, right
        self.depthwise = nn.Conv1d(width, width, kernel, groups=width)
        self.norm = nn.LayerNorm(width)
        self.expand = nn.Linear(width, width * expansion)
        self.reduce = nn.Linear(width * expansion, width)
        self.scale = nn.Parameter(torch.full((width,), 1.0 / layers))

    def forward(self, x: Tensor, cache: Tensor, film: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """(B, T, C), cache (B, kernel - 1, C) -> (B, T, C), `right` frames late, and the next cache.

        Args:
            film: (B, 1, 2 C), gains and biases after the norm (FiLM, arXiv 1709.07871).
        """
        window = torch.cat([cache, x], 1)
        y = self.norm(self.depthwise(window.transpose(1, 2)).transpose(1, 2))
        if film is not None:
            gain, bias = film.chunk(2, 2)
            y = y * (1 + gain) + bias
        y = self.reduce(F.gelu(self.expand(y)))
        same = window[:, self.past - self.right : -self.right or None]  # the frames that the outputs belong to
        return same + self.scale * y, window[:, -self.past :]


class StreamStack(nn.Module):
    """Blocks of one width and kernel. Their caches form one tensor, (layers * B, kernel - 1, C)."""

    def __init__(self, width: int, layers: int, kernel: int, lookahead: int = 0, expansion: int = 3) -> None:
        super().__init__()
        shares = spread(lookahead, layers, (kernel - 1) // 2)
        self.blocks = nn.ModuleList(StreamBlock(width, kernel, right, expansion, layers) for right in shares)
        self.shape = (layers, kernel - 1, width)

    def empty(self, batch: int, like: Tensor) -> Tensor:
        """The state before the first frame."""
        layers, past, width = self.shape
        return like.new_zeros(layers * batch, past, width)

    def forward(
        self, x: Tensor, state: Tensor | None = None, film: Tensor | None = None, between: Between | None = None
    ) -> tuple[Tensor, Tensor]:
        """(B, T, C) and the state -> (B, T, C) and the next state.

        Args:
            state: None is the state before the first frame.
            film: (layers * B, 1, 2 C).
            between: what else is applied after some blocks, by their number.
        """
        state = self.empty(x.shape[0], x) if state is None else state
        films = film.chunk(len(self.blocks)) if film is not None else [None] * len(self.blocks)
        caches = []
        for number, (block, cache, one) in enumerate(
            zip(self.blocks, state.chunk(len(self.blocks)), films, strict=True)
        ):
            x, cache = block(x, cache, one)
            caches.append(cache)
            if between and number in between:
                x = between[number](x)
        return x, torch.cat(caches)


def spread(lookahead: int, layers: int, most: int) -> list[int]:
    """Look-ahead of each of the layers, the first ones more, `most` each.

    Raises:
        ValueError: the layers cannot look so far ahead.
    """
    if not 0 <= lookahead <= layers * most:
        raise ValueError(f"{layers} layers look 0 to {layers * most} frames ahead, not {lookahead}")
    return [lookahead // layers + (layer < lookahead % layers) for layer in range(layers)]


def normalised(norm: MelNorm, mel: Tensor) -> Tensor:
    """(B, T, 80) log-mel -> zero mean and unit variance in each band."""
    return (mel - norm.mean.T) / norm.std.T


class MemoryAttention(nn.Module):
    """Attention of every frame to a fixed memory: x + W_o softmax(q k / sqrt(d)) v for every head.

    The memory holds keys and values that were computed once for a voice.
    """

    def __init__(self, config: AttentionConfig, channels: int) -> None:
        super().__init__()
        self.heads = config.heads
        self.norm = nn.LayerNorm(channels)
        self.query = nn.Linear(channels, config.width)
        self.memory = nn.Linear(config.width, 2 * config.width)
        self.out = nn.Linear(config.width, channels)

    def remember(self, frames: Tensor) -> Tensor:
        """Entries (B, M, W) -> keys and values (B, M, 2 W)."""
        return self.memory(frames)

    def _split(self, x: Tensor) -> Tensor:
        """(B, N, W) -> (B, heads, N, W / heads)."""
        return x.unflatten(2, (self.heads, -1)).transpose(1, 2)

    def forward(self, x: Tensor, memory: Tensor) -> Tensor:
        """(B, T, C), memory (B, M, 2 W) -> (B, T, C)."""
        keys, values = memory.chunk(2, 2)
        attended = F.scaled_dot_product_attention(
            self._split(self.query(self.norm(x))), self._split(keys), self._split(values)
        )
        return x + self.out(attended.transpose(1, 2).flatten(2))

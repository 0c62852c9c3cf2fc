"""Layers of the networks that stream: causal, with every cache an argument and a result (PyTorch).

Shapes: B batch, T frames, C channels; frames come before channels, because each layer works frame by frame. A network
that looks L frames ahead returns its outputs L frames late: output t belongs to frame t - L. So a whole sequence and
single frames take the same way, and give the same values. Blocks take the batch as one picture, (1, B, T, C): as such
ONNX Runtime convolves it in far less time.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ...errors import InputError
from .attention import AttentionConfig
from .blocks import MelNorm

Between = Mapping[int, Callable[[Tensor], Tensor]]
Film = tuple[Tensor, Tensor]


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

    def forward(self, x: Tensor, cache: Tensor, film: Film | None = None) -> tuple[Tensor, Tensor]:
        """(1, B, T, C), cache (1, B, kernel - 1, C) -> (1, B, T, C), `right` frames late, and both inputs in a row.

        Args:
            film: gain and bias (1, B, 1, C) after the norm (FiLM, arXiv 1709.07871).
        """
        window = torch.cat([cache, x], 2)
        y = self.norm(self._convolved(window))
        if film is not None:
            gain, bias = film
            y = y * (1 + gain) + bias
        y = self.reduce(F.gelu(self.expand(y)))
        same = window[:, :, self.past - self.right : -self.right] if self.right else x  # what the outputs belong to
        return same + self.scale * y, window

    def _convolved(self, window: Tensor) -> Tensor:
        """`depthwise` of (1, B, T + kernel - 1, C)."""
        weight, bias = self.depthwise.weight[:, :, None], self.depthwise.bias
        return F.conv2d(window.permute(0, 3, 1, 2), weight, bias, groups=weight.shape[0]).permute(0, 2, 3, 1)


class StreamStack(nn.Module):
    """Blocks of one width and kernel. Their caches form one tensor, (B, kernel - 1, layers * C).

    A call gives the blocks' windows, (B, kernel - 1 + T, layers * C). The state behind n of its T frames is what the
    windows hold from frame n on. So sequences of unequal lengths can share a call.
    """

    def __init__(self, width: int, layers: int, kernel: int, lookahead: int = 0, expansion: int = 3) -> None:
        super().__init__()
        shares = spread(lookahead, layers, (kernel - 1) // 2)
        self.blocks = nn.ModuleList(StreamBlock(width, kernel, right, expansion, layers) for right in shares)
        self.shape = (1, kernel - 1, layers * width)  # of the state of one sequence

    def empty(self, batch: int, like: Tensor) -> Tensor:
        """The state before the first frame."""
        return like.new_zeros(batch, *self.shape[1:])

    def forward(
        self, x: Tensor, state: Tensor | None = None, film: Tensor | None = None, between: Between | None = None
    ) -> tuple[Tensor, Tensor]:
        """(B, T, C) and the state -> (B, T, C) and the windows; see the class.

        Args:
            state: None is the state before the first frame.
            film: (B, 1, layers * 2 C).
            between: what else is applied after some blocks, by their number.
        """
        state = self.empty(x.shape[0], x) if state is None else state
        count, windows, x = len(self.blocks), [], x[None]
        films = [None] * count if film is None else _pairs(film[None].chunk(2 * count, 3))
        for number, (block, cache, one) in enumerate(zip(self.blocks, state[None].chunk(count, 3), films, strict=True)):
            x, window = block(x, cache, one)
            windows.append(window)
            if between and number in between:
                x = between[number](x[0])[None]
        return x[0], torch.cat(windows, 3)[0]


def _pairs(parts: Sequence[Tensor]) -> list[Film]:
    return list(zip(parts[::2], parts[1::2], strict=True))


def spread(lookahead: int, layers: int, most: int) -> list[int]:
    """Look-ahead of each of the layers, the first ones more, `most` each.

    Raises:
        InputError: the layers cannot look so far ahead.
    """
    if not 0 <= lookahead <= layers * most:
        raise InputError(
            f"{layers} layers look 0 to {layers * most} frames ahead, not {lookahead}; "
            "change lookahead, or raise layers or kernel"
        )
    return [lookahead // layers + (layer < lookahead % layers) for layer in range(layers)]


def normalised(norm: MelNorm, mel: Tensor) -> Tensor:
    """(B, T, 80) log-mel -> zero mean and unit variance in each band."""
    return (mel - norm.mean.T) / norm.std.T


class MemoryAttention(nn.Module):
    """Attention of every frame to a fixed memory: x + W_o softmax(q k / sqrt(d)) v for every head.

    Keys and values are W_k m and W_v m of an entry m. But q (W_k m) = (q W_k) m, and the mean of W_v m is W_v times the
    mean of m. So all heads and layers read the entries themselves, which are smaller (DeepSeek-V2, arXiv 2405.04434).
    """

    def __init__(self, config: AttentionConfig, channels: int) -> None:
        super().__init__()
        self.heads = config.heads
        self.norm = nn.LayerNorm(channels)
        self.query = nn.Linear(channels, config.width)
        self.memory = nn.Linear(config.width, 2 * config.width)
        self.out = nn.Linear(config.width, channels)

    def forward(self, x: Tensor, memory: Tensor) -> Tensor:
        """(B, T, C), memory (B, M, W) -> (B, T, C)."""
        of_key, of_value = (w.unflatten(0, (self.heads, -1)) for w in self.memory.weight.chunk(2))  # (heads, d, W)
        query = self.query(self.norm(x)).unflatten(2, (self.heads, -1)).transpose(1, 2) @ of_key  # (B, heads, T, W)
        scores = query.flatten(1, 2) @ memory.transpose(1, 2) / of_key.shape[1] ** 0.5
        mean = (scores.softmax(2) @ memory).unflatten(1, (self.heads, -1))
        # The keys' bias adds the same to all scores of a row, which changes no softmax.
        values = (mean @ of_value.transpose(1, 2)).transpose(1, 2).flatten(2) + self.memory.bias.chunk(2)[1]
        return x + self.out(values)

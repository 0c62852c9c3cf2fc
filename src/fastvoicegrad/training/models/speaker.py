"""Speaker encoder: a few seconds of log-mel in, one unit vector per voice out.

The paper uses GE2E. This network is CAM++ (arXiv 2303.00332), a verifier trained on 200,000 speakers. Its front-end is
a convolution of this project's mel. Training continues from the published weights. Their batch normalisations are
folded into the neighbouring layers.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple, cast

import torch
from torch import Tensor, nn
from torch.nn import functional as F

RATE = 100.0  # Hz, of the published network's frames
FINER, COARSER = 512, 441  # their ratio is that of this rate to the mel's, 22050 / 256 Hz
SEGMENT = 100  # frames that share a mask: 2 s
LEAST_VARIANCE = 1e-10
UNBOUNDED = 1e4  # a level of -1e4 changes no value
LEAST_SIZE = 1e-8  # by which weights are divided
EPSILON = 1e-5  # of the published batch normalisations


class Context(NamedTuple):
    """Segments of 2 s of the features (B, C, T).

    `segment` (T,) numbers them. (B, C, T) times `averages` (T, segments) is the mean over time plus the mean over each
    segment; the last segments may be empty.
    """

    segment: Tensor
    averages: Tensor


@dataclass(frozen=True)
class SpeakerConfig:
    """The default is the published size."""

    width: int = 32  # channels of the two-dimensional head
    entrance: int = 128  # channels after it
    growth: int = 32  # channels that a layer adds
    layers: tuple[int, ...] = (12, 24, 16)  # of each block; all but the first are dilated
    dim: int = 192
    n_mels: int = 80


class Affine(nn.Module):
    """ReLU of a gain and an offset per channel: (B, C, T) -> (B, C, T)."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.weight, self.bias = nn.Parameter(torch.ones(channels, 1)), nn.Parameter(torch.zeros(channels, 1))

    def forward(self, x: Tensor) -> Tensor:
        return F.relu(x * self.weight + self.bias)


class Threshold(nn.Module):
    """max(x, level), one level per channel: (B, C, T) -> (B, C, T).

    This is batch normalisation and ReLU, but for a gain g and an offset o that the next layer takes over:
    ReLU(g x + o) = g max(x, -o / g) + o, for g > 0.
    """

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.level = nn.Parameter(torch.zeros(channels, 1))

    def forward(self, x: Tensor) -> Tensor:
        return torch.maximum(x, self.level)


class BandBlock(nn.Module):
    """Residual block over bands and time: (B, C, N, T) -> (B, C, N / stride, T)."""

    def __init__(self, channels: int, stride: int) -> None:
        super().__init__()
        self.first = nn.Conv2d(channels, channels, 3, (stride, 1), padding=1)
        self.second = nn.Conv2d(channels, channels, 3, padding=1)
        self.shortcut = nn.Conv2d(channels, channels, 1, (stride, 1)) if stride > 1 else nn.Identity()

    def forward(self, x: Tensor) -> Tensor:
        return F.relu(self.second(F.relu(self.first(x))) + self.shortcut(x))


class DenseLayer(nn.Module):
    """A layer of a densely connected TDNN. A mask, computed from each segment's context, weighs its output."""

    def __init__(self, inputs: int, growth: int, dilation: int) -> None:
        super().__init__()
        inner = 4 * growth
        self.before = Threshold(inputs)
        self.reduce = nn.Conv1d(inputs, inner, 1)
        self.local = nn.Conv1d(inner, growth, 3, padding=dilation, dilation=dilation, bias=False)
        self.squeeze = nn.Conv1d(inner, inner // 2, 1)
        self.mask = nn.Conv1d(inner // 2, growth, 1)

    def forward(self, x: Tensor, context: Context) -> Tensor:
        """(B, C, T) -> (B, growth, T)."""
        x = F.relu(self.reduce(self.before(x)))
        mean = torch.bmm(x, context.averages.expand(len(x), -1, -1))
        mask = torch.sigmoid(self.mask(F.relu(self.squeeze(mean))))
        return self.local(x) * mask.index_select(2, context.segment)


class SpeakerEncoder(nn.Module):
    """(B, 80, T) log-mel -> (B, 192) of unit length."""

    def __init__(self, config: SpeakerConfig) -> None:
        super().__init__()
        self.config = config
        self.front = nn.Conv1d(config.n_mels, config.n_mels, 5, padding=2, padding_mode="replicate")
        self.head = nn.Sequential(
            nn.Conv2d(1, config.width, 3, padding=1),
            nn.ReLU(),
            *(BandBlock(config.width, stride) for stride in (2, 1, 2, 1)),
            nn.Conv2d(config.width, config.width, 3, (2, 1), padding=1),
            nn.ReLU(),
        )
        self.entrance = nn.Conv1d(config.width * (config.n_mels // 8), config.entrance, 5, 2, padding=2)
        self.blocks, channels = nn.ModuleList(), config.entrance
        for number, layers in enumerate(config.layers):
            dilation = min(number, 1) + 1
            block = nn.ModuleList(
                DenseLayer(channels + i * config.growth, config.growth, dilation) for i in range(layers)
            )
            channels += layers * config.growth
            transition = nn.Sequential(Affine(channels), nn.Conv1d(channels, channels // 2, 1, bias=False))
            self.blocks.append(nn.ModuleList([block, transition]))
            channels //= 2
        self.project = nn.Conv1d(2 * channels, config.dim, 1)
        self.out = Affine(channels)

    def features(self, mel: Tensor) -> Tensor:
        """(B, 80, T) -> (B, C, 0.58 T): what is pooled over time."""
        x = self.front(resampled(mel))
        x = self.head((x - x.mean(2, keepdim=True))[:, None]).flatten(1, 2)
        x = F.relu(self.entrance(x))
        context = context_of(x)
        for block in self.blocks:
            layers, transition = cast(nn.ModuleList, block)
            for layer in cast(nn.ModuleList, layers):
                x = torch.cat([x, layer(x, context)], 1)
            x = transition(x)
        out: Tensor = self.out(x)
        return out

    def forward(self, mel: Tensor) -> Tensor:
        """(B, 80, T) -> (B, 192)."""
        return self.pooled(self.features(mel))

    def pooled(self, features: Tensor) -> Tensor:
        """The embedding (B, 192) of `features`, by their mean and standard deviation over time."""
        mean = features.mean(2, keepdim=True)
        square = (features - mean).square().sum(2, keepdim=True)
        std = (square / max(features.shape[2] - 1, 1)).clamp(min=LEAST_VARIANCE).sqrt()
        return F.normalize(self.project(torch.cat([mean, std], 1))[:, :, 0], dim=1)

    @torch.no_grad()
    def fill(self, published: Mapping[str, Tensor]) -> None:
        """Take over CAM++'s published weights, all but the front-end's. They stand in the order of this network.

        Raises:
            ValueError: there are more or fewer of them.
            KeyError, RuntimeError: these are other weights, or of other sizes.
        """
        operations = list(_operations(published))
        before: tuple[Tensor, Tensor] | None = None
        for module in self._operators():
            if not operations:
                raise ValueError("the checkpoint holds fewer layers than CAM++ has")
            weight, bias = operations.pop(0)
            if isinstance(module, Threshold):
                assert bias is not None
                before = weight, bias
                module.level.copy_(level(weight, bias))
                continue
            if not isinstance(module, Affine) and module.bias is not None and bias is None:
                gain, offset = operations.pop(0)
                weight, bias = weight * gain.view(-1, *[1] * (weight.ndim - 1)), offset
            if before and bias is not None:
                weight, bias = behind_threshold(weight, bias, *before)
                before = None
            module.weight.copy_(weight.view_as(module.weight))
            if module.bias is not None and bias is not None:
                module.bias.copy_(bias.view_as(module.bias))
        if operations:
            raise ValueError("the checkpoint holds more layers than CAM++ has")
        self.balance()

    def _operators(self) -> Iterator[nn.Conv1d | nn.Conv2d | Affine | Threshold]:
        """Layers with weights, in the published order."""
        for module in self.modules():
            if isinstance(module, nn.Conv1d | nn.Conv2d | Affine | Threshold) and module is not self.front:
                yield module

    @torch.no_grad()
    def balance(self) -> None:
        """Scale every channel so that the layers behind it have weights of like size. The output stays the same.

        The gains of the published normalisations differ by a factor of 1,000. Eight bits would lose the small weights.
        """
        source = self.entrance
        for block in self.blocks:
            layers, transition = cast(nn.ModuleList, block)
            inside = [cast(DenseLayer, layer) for layer in cast(nn.ModuleList, layers)]
            affine, following = cast(nn.Sequential, transition)
            start = 0
            for number, producer in enumerate([source, *(layer.local for layer in inside[:-1])]):
                channels = slice(start, start + producer.out_channels)
                scale = _column_size([layer.reduce.weight for layer in inside[number:]], channels)
                producer.weight.mul_(scale[:, None, None])
                if producer.bias is not None:
                    producer.bias.mul_(scale)
                for layer in inside[number:]:
                    layer.before.level[channels].mul_(scale[:, None])
                    layer.reduce.weight[:, channels].div_(scale[:, None])
                cast(Affine, affine).weight[channels].div_(scale[:, None])
                start = channels.stop
            source = cast(nn.Conv1d, following)


def level(gain: Tensor, offset: Tensor) -> Tensor:
    """The threshold (C, 1) of a normalisation with these (C,). A gain below 0 (5 of 30,656 are) loses its ReLU."""
    return torch.where(gain > 0, -offset / gain, -UNBOUNDED)[:, None]


def behind_threshold(weight: Tensor, bias: Tensor, gain: Tensor, offset: Tensor) -> tuple[Tensor, Tensor]:
    """Weight (O, C, 1) and bias (O,) of a layer that takes over gain and offset (C,) of the normalisation before it."""
    return weight * gain[:, None], bias + weight[:, :, 0] @ offset


def resampled(mel: Tensor) -> Tensor:
    """Log-mel (B, 80, T) at the published rate of frames, (B, 80, 512 T // 441), by linear interpolation."""
    frames = mel.shape[2]
    place = (torch.arange(frames * FINER // COARSER, device=mel.device) + 0.5) * (COARSER / FINER) - 0.5
    place = place.clamp(0, frames - 1)
    low = place.floor()
    first, second = (mel[:, :, (low + i).long().clamp(max=frames - 1)] for i in (0, 1))
    return torch.lerp(first, second, (place - low).to(mel.dtype))


def context_of(x: Tensor) -> Context:
    """The segments of (B, C, T)."""
    frames = x.shape[2]
    segment = torch.arange(frames, device=x.device) // SEGMENT
    # One or two more than there are: tracing would fix a number of 1, and the frames with it.
    among = torch.arange(frames // SEGMENT + 2, device=x.device)
    shared = (segment[:, None] == among).to(x.dtype)
    return Context(segment, shared / shared.sum(0).clamp(min=1) + 1 / frames)


def _operations(published: Mapping[str, Tensor]) -> Iterator[tuple[Tensor, Tensor | None]]:
    """(weight, bias) of every published convolution, (gain, offset) of every batch normalisation, in order."""
    parts: dict[str, dict[str, Tensor]] = {}
    # In the published file this layer is the last. A new network lists it before.
    for name, value in sorted(published.items(), key=lambda item: ".out_nonlinear." in item[0]):
        module, _, kind = name.rpartition(".")
        parts.setdefault(module, {})[kind] = value
    for part in parts.values():
        if "running_var" in part:
            gain = (part["running_var"] + EPSILON).rsqrt() * part.get("weight", torch.ones(()))
            yield gain, part.get("bias", torch.zeros(())) - part["running_mean"] * gain
        else:
            yield part["weight"], part.get("bias")


def _column_size(weights: Sequence[Tensor], channels: slice) -> Tensor:
    """Root mean square of weights (O, C, 1) in each input channel, after each row is scaled to size 1."""
    rows = [w / w.square().mean((1, 2), keepdim=True).sqrt().clamp(min=LEAST_SIZE) for w in weights]
    columns = torch.stack([row[:, channels].square().mean((0, 2)) for row in rows])
    return columns.mean(0).sqrt().clamp(min=LEAST_SIZE)

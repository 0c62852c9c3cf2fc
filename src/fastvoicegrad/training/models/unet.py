"""The denoiser: VoiceGrad's one-dimensional U-Net (arXiv 2010.02977, table of layers; FastVoiceGrad section 3).

Twelve convolutions, two down- and two up-samplings, a gated linear unit after every layer but the last, weight
normalisation, skips that add. Every layer reads the content embedding at its own rate. Every layer but the last reads
the step and speaker embeddings. The paper concatenates those two to each convolution's input, the last one's too. They
are constant in time, so here they make a bias: the same function, but for the zero-padded ends, at a tenth of the cost.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.utils.parametrizations import weight_norm

from .attention import AttentionConfig, ReferenceAttention, ReferenceEncoder
from .blocks import MelNorm, inner
from .harmonics import Harmonics
from .retrieval import Retrieval

Prediction = Literal["eps", "v", "x0"]
ADAPTER_RANK = 8  # of an adapter's change to a convolution


@dataclass(frozen=True)
class UNetConfig:
    channels: tuple[int, int, int] = (512, 512, 512)  # at the mel rate, half of it, a quarter
    middle_layers: int = 3  # convolutions at the quarter rate: 3 makes the paper's twelve layers
    content_dim: int = 144
    content_channels: int = 32
    speaker_dim: int = 192
    step_dim: int = 128
    n_mels: int = 80
    prediction: Prediction = "eps"  # output of the last layer; the paper: eps
    retrieval: bool = False  # first and last layer also read a retrieved mel (retrieval.py); the paper: no
    retrieval_temperature: float = 0.02  # of the softmax over reference frames
    harmonics: bool = False  # first and last layer also read harmonic features (harmonics.py); the paper: no
    attention: AttentionConfig | None = None  # to the reference's frames (attention.py); the paper: none
    film_dim: int = 0  # width of the condition that also scales every layer (FiLM, arXiv 1709.07871); 0: bias alone

    @property
    def examples(self) -> bool:
        """Whether the network reads frames of the target, not its embedding alone."""
        return self.retrieval or self.attention is not None


class Conditions(NamedTuple):
    """What a network reads beside x_t, step, speaker and content; None where it reads no such thing."""

    hints: Tensor | None = None  # (B, 80 or 160, T): the retrieved mel and the harmonic features
    reference: Tensor | None = None  # (B, 80 + C, N): normalised mel and content of the target's frames
    adapter: Tensor | None = None  # (B or 1, A): offsets that are trained for one voice; zeros change nothing


class LayerCondition(NamedTuple):
    """What every layer reads beside its input: an embedding of step and speaker (B, D), and the adapter."""

    embedding: Tensor
    adapter: Tensor | None


class StepEmbedding(nn.Module):
    """Diffusion step (B,) -> (B, dim): sines of falling frequency (DDPM), then a small perceptron."""

    frequencies: Tensor

    def __init__(self, dim: int) -> None:
        super().__init__()
        half = dim // 2
        self.register_buffer("frequencies", torch.exp(-math.log(1e4) * torch.arange(half) / (half - 1)), False)
        self.mlp = nn.Sequential(nn.Linear(dim, dim), nn.SiLU(), nn.Linear(dim, dim))

    def forward(self, step: Tensor) -> Tensor:
        angle = step.float()[:, None] * self.frequencies
        return self.mlp(torch.cat([angle.sin(), angle.cos()], 1))


class ConditionedConv(nn.Module):
    """One row of the paper's table: convolution of (x, content), plus a bias from (step, speaker), then GLU.

    With FiLM the condition also scales the convolution's channels. An adapter adds offsets to both, and a convolution
    with kernel 1 of low rank (LoRA, arXiv 2106.09685): ``up @ down @ (x, content)``.

    Attributes:
        offsets: place of this layer's values in an adapter.
    """

    offsets: slice

    def __init__(
        self, config: UNetConfig, inputs: int, outputs: int, kernel: int, stride: int = 1, up: bool = False
    ) -> None:
        super().__init__()
        layer = nn.ConvTranspose1d if up else nn.Conv1d
        padding = (kernel - stride) // 2 if stride > 1 else kernel // 2
        self.inputs, self.stride, self.up = inputs + config.content_channels, stride, up
        conv = layer(self.inputs, 2 * outputs, kernel, stride, padding)
        self.conv = weight_norm(conv, dim=1 if up else 0)
        condition = config.film_dim or config.step_dim + config.speaker_dim
        self.bias = nn.Linear(condition, 2 * outputs, bias=False)
        self.gain = nn.Linear(condition, 2 * outputs, bias=False) if config.film_dim else None

    @property
    def adapter_shapes(self) -> list[tuple[int, ...]]:
        """Of this layer's parts of an adapter: offsets to bias and gain, down and up."""
        outputs = self.bias.out_features
        offsets = (outputs * (1 if self.gain is None else 2),)
        return [offsets, (ADAPTER_RANK, self.inputs), (outputs, ADAPTER_RANK)]

    def _adapted(self, x: Tensor, adapter: Tensor) -> tuple[Tensor, Tensor]:
        """Offsets (B, 2 O or 4 O) to bias and gain, and what the low-rank convolution adds (B, 2 O, T')."""
        shapes = self.adapter_shapes
        offsets, down, up = adapter[:, self.offsets].split([math.prod(shape) for shape in shapes], 1)
        x = down.unflatten(1, shapes[1]) @ (x if self.up or self.stride == 1 else F.avg_pool1d(x, self.stride))
        if self.up:
            x = torch.stack([x] * self.stride, 3).flatten(2)
        return offsets, up.unflatten(1, shapes[2]) @ x

    def forward(self, x: Tensor, content: Tensor, condition: LayerCondition) -> Tensor:
        embedding, adapter = condition
        x = torch.cat([x, content], 1)
        y, bias = self.conv(x), self.bias(embedding)
        gain = None if self.gain is None else self.gain(embedding)
        if adapter is not None:
            offsets, added = self._adapted(x, adapter)
            y = y + added
            bias = bias + offsets[:, : bias.shape[1]]
            gain = None if gain is None else gain + offsets[:, bias.shape[1] :]
        if gain is not None:
            y = y * (1 + gain)[:, :, None]
        return F.glu(y + bias[:, :, None], dim=1)


class UNet(nn.Module):
    """The raw network: (x_t, step, speaker, content) -> the prediction, all mels normalised.

    Shapes: x_t (B, 80, T) with T a multiple of 4, step (B,), speaker (B, S), content (B, C, T) -> (B, 80, T). A
    network with retrieval, harmonics or attention also reads `Conditions`.

    Attributes:
        adapter_size: values A of an adapter: offsets to the scaled speaker embedding and to the timbre tokens, what
            changes every layer but the last (`ConditionedConv`), and offsets to the output.
    """

    stride = 4

    def __init__(self, config: UNetConfig) -> None:
        super().__init__()
        self.config = config
        self.norm = MelNorm(config.n_mels)
        self.step = StepEmbedding(config.step_dim)
        self.content = nn.Conv1d(config.content_dim, config.content_channels, 1)
        self.retrieval = Retrieval(config.content_dim, config.retrieval_temperature) if config.retrieval else None
        full, half, quarter = config.channels
        self.film = nn.Linear(config.step_dim + config.speaker_dim, config.film_dim) if config.film_dim else None
        self._attend(config)
        self.harmonics = Harmonics() if config.harmonics else None
        hints = config.n_mels * (config.retrieval + config.harmonics)

        def conv(inputs: int, outputs: int, kernel: int, stride: int = 1, up: bool = False) -> ConditionedConv:
            return ConditionedConv(config, inputs, outputs, kernel, stride, up)

        self.conv1 = conv(config.n_mels + hints, full, 9)
        self.conv2 = conv(full, half, 8, stride=2)
        self.conv3 = conv(half, half, 9)
        self.conv4 = conv(half, quarter, 8, stride=2)
        self.middle = nn.ModuleList(conv(quarter, quarter, 5) for _ in range(config.middle_layers))
        self.conv8 = conv(quarter, half, 8, stride=2, up=True)
        self.conv9 = conv(half, half, 9)
        self.conv10 = conv(half, full, 8, stride=2, up=True)
        self.conv11 = conv(full, full, 9)
        self.conv12 = weight_norm(nn.Conv1d(full + config.content_channels + hints, config.n_mels, 9, padding=4))
        self._place_offsets()

    def _place_offsets(self) -> None:
        """Give each part of the network its place in an adapter."""
        self.adapter_size = 0

        def place(size: int) -> slice:
            self.adapter_size += size
            return slice(self.adapter_size - size, self.adapter_size)

        self.speaker_offsets = place(self.config.speaker_dim)
        self.token_offsets = place(self.reference.tokens.out_features if self.reference else 0)
        for layer in self.modules():
            if isinstance(layer, ConditionedConv):
                layer.offsets = place(sum(map(math.prod, layer.adapter_shapes)))
        self.output_offsets = place(self.config.n_mels)

    def initial_adapter(self) -> Tensor:
        """Where training an adapter starts, (1, A): as good as none. "Down" is random and all else zero."""
        adapter = torch.zeros(1, self.adapter_size)
        for place, inputs in self._down():
            adapter[0, place] = torch.randn(place.stop - place.start) / inputs**0.5
        return adapter

    def weakened(self, adapter: Tensor, strength: float) -> Tensor:
        """An adapter (B, A) that changes every layer `strength` times as much: "up" and the offsets shrink."""
        weak = strength * adapter
        for place, _ in self._down():
            weak[:, place] = adapter[:, place]
        return weak

    def _down(self) -> Iterator[tuple[slice, int]]:
        """Place of each layer's "down" in an adapter, and the layer's inputs."""
        for layer in self.modules():
            if isinstance(layer, ConditionedConv):
                offsets, down, _ = layer.adapter_shapes
                first = layer.offsets.start + math.prod(offsets)
                yield slice(first, first + math.prod(down)), down[1]

    def _attend(self, config: UNetConfig) -> None:
        """Attention to the reference at the quarter rate and, for detail, at the half rate."""
        self.reference: ReferenceEncoder | None = None
        if config.attention is None:
            return
        _, half, quarter = config.channels
        inputs = config.n_mels + config.content_dim
        self.reference = ReferenceEncoder(config.attention, inputs, config.speaker_dim)
        self.attention_quarter = ReferenceAttention(config.attention, quarter)
        self.attention_half = ReferenceAttention(config.attention, half)

    def conditions(
        self,
        content: Tensor,
        keys: Tensor | None,
        reference: Tensor | None,
        pitch: Tensor | None,
        adapter: Tensor | None = None,
    ) -> Conditions:
        """The conditions of a conversion.

        Args:
            content: (B, C, T) of the source.
            keys, reference: content (B, C, N) and log-mel (B, 80, N) of the target's frames, for retrieval and
                attention.
            pitch: (B, T) of the result in Hz, 0 where unvoiced, for harmonics.
            adapter: (B or 1, A) of the target's voice.
        """
        hints, examples = [], None
        if self.config.examples:
            assert keys is not None
            assert reference is not None
            mel = self.norm(reference)
            if self.retrieval is not None:
                hints.append(self.retrieval(content, keys, mel))
            if self.reference is not None:
                examples = torch.cat([mel, keys], 1)
        if self.harmonics is not None:
            assert pitch is not None
            hints.append(self.harmonics(pitch))
        return Conditions(torch.cat(hints, 1) if hints else None, examples, adapter)

    def _condition(self, step: Tensor, speaker: Tensor) -> Tensor:
        """What biases every layer, and scales it with FiLM: (B, D)."""
        s = torch.cat([self.step(step), speaker], 1)
        return s if self.film is None else F.silu(self.film(s))

    def forward(
        self, x: Tensor, step: Tensor, speaker: Tensor, content: Tensor, conditions: Conditions | None = None
    ) -> Tensor:
        hints, reference, adapter = conditions or Conditions()
        extra = [] if hints is None else [hints]
        speaker = speaker * speaker.shape[1] ** 0.5  # unit variance per channel
        if adapter is not None:
            speaker = speaker + adapter[:, self.speaker_offsets]
        s = LayerCondition(self._condition(step, speaker), adapter)
        memory = None
        if self.reference is not None:
            tokens = None if adapter is None else adapter[:, self.token_offsets]
            memory = self.reference(reference, speaker, tokens)
        p1 = self.content(content)
        p2 = F.avg_pool1d(p1, 2)
        p4 = F.avg_pool1d(p2, 2)
        out1 = self.conv1(torch.cat([x, *extra], 1), p1, s)
        out2 = self.conv2(out1, p1, s)
        out3 = self.conv3(out2, p2, s)
        out = first = self.middle[0](self.conv4(out3, p2, s), p4, s)
        if memory is not None:
            out = self.attention_quarter(out, memory)
        for layer in self.middle[1:]:
            out = layer(out, p4, s)
        out = self.conv8(out + first, p4, s)
        out = self.conv9(out + out3, p2, s)
        if memory is not None:
            out = self.attention_half(out, memory)
        out = self.conv10(out + out2, p2, s)
        out = self.conv11(out + out1, p1, s)
        out = self.conv12(torch.cat([out, p1, *extra], 1))
        return out if adapter is None else out + adapter[:, self.output_offsets, None]


class Denoiser(nn.Module):
    """A U-Net as an estimate of x0 and eps, whatever its last layer predicts (the wrapper of k-diffusion).

    With ``a = sqrt(alpha_bar_t)`` and ``b = sqrt(1 - alpha_bar_t)``, ``x_t = a x0 + b eps`` and
    ``v = a eps - b x0`` (arXiv 2202.00512); any one of x0, eps, v gives the others.
    """

    def __init__(self, unet: nn.Module) -> None:
        super().__init__()
        self.unet = unet
        self.prediction: Prediction = inner(unet).config.prediction

    def forward(
        self,
        x: Tensor,
        step: Tensor,
        alpha_bar: Tensor,
        speaker: Tensor,
        content: Tensor,
        conditions: Conditions | None = None,
    ) -> tuple[Tensor, Tensor]:
        """x_t (B, 80, T), step (B,), alpha_bar (B,) at that step -> (x0, eps), each (B, 80, T)."""
        a = alpha_bar.sqrt()[:, None, None]
        b = (1 - alpha_bar).sqrt()[:, None, None]
        out = self.unet(x, step, speaker, content, conditions)
        match self.prediction:
            case "eps":
                return (x - b * out) / a, out
            case "x0":
                return out, (x - a * out) / b
            case _:
                return a * x - b * out, b * x + a * out

"""The networks that stream: content encoder, pitch tracker and converter (PyTorch).

Each is a stack of causal ConvNeXt blocks whose caches are one tensor; see stream_layers.py. The full networks teach
them. Mels are (B, T, 80), natural log.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ...errors import InputError
from .attention import AttentionConfig, ReferenceEncoder
from .blocks import MelNorm
from .harmonics import Harmonics
from .pitch import PitchScale
from .stream_layers import MemoryAttention, StreamStack, normalised


@dataclass(frozen=True)
class StreamContentConfig:
    width: int = 256
    layers: int = 8
    kernel: int = 7
    lookahead: int = 2  # frames of 11.6 ms
    window: int = 768  # samples of a mel frame's window; see `stream.frontend`
    dim: int = 144  # of the content embedding
    units: int = 512  # classes of the content teacher
    n_mels: int = 80


class StreamContent(nn.Module):
    """(B, T, 80) log-mel -> (B, T, 144) content embedding, `lookahead` frames late."""

    def __init__(self, config: StreamContentConfig) -> None:
        super().__init__()
        self.config = config
        self.norm = MelNorm(config.n_mels)
        self.stem = nn.Sequential(nn.Linear(config.n_mels, config.width), nn.LayerNorm(config.width))
        self.stack = StreamStack(config.width, config.layers, config.kernel, config.lookahead)
        self.bottleneck = nn.Sequential(nn.LayerNorm(config.width), nn.Linear(config.width, config.dim))

    def forward(self, mel: Tensor, state: Tensor | None = None) -> tuple[Tensor, Tensor]:
        x, windows = self.stack(self.stem(normalised(self.norm, mel)), state)
        return self.bottleneck(x), windows


class StreamContentModel(nn.Module):
    """The encoder and a classifier of the content teacher's units, which training needs."""

    def __init__(self, config: StreamContentConfig) -> None:
        super().__init__()
        self.config = config
        self.encoder = StreamContent(config)
        self.units = nn.Linear(config.dim, config.units)

    def forward(self, mel: Tensor) -> tuple[Tensor, Tensor]:
        """(B, T, 80) -> content (B, T, 144) and unit logits (B, T, units), late."""
        content, _ = self.encoder(mel)
        return content, self.units(content)


@dataclass(frozen=True)
class StreamPitchConfig:
    width: int = 96
    layers: int = 5
    kernel: int = 7
    lookahead: int = 2  # that of the content encoder
    window: int = 768
    lowest: float = 50.0  # Hz
    highest: float = 600.0
    classes: int = 176  # see `PitchConfig`
    around: int = 4
    n_mels: int = 80


class StreamPitch(PitchScale):
    """(B, T, 80) log-mel -> logits of the classes (B, classes, T), logit of voicing (B, T), `lookahead` frames late."""

    def __init__(self, config: StreamPitchConfig) -> None:
        super().__init__(config.lowest, config.highest, config.classes, config.around)
        self.config = config
        self.norm = MelNorm(config.n_mels)
        self.stem = nn.Sequential(nn.Linear(config.n_mels, config.width), nn.LayerNorm(config.width))
        self.stack = StreamStack(config.width, config.layers, config.kernel, config.lookahead)
        self.head = nn.Sequential(nn.LayerNorm(config.width), nn.Linear(config.width, config.classes + 1))

    def forward(self, mel: Tensor, state: Tensor | None = None) -> tuple[Tensor, Tensor, Tensor]:
        x, windows = self.stack(self.stem(normalised(self.norm, mel)), state)
        x = self.head(x)
        return x[:, :, :-1].transpose(1, 2), x[:, :, -1], windows

    def track(self, mel: Tensor, state: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """F0 (B, T) in Hz, 0 where unvoiced, `lookahead` frames late, and the windows of the stack."""
        logits, voicing, windows = self(mel, state)
        return torch.where(voicing > 0, self.decode(logits), torch.zeros_like(voicing)), windows


@dataclass(frozen=True)
class StreamConverterConfig:
    width: int = 256
    layers: int = 8
    kernel: int = 7
    content_dim: int = 144
    speaker_dim: int = 192
    film_dim: int = 128  # width of the condition that scales every block
    attention: AttentionConfig = field(default_factory=lambda: AttentionConfig(width=128, layers=1))
    attend_after: tuple[int, ...] = (2, 5)  # blocks with attention to the reference behind them
    n_mels: int = 80

    def __post_init__(self) -> None:
        """Raises InputError where an attention would stand behind no block, or where another one stands."""
        places = self.attend_after
        if len(set(places)) < len(places) or not all(0 <= place < self.layers for place in places):
            raise InputError(
                f"attend_after is {list(places)}, and the blocks are 0 to {self.layers - 1}; name each once at most"
            )


class StreamConverter(nn.Module):
    """Content (B, T, C) and pitch (B, T) -> log-mel (B, T, 80) in the voice of a speaker, in one step, causally.

    What depends on the voice alone is computed once, by `voice`.
    """

    def __init__(self, config: StreamConverterConfig) -> None:
        super().__init__()
        self.config = config
        self.norm = MelNorm(config.n_mels)
        self.harmonics = Harmonics()
        inputs = config.content_dim + config.n_mels + 1  # content, harmonic features, voicing
        self.stem = nn.Sequential(nn.Linear(inputs, config.width), nn.LayerNorm(config.width))
        self.stack = StreamStack(config.width, config.layers, config.kernel)
        self.reference = ReferenceEncoder(config.attention, config.n_mels + config.content_dim, config.speaker_dim)
        self.attentions = nn.ModuleList(MemoryAttention(config.attention, config.width) for _ in config.attend_after)
        self.condition = nn.Linear(config.speaker_dim, config.film_dim)
        self.film = nn.Linear(config.film_dim, config.layers * 2 * config.width)
        self.head = nn.Sequential(nn.LayerNorm(config.width), nn.Linear(config.width, config.n_mels))

    def voice(self, speaker: Tensor, keys: Tensor, reference: Tensor) -> tuple[Tensor, Tensor]:
        """What `forward` reads of a voice.

        Args:
            speaker: embedding (B, S).
            keys, reference: content (B, C, N) and log-mel (B, 80, N) of the target's frames.
        Returns:
            gains and biases of the blocks (B, 1, layers * 2 W); entries of the attentions' memory (B, M, A).
        """
        speaker = speaker * speaker.shape[1] ** 0.5  # unit variance per channel
        film = self.film(F.silu(self.condition(speaker)))[:, None]
        return film, self.reference(torch.cat([self.norm(reference), keys], 1), speaker).transpose(1, 2)

    def forward(
        self, content: Tensor, pitch: Tensor, film: Tensor, memory: Tensor, state: Tensor | None = None
    ) -> tuple[Tensor, Tensor]:
        """The mel and the windows of the stack. The pitch is the result's in Hz, 0 where unvoiced."""
        hints = [self.harmonics(pitch).transpose(1, 2), (pitch > 0).to(content.dtype)[:, :, None]]
        between = {
            place: lambda x, attention=attention: attention(x, memory)
            for place, attention in zip(self.config.attend_after, self.attentions, strict=True)
        }
        x, windows = self.stack(self.stem(torch.cat([content, *hints], 2)), state, film, between)
        return self.head(x) * self.norm.std.T + self.norm.mean.T, windows

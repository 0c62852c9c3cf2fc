"""Discriminators of waveforms, vocoder features and mels. Each returns its score maps and its layers' features."""

from __future__ import annotations

import itertools
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.utils.parametrizations import weight_norm

from ...mel import MEL
from .unet import StepEmbedding

SLOPE = 0.1  # of every leaky ReLU
FAINTEST = 1e-3  # added to each magnitude before the logarithm
CONTENT_CHANNELS = 80  # to which a conditional discriminator reduces the content
Spectrum = Literal["linear", "log"]
DiscriminatorOutput = tuple[list[Tensor], list[list[Tensor]]]  # scores, features: one entry per sub-discriminator


@dataclass(frozen=True)
class WaveDiscriminatorConfig:
    """Periods and resolutions as in BigVGAN (arXiv 2206.04658), the paper's choice."""

    periods: tuple[int, ...] = (2, 3, 5, 7, 11)
    period_channels: tuple[int, ...] = (32, 128, 512, 1024, 1024)
    resolutions: tuple[tuple[int, int, int], ...] = ((1024, 120, 600), (2048, 240, 1200), (512, 50, 240))
    resolution_channels: int = 32
    # Linear magnitudes as published, or their logarithm. The logarithm weighs the faint upper half of the spectrum as
    # much as the lower; a narrow discriminator needs it to tell harmonics from noise.
    spectrum: Spectrum = "linear"


class ConvStack(nn.Module):
    """Convolutions with leaky ReLUs between them; returns the output and every layer's features.

    The initialisation keeps the variance from layer to layer (arXiv 1502.01852). PyTorch's default halves it each time;
    a small stack then gives one score for all inputs for thousands of steps.
    """

    def __init__(self, *layers: nn.Conv1d | nn.Conv2d) -> None:
        super().__init__()
        for layer in layers:
            nn.init.kaiming_normal_(layer.weight, a=SLOPE)
        self.layers = nn.ModuleList(weight_norm(layer) for layer in layers)

    def forward(self, x: Tensor) -> tuple[Tensor, list[Tensor]]:
        features = []
        for layer in self.layers[:-1]:
            x = F.leaky_relu(layer(x), SLOPE)
            features.append(x)
        x = self.layers[-1](x)
        return x, features


class PeriodDiscriminator(nn.Module):
    """Folds (B, N) samples to (B, 1, N / period, period) and convolves along the columns (HiFi-GAN)."""

    def __init__(self, period: int, channels: tuple[int, ...]) -> None:
        super().__init__()
        self.period = period
        widths = (1, *channels)
        self.stack = ConvStack(
            *(
                nn.Conv2d(a, b, (5, 1), (3 if i < len(channels) - 1 else 1, 1), (2, 0))
                for i, (a, b) in enumerate(itertools.pairwise(widths))
            ),
            nn.Conv2d(channels[-1], 1, (3, 1), padding=(1, 0)),
        )

    def forward(self, wave: Tensor) -> tuple[Tensor, list[Tensor]]:
        wave = F.pad(wave[:, None], (0, -wave.shape[-1] % self.period), "reflect")
        return self.stack(wave.reshape(wave.shape[0], 1, -1, self.period))


class ResolutionDiscriminator(nn.Module):
    """Convolutions over the magnitude spectrogram of (B, N) samples at one resolution (UnivNet)."""

    window: Tensor

    def __init__(self, n_fft: int, hop: int, win: int, channels: int, spectrum: Spectrum) -> None:
        super().__init__()
        self.n_fft, self.hop, self.win, self.spectrum = n_fft, hop, win, spectrum
        self.register_buffer("window", torch.hann_window(win), False)
        self.stack = ConvStack(
            nn.Conv2d(1, channels, (3, 9), padding=(1, 4)),
            *(nn.Conv2d(channels, channels, (3, 9), (1, 2), (1, 4)) for _ in range(3)),
            nn.Conv2d(channels, channels, (3, 3), padding=(1, 1)),
            nn.Conv2d(channels, 1, (3, 3), padding=(1, 1)),
        )

    def forward(self, wave: Tensor) -> tuple[Tensor, list[Tensor]]:
        spectrum = torch.stft(wave, self.n_fft, self.hop, self.win, self.window, center=True, return_complex=True)
        magnitude = spectrum.abs()
        if self.spectrum == "log":  # between about -2 and 2 for speech
            magnitude = 1 + (magnitude + FAINTEST).log() / 2
        return self.stack(magnitude.transpose(1, 2)[:, None])


class WaveDiscriminator(nn.Module):
    """Multi-period and multi-resolution discriminators side by side: (B, N) samples."""

    def __init__(self, config: WaveDiscriminatorConfig) -> None:
        super().__init__()
        self.members = nn.ModuleList(
            [PeriodDiscriminator(p, config.period_channels) for p in config.periods]
            + [ResolutionDiscriminator(*r, config.resolution_channels, config.spectrum) for r in config.resolutions]
        )

    def forward(self, wave: Tensor) -> DiscriminatorOutput:
        scores, features = zip(*(member(wave) for member in self.members), strict=True)
        return list(scores), list(features)


class FeatureDiscriminator(nn.Module):
    """VPFD (arXiv 2508.17874): scores (B, C, T') features of a frozen vocoder at two scales.

    A small convolutional network that halves its rate twice; both the fine and the coarse end give scores. A
    conditional one also reads the content and the speaker embedding that the speech should have, as the discriminator
    of MeanVoiceFlow2 does. So it compares words and voice too, not only whether the speech is natural.

    Args:
        content_dim, speaker_dim: 0: not conditional.
    """

    def __init__(self, inputs: int, channels: int = 128, content_dim: int = 0, speaker_dim: int = 0) -> None:
        super().__init__()
        self.content = nn.Conv1d(content_dim, CONTENT_CHANNELS, 1) if content_dim else None
        self.speaker = nn.Linear(speaker_dim, channels) if speaker_dim else None
        self.fine = ConvStack(
            nn.Conv1d(inputs + (CONTENT_CHANNELS if content_dim else 0), channels, 5, padding=2),
            nn.Conv1d(channels, channels, 5, padding=2),
            nn.Conv1d(channels, 1, 3, padding=1),
        )
        self.coarse = ConvStack(
            nn.Conv1d(channels, channels, 5, 2, padding=2),
            nn.Conv1d(channels, channels, 5, 2, padding=2),
            nn.Conv1d(channels, channels, 5, padding=2),
            nn.Conv1d(channels, 1, 3, padding=1),
        )

    def forward(self, x: Tensor, content: Tensor | None = None, speaker: Tensor | None = None) -> DiscriminatorOutput:
        """Scores and features.

        Args:
            x: (B, C, T').
            content, speaker: (B, D, T) and (B, S), of a conditional discriminator.
        """
        if self.content is not None:
            assert content is not None
            x = torch.cat([x, F.interpolate(self.content(content), x.shape[2])], 1)
        fine, fine_features = self.fine(x)
        coarse, coarse_features = self.coarse(fine_features[-1])
        scores, features = [fine, coarse], [fine_features, coarse_features]
        return (scores if speaker is None else self._with_speaker(scores, features, speaker)), features

    def _with_speaker(self, scores: list[Tensor], features: list[list[Tensor]], speaker: Tensor) -> list[Tensor]:
        """Add the inner product of a speaker and the last features to each score (arXiv 1802.05637)."""
        assert self.speaker is not None
        direction = self.speaker(speaker * speaker.shape[1] ** 0.5)[:, :, None]  # unit variance per channel
        return [s + (direction * f[-1]).mean(1, keepdim=True) for s, f in zip(scores, features, strict=True)]


class MelDiscriminator(nn.Module):
    """Diffusion-GAN (arXiv 2206.02262) on mels, as in MeanVoiceFlow2.

    Scores normalised mels (B, 80, T) that are diffused to steps (B,), given those steps.

    Args:
        content_dim, speaker_dim: see `FeatureDiscriminator`.
    """

    def __init__(self, channels: int = 128, content_dim: int = 0, speaker_dim: int = 0) -> None:
        super().__init__()
        self.step = StepEmbedding(MEL.n_mels)
        self.stack = FeatureDiscriminator(MEL.n_mels, channels, content_dim, speaker_dim)

    def forward(
        self, x: Tensor, step: Tensor, content: Tensor | None = None, speaker: Tensor | None = None
    ) -> DiscriminatorOutput:
        return self.stack(x + self.step(step)[:, :, None], content, speaker)

"""Who judges the student, and what they see of a mel: the paper's choice and the authors' two later ones.

- "wave" (FastVoiceGrad, arXiv 2409.02245, section 3): the waveform that the frozen vocoder makes of it, by
  multi-period and multi-resolution discriminators.
- "features" (VPFD, arXiv 2508.17874): features inside the frozen vocoder, after its first up-sampling.
- "mel" (MeanVoiceFlow2): the mel itself, diffused to a random step; no vocoder takes part.

Real mels and the student's pass the same way; the gradient passes through the vocoder and leaves it as it is.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

import numpy as np
import torch
from torch import Tensor, nn

from ...diffusion import diffuse
from ...mel import MEL
from ..loop import Batch
from ..models.blocks import MelNorm
from ..models.discriminators import FeatureDiscriminator, MelDiscriminator, WaveDiscriminator, WaveDiscriminatorConfig
from ..models.vocoder import HiFiGAN, SpectralVocoder

Vocoder = SpectralVocoder | HiFiGAN


@dataclass(frozen=True)
class AdversaryConfig:
    input: Literal["features", "wave", "mel"] = "features"
    channels: int = 128  # of the discriminator of features or mels
    wave: WaveDiscriminatorConfig = field(default_factory=WaveDiscriminatorConfig)  # that of waveforms
    steps: tuple[int, int] = (1, 1000)  # first and last to which mels are diffused before they are judged


class Adversary:
    """What a discriminator sees. Mels are normalised, (B, 80, T)."""

    def __init__(self, config: AdversaryConfig, vocoder: Vocoder, norm: MelNorm, alpha_bar: Tensor) -> None:
        self.config, self.vocoder, self.norm, self.alpha_bar = config, vocoder, norm, alpha_bar

    def discriminator(self) -> nn.Module:
        """A new one that takes what `see` returns."""
        match self.config.input:
            case "wave":
                return WaveDiscriminator(self.config.wave)
            case "features":
                return FeatureDiscriminator(self.vocoder.feature_channels, self.config.channels)
            case _:
                return MelDiscriminator(self.config.channels)

    def draw(self, random: np.random.Generator, mel: Tensor) -> Batch:
        """What is random about seeing a batch."""
        size, bins, frames = mel.shape
        match self.config.input:
            case "wave":
                noise = random.standard_normal((size, frames * MEL.hop_length), dtype=np.float32)
                return {"seen_noise": torch.from_numpy(noise)}
            case "features":
                return {}
            case _:
                first, last = self.config.steps
                noise = random.standard_normal((size, bins, frames), dtype=np.float32)
                step = random.integers(first, last + 1, size)
                return {"seen_noise": torch.from_numpy(noise), "seen_step": torch.from_numpy(step)}

    def see(self, x: Tensor, batch: Batch) -> tuple[Tensor, ...]:
        """The discriminator's arguments for mels (B', 80, T); where B' > B, what follows the batch's items is of its
        first ones again."""
        if self.config.input == "features":
            return (self.vocoder.features(self.norm.undo(x)),)
        again = torch.arange(len(x), device=x.device) % len(batch["seen_noise"])
        noise = batch["seen_noise"][again]
        if self.config.input == "wave":
            return (rendered(self.vocoder, self.norm.undo(x), noise),)
        step = batch["seen_step"][again]
        return diffuse(x, noise, self.alpha_bar.to(x.device)[step][:, None, None]), step


def rendered(vocoder: Vocoder, mel: Tensor, noise: Tensor) -> Tensor:
    """Log-mel (B, 80, T) -> (B, 256 T) samples; `noise` as many, of normal distribution, for a vocoder that has any."""
    if isinstance(vocoder, SpectralVocoder):
        return vocoder.render(mel, vocoder.filters(mel), noise)
    wave: Tensor = vocoder(mel)
    return wave

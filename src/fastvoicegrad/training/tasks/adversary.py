"""The discriminator's input: the paper's choice, and two later ones by the same authors.

- "wave" (FastVoiceGrad, arXiv 2409.02245, section 3): the waveform that a frozen vocoder makes of the mel, for
  multi-period and multi-resolution discriminators.
- "features" (VPFD, arXiv 2508.17874): features inside the frozen vocoder, after its first up-sampling.
- "mel" (MeanVoiceFlow2): the mel itself, diffused to a random step; without a vocoder.

With `conditional` a discriminator of features or mels also reads the content and the speaker that the speech should
have. MeanVoiceFlow2 does so.

Real mels and the student's take the same path. The gradient passes through the vocoder, whose weights are fixed.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

import numpy as np
import torch
from torch import Tensor, nn

from ...diffusion import diffuse
from ...mel import MEL
from ..models.discriminators import FeatureDiscriminator, MelDiscriminator, WaveDiscriminator, WaveDiscriminatorConfig
from ..models.unet import UNet
from ..models.vocoder import SpectralVocoder
from ..networks import Vocoder
from ..schedule import draw_steps
from ..task import Batch


@dataclass(frozen=True)
class AdversaryConfig:
    input: Literal["features", "wave", "mel"] = "features"
    channels: int = 128  # of the discriminator of features or mels
    conditional: bool = False  # that discriminator compares content and speaker too
    wave: WaveDiscriminatorConfig = field(default_factory=WaveDiscriminatorConfig)  # the discriminator of waveforms


class Adversary:
    """Makes a discriminator and its inputs. Mels are normalised, (B, 80, T)."""

    def __init__(self, config: AdversaryConfig, vocoder: Vocoder, student: UNet, alpha_bar: Tensor) -> None:
        self.config, self.vocoder, self.alpha_bar = config, vocoder, alpha_bar
        self.norm = student.norm
        self.dims = (student.config.content_dim, student.config.speaker_dim) if config.conditional else (0, 0)

    def discriminator(self) -> nn.Module:
        """A new discriminator for `inputs`."""
        match self.config.input:
            case "wave":
                return WaveDiscriminator(self.config.wave)
            case "features":
                return FeatureDiscriminator(self.vocoder.feature_channels, self.config.channels, *self.dims)
            case _:
                return MelDiscriminator(self.config.channels, *self.dims)

    def draw(self, random: np.random.Generator, mel: Tensor) -> Batch:
        """Everything random about the inputs of a batch of mels: "adversary_noise", "adversary_step"."""
        size, bins, frames = mel.shape
        match self.config.input:
            case "wave":
                noise = random.standard_normal((size, frames * MEL.hop_length), dtype=np.float32)
                return {"adversary_noise": torch.from_numpy(noise)}
            case "features":
                return {}
            case _:
                noise = random.standard_normal((size, bins, frames), dtype=np.float32)
                step = draw_steps(random, size, 1, len(self.alpha_bar) - 1)
                return {"adversary_noise": torch.from_numpy(noise), "adversary_step": step}

    def inputs(self, x: Tensor, batch: Batch) -> tuple[Tensor, ...]:
        """The discriminator's arguments for mels (B', 80, T).

        Where B' > B, the mels after the batch's items are conversions of its first items. They take the noise, step and
        content of these items, and the speakers that they are converted to.
        """
        size = len(batch["mel"])
        item = torch.arange(len(x), device=x.device) % size
        match self.config.input:
            case "wave":
                return (rendered(self.vocoder, self.norm.undo(x), batch["adversary_noise"][item]),)
            case "features":
                return self.vocoder.features(self.norm.undo(x)), *self._conditions(batch, item)
            case _:
                step = batch["adversary_step"][item]
                ab = self.alpha_bar.to(x.device)[step][:, None, None]
                return diffuse(x, batch["adversary_noise"][item], ab), step, *self._conditions(batch, item)

    def _conditions(self, batch: Batch, item: Tensor) -> tuple[Tensor, ...]:
        """Content and speaker of each mel of `inputs`; none without `conditional`."""
        if not self.config.conditional:
            return ()
        speaker = batch["speaker"]
        if len(item) > len(speaker):
            speaker = torch.cat([speaker, batch["to_speaker"]])
        return batch["crop_content"][item], speaker[: len(item)]


def rendered(vocoder: Vocoder, mel: Tensor, noise: Tensor) -> Tensor:
    """Log-mel (B, 80, T) -> (B, 256 T) samples.

    Args:
        noise: (B, 256 T), standard normal; a vocoder without noise ignores it.
    """
    if isinstance(vocoder, SpectralVocoder):
        return vocoder.render(mel, vocoder.filters(mel), noise)
    wave: Tensor = vocoder(mel)
    return wave

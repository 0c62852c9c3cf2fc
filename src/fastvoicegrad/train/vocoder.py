"""Train the spectral vocoder: spectra first, then also against wave discriminators (Vocos, HiFi-GAN)."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
import torch
from torch import Tensor

from ..data.crops import Crops, mel_statistics
from ..data.store import Store
from ..losses import (
    LogMel,
    adversarial_discriminator,
    adversarial_generator,
    anti_wrapping_phase,
    feature_matching,
    multi_resolution_stft,
    weighted_sum,
)
from ..mel import MEL
from ..models.blocks import inner
from ..models.discriminators import WaveDiscriminator, WaveDiscriminatorConfig
from ..models.vocoder import SpectralVocoder, VocoderConfig
from .loop import Batch, LoopConfig, Scalars, Task


@dataclass(frozen=True)
class VocoderRecipe:
    store: str
    loop: LoopConfig
    model: VocoderConfig = field(default_factory=VocoderConfig)
    discriminator: WaveDiscriminatorConfig = field(default_factory=WaveDiscriminatorConfig)
    frames: int = 32  # of a crop: 8,192 samples, as HiFi-GAN
    adversary_start: int = 0  # steps on spectral losses alone before the discriminator joins
    corpora: dict[str, float] = field(default_factory=dict)
    weights: dict[str, float] = field(
        default_factory=lambda: {"mel": 45.0, "stft": 0.0, "phase": 0.0, "adv": 1.0, "fm": 2.0}
    )


def target_spectrum(wave: Tensor, window: Tensor) -> Tensor:
    """Complex spectrum of the mel's own frames: (B, N) -> (B, 513, N // 256)."""
    padded = torch.nn.functional.pad(wave[:, None], (MEL.padding,) * 2, "reflect")[:, 0]
    return torch.stft(padded, MEL.n_fft, MEL.hop_length, window=window, center=False, return_complex=True)


class VocoderTask(Task):
    name = "vocoder"

    def __init__(self, recipe: VocoderRecipe) -> None:
        self.recipe, self.loop = recipe, recipe.loop
        store = Store(recipe.store)
        self.crops = Crops(store, "train", recipe.frames, recipe.corpora, wideband=True)
        torch.manual_seed(recipe.loop.seed)
        generator = SpectralVocoder(recipe.model)
        generator.norm.fit(mel_statistics(store, self.crops))
        self.modules = {"vocoder": generator, "discriminator": WaveDiscriminator(recipe.discriminator)}
        self.log_mel = LogMel()
        self.frozen = {"log_mel": self.log_mel}

    def model_config(self) -> VocoderConfig:
        return self.recipe.model

    def batch(self, random: np.random.Generator, size: int) -> Batch:
        crops = self.crops.draw(random, size)
        # Loudness is the converter's business: the vocoder must render any.
        gain = torch.from_numpy(10 ** random.uniform(-0.6, 0.3, (size, 1)).astype(np.float32))
        wave = self.crops.wave(crops) * gain
        return {"wave": wave}

    @property
    def adversarial(self) -> bool:
        return self.step >= self.recipe.adversary_start

    def generate(self, wave: Tensor) -> tuple[Tensor, Tensor]:
        """The rendering of a recording's mel, (B, N), and its phase, (B, 513, T)."""
        vocoder: SpectralVocoder = inner(self.modules["vocoder"])
        magnitude, phase = vocoder.spectrum(self.log_mel(wave))
        return vocoder.inverse_stft(magnitude, phase), phase

    def discriminator_loss(self, batch: Batch) -> Tensor | None:
        self._fake = self.generate(batch["wave"])
        if not self.adversarial:
            return None
        real, _ = self.modules["discriminator"](batch["wave"])
        fake, _ = self.modules["discriminator"](self._fake[0].detach())
        return adversarial_discriminator(real, fake)

    def losses(self, batch: Batch) -> dict[str, Tensor]:
        wave, weights = batch["wave"], self.recipe.weights
        fake, phase = self._fake
        losses = {"mel": (self.log_mel(fake) - self.log_mel(wave)).abs().mean()}
        if weights["stft"]:
            losses["stft"] = multi_resolution_stft(wave, fake)
        if weights["phase"]:
            spectrum = target_spectrum(wave, self.log_mel.window)
            losses["phase"] = anti_wrapping_phase(spectrum.angle(), spectrum.abs(), phase)
        if self.adversarial:
            discriminator = self.modules["discriminator"].requires_grad_(False)
            scores, features = discriminator(fake)
            with torch.no_grad():
                _, real_features = discriminator(wave)
            discriminator.requires_grad_(True)
            losses["adv"] = adversarial_generator(scores)
            losses["fm"] = feature_matching(real_features, features)
        return losses

    def total(self, losses: dict[str, Tensor]) -> Tensor:
        return weighted_sum(losses, self.recipe.weights)

    def validate(self) -> Scalars:
        """Spectral distances on a fixed draw of training crops (no wide-band recording is held out for it)."""
        random = np.random.default_rng(1)
        wave = self.crops.wave(self.crops.draw(random, 32)).to(self.log_mel.window.device)
        fake, _ = self.generate(wave)
        return {
            "mel_l1": float((self.log_mel(fake) - self.log_mel(wave)).abs().mean()),
            "stft": float(multi_resolution_stft(wave, fake)),
        }

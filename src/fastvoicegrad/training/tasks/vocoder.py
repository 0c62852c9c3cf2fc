"""Train the spectral vocoder: spectra and pitch first, then also against wave discriminators (HiFi-GAN)."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
import torch
from torch import Tensor

from ...mel import MEL
from ..data.crops import Crop, Crops, statistics
from ..data.store import Store
from ..loop import Batch, LoopConfig, Scalars, Task
from ..losses import (
    LogMel,
    adversarial_discriminator,
    adversarial_generator,
    feature_matching,
    multi_resolution_stft,
    weighted_sum,
)
from ..models.blocks import inner
from ..models.discriminators import WaveDiscriminator, WaveDiscriminatorConfig
from ..models.vocoder import SpectralVocoder, VocoderConfig


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
        default_factory=lambda: {"mel": 45.0, "stft": 10.0, "pitch": 10.0, "adv": 1.0, "fm": 2.0}
    )


FILLED = 0.475  # of a recording's rate: what resampling has left untouched


def below(wave: Tensor, frequency: Tensor) -> Tensor:
    """What is below a frequency (B,) in Hz of each wave (B, N). A recording that is silent above its own band says
    nothing of what belongs there: it is compared within the band alone, and so every corpus can teach."""
    bins = torch.fft.rfftfreq(wave.shape[1], 1 / MEL.sample_rate).to(wave.device)
    return torch.fft.irfft(torch.fft.rfft(wave) * (bins <= frequency[:, None]), wave.shape[1])


class VocoderTask(Task):
    name = "vocoder"

    def __init__(self, recipe: VocoderRecipe) -> None:
        self.recipe, self.loop = recipe, recipe.loop
        store = Store(recipe.store)
        self.crops = Crops(store, "train", recipe.frames, recipe.corpora)
        self.held_out = Crops(store, "valid", recipe.frames)
        torch.manual_seed(recipe.loop.seed)
        generator = SpectralVocoder(recipe.model)
        generator.norm.fit(statistics(store, self.crops, "mel"))
        self.modules = {"vocoder": generator, "discriminator": WaveDiscriminator(recipe.discriminator)}
        self.log_mel = LogMel()
        self.frozen = {"log_mel": self.log_mel}

    def model_config(self) -> VocoderConfig:
        return self.recipe.model

    @property
    def adversarial(self) -> bool:
        return self.step >= self.recipe.adversary_start

    def _sources(self, random: np.random.Generator, drawn: list[Crop]) -> Batch:
        size = len(drawn)
        rates = [self.crops.store.entries[crop.row].recording.sample_rate for crop in drawn]
        noise = random.standard_normal((size, self.crops.frames * MEL.hop_length), dtype=np.float32)
        return {
            "wave": self.crops.wave(drawn),
            "band": torch.tensor(rates) * FILLED,
            "pitch": self.crops.take("pitch", drawn),
            "noise": torch.from_numpy(noise),
            "start": torch.from_numpy(random.random((size, 1))),
        }

    def batch(self, random: np.random.Generator, size: int) -> Batch:
        batch = self._sources(random, self.crops.draw(random, size))
        # Loudness is the converter's business: the vocoder must render any.
        gain = torch.from_numpy(10 ** random.uniform(-0.6, 0.3, (size, 1)).astype(np.float32))
        return batch | {"wave": batch["wave"] * gain}

    def forward(self, batch: Batch) -> None:
        """The rendering of a recording's mel, (B, N), with its true pitch; and the pitch that is heard, (B, T)."""
        vocoder: SpectralVocoder = inner(self.modules["vocoder"])
        mel = self.log_mel(batch["wave"])
        heard, magnitude, phase, noise = vocoder.filters(mel)
        pitch = torch.where(batch["pitch"] > 0, batch["pitch"], heard.detach())
        wave = vocoder.render(mel, (pitch, magnitude, phase, noise), batch["noise"], batch["start"])
        self._fake, self._heard = below(wave, batch["band"]), heard
        self._real = below(batch["wave"], batch["band"])

    @staticmethod
    def _pitch_loss(heard: Tensor, batch: Batch) -> Tensor:
        """Mean |log F0 - log F0*| over voiced frames."""
        voiced = (batch["pitch"] > 0).float()
        error = (heard.log() - batch["pitch"].clamp(min=1).log()).abs()
        return (error * voiced).sum() / voiced.sum().clamp(min=1)

    def discriminator_loss(self, batch: Batch) -> Tensor:
        real, _ = self.modules["discriminator"](self._real)
        fake, _ = self.modules["discriminator"](self._fake.detach())
        return adversarial_discriminator(real, fake)

    def losses(self, batch: Batch) -> dict[str, Tensor]:
        wave, fake, weights = self._real, self._fake, self.recipe.weights
        losses = {
            "mel": (self.log_mel(fake) - self.log_mel(wave)).abs().mean(),
            "pitch": self._pitch_loss(self._heard, batch),
        }
        if weights["stft"]:
            losses["stft"] = multi_resolution_stft(wave, fake)
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
        """Spectral distances on a fixed draw of held-out voices."""
        random = np.random.default_rng(1)
        drawn = self._sources(random, self.held_out.draw(random, 32))
        batch = {key: value.to(self.log_mel.window.device) for key, value in drawn.items()}
        vocoder: SpectralVocoder = inner(self.modules["vocoder"])
        real = below(batch["wave"], batch["band"])
        mel = self.log_mel(batch["wave"])
        filters = vocoder.filters(mel)
        fake = below(vocoder.render(mel, filters, batch["noise"]), batch["band"])
        return {
            "mel_l1": (self.log_mel(fake) - self.log_mel(real)).abs().mean().item(),
            "stft": multi_resolution_stft(real, fake).item(),
            "pitch": self._pitch_loss(filters[0], batch).item(),
        }

"""Train the spectral vocoder: spectral and pitch losses first, then wave discriminators too (HiFi-GAN)."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
import torch
from torch import Tensor

from ...mel import MEL
from ..data.crops import Crop, Crops, statistics
from ..data.store import Store
from ..losses import (
    LogMel,
    adversarial_discriminator,
    adversarial_generator,
    feature_matching,
    multi_resolution_stft,
    phase_distance,
)
from ..models.blocks import inner
from ..models.discriminators import WaveDiscriminator, WaveDiscriminatorConfig
from ..models.vocoder import SpectralVocoder, VocoderConfig
from ..task import DISCRIMINATOR, AdversarialTask, Batch, LoopConfig, Scalars


@dataclass(frozen=True)
class VocoderRecipe:
    store: str
    loop: LoopConfig
    model: VocoderConfig = field(default_factory=VocoderConfig)
    discriminator: WaveDiscriminatorConfig = field(default_factory=WaveDiscriminatorConfig)
    frames: int = 32  # of a crop: 8,192 samples, as HiFi-GAN
    adversary_start: int = 0  # first step with the discriminator
    minimum_phase: bool = False  # the run begins with a pulses' filter of minimum phase
    align: bool = False  # lay the pulses where the recording's are; without, their phase is random
    corpora: dict[str, float] = field(default_factory=dict)  # weight of a frame by corpus; default 1
    least_dnsmos: float = 0.0  # recordings with a known DNSMOS below it are left out
    weights: dict[str, float] = field(
        default_factory=lambda: {"mel": 45.0, "stft": 10.0, "phase": 0.0, "pitch": 10.0, "adv": 1.0, "fm": 2.0}
    )


BANDWIDTH = 0.475  # usable share of a recording's sample rate: resampling filters attenuate what is above
VALIDATED, VALIDATION_SEED = 32, 1  # held-out crops


def below(wave: Tensor, frequency: Tensor) -> Tensor:
    """Low-pass each wave (B, N) at a frequency (B,) in Hz.

    A recording of a low rate has no target above its band. Compared within the band, it can still be used.
    """
    bins = torch.fft.rfftfreq(wave.shape[1], 1 / MEL.sample_rate).to(wave.device)
    return torch.fft.irfft(torch.fft.rfft(wave) * (bins <= frequency[:, None]), wave.shape[1])


class VocoderTask(AdversarialTask):
    name = "vocoder"

    def __init__(self, recipe: VocoderRecipe) -> None:
        self.recipe, self.loop, self.weights = recipe, recipe.loop, recipe.weights
        store = Store(recipe.store)
        self.crops = Crops(store, "train", recipe.frames, recipe.corpora, recipe.least_dnsmos)
        self.held_out = Crops(store, "valid", recipe.frames)
        torch.manual_seed(recipe.loop.seed)
        generator = SpectralVocoder(recipe.model)
        generator.norm.fit(statistics(store, self.crops, "mel"))
        self.modules = {"vocoder": generator, DISCRIMINATOR: WaveDiscriminator(recipe.discriminator)}
        self.log_mel = LogMel()
        self.frozen = {"log_mel": self.log_mel}

    def check(self) -> None:
        """Begin with minimum phase, where the recipe names it."""
        if self.recipe.minimum_phase:
            inner(self.modules["vocoder"]).take_minimum_phase()

    def model_config(self) -> VocoderConfig:
        return self.recipe.model

    @property
    def adversarial(self) -> bool:
        return self.step >= self.recipe.adversary_start

    def _take(self, random: np.random.Generator, drawn: list[Crop]) -> Batch:
        """wave (B, 256 T), its band (B,) and pitch (B, T) in Hz; noise (B, 256 T) and start (B, 1) of the sources."""
        size = len(drawn)
        rates = [self.crops.store.entries[crop.row].recording.sample_rate for crop in drawn]
        noise = random.standard_normal((size, self.crops.frames * MEL.hop_length), dtype=np.float32)
        return {
            "wave": self.crops.wave(drawn),
            "band": torch.tensor(rates) * BANDWIDTH,
            "pitch": self.crops.take("pitch", drawn),
            "noise": torch.from_numpy(noise),
            "start": torch.from_numpy(random.random((size, 1))),
        }

    def batch(self, random: np.random.Generator, size: int) -> Batch:
        batch = self._take(random, self.crops.draw(random, size))
        # The vocoder has to render every level.
        gain = torch.from_numpy(10 ** random.uniform(-0.6, 0.3, (size, 1)).astype(np.float32))
        return batch | {"wave": batch["wave"] * gain}

    def forward(self, batch: Batch) -> None:
        """Render the recording's mel with its true pitch, (B, N), and estimate that pitch, (B, T)."""
        vocoder: SpectralVocoder = inner(self.modules["vocoder"])
        mel = self.log_mel(batch["wave"])
        estimate, magnitude, phase, noise = vocoder.filters(mel)
        pitch = torch.where(batch["pitch"] > 0, batch["pitch"], estimate.detach())
        filters = pitch, magnitude, phase, noise
        start = vocoder.aligned(filters, batch["pitch"] > 0, batch["wave"]) if self.recipe.align else batch["start"]
        wave = vocoder.render(mel, filters, batch["noise"], start)
        self._fake, self._pitch = below(wave, batch["band"]), estimate
        self._real = below(batch["wave"], batch["band"])

    @staticmethod
    def _pitch_loss(pitch: Tensor, batch: Batch) -> Tensor:
        """E[|log F0 - log F0*|] over voiced frames."""
        voiced = (batch["pitch"] > 0).float()
        error = (pitch.log() - batch["pitch"].clamp(min=1).log()).abs()
        return (error * voiced).sum() / voiced.sum().clamp(min=1)

    def discriminator_loss(self, batch: Batch) -> Tensor:
        """L_adv(D) of the recording and its rendering."""
        real, _ = self.modules[DISCRIMINATOR](self._real)
        fake, _ = self.modules[DISCRIMINATOR](self._fake.detach())
        return adversarial_discriminator(real, fake)

    def losses(self, batch: Batch) -> dict[str, Tensor]:
        """mel: E[|m - m*|]. pitch, stft, phase, adv, fm: see `_pitch_loss` and losses.py."""
        return self.sound_losses(self._real, self._fake) | {"pitch": self._pitch_loss(self._pitch, batch)}

    def sound_losses(self, wave: Tensor, fake: Tensor) -> dict[str, Tensor]:
        """All losses but that of the pitch, of a recording (B, N) and its rendering."""
        losses = {"mel": (self.log_mel(fake) - self.log_mel(wave)).abs().mean()}
        if self.recipe.weights["stft"]:
            losses["stft"] = multi_resolution_stft(wave, fake)
        if self.recipe.weights.get("phase"):
            losses["phase"] = phase_distance(wave, fake)
        if self.adversarial:
            discriminator = self.modules[DISCRIMINATOR].requires_grad_(False)
            scores, features = discriminator(fake)
            with torch.no_grad():
                _, real_features = discriminator(wave)
            discriminator.requires_grad_(True)
            losses["adv"] = adversarial_generator(scores)
            losses["fm"] = feature_matching(real_features, features)
        return losses

    def validate(self) -> Scalars:
        """Spectral distances and the pitch loss on held-out voices, rendered with the estimated pitch."""
        random = np.random.default_rng(VALIDATION_SEED)
        drawn = self._take(random, self.held_out.draw(random, VALIDATED))
        batch = self.on_device(drawn)
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

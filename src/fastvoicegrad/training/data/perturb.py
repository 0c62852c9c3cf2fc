"""Voice perturbation in the mel domain: another vocal tract and another pitch, the same words (PyTorch).

NANSY (arXiv 2110.14513) perturbs formants, pitch and equaliser of the waveform. On a log-mel all three are linear.
Split each frame into its smooth envelope (the first cepstral coefficients) and the remaining harmonics. Stretch the two
along frequency by different factors. Add a smooth equaliser curve.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import torch
from torch import Tensor

from ...mel import MEL, cosine_basis, hz_to_mel, mel_to_hz

CEPSTRA = 22  # cosine coefficients of the envelope


@dataclass(frozen=True)
class PerturbConfig:
    """Strength of each perturbation. The stretches are drawn log-uniformly."""

    formant: float = 1.25  # largest stretch of the envelope, either way
    pitch: float = 1.5  # largest stretch of the harmonics, either way
    equaliser: float = 0.7  # strength of the curve, natural log; its root mean square is .71 of that (0.7: about 4 dB)
    gain: float = 0.35  # standard deviation, natural log
    noise: float = 0.3  # probability of added noise
    colour: float = 0.0  # the same of the noise's spectrum; 0: white
    room: float = 0.0  # probability of reverberation
    narrow: float = 0.0  # probability of a low-pass, as of telephones and old codecs
    masks: int = 0  # masked bands, and as many masked spans of time (SpecAugment, arXiv 1904.08779)
    band: int = 10  # largest width of a band in bins
    span: int = 10  # largest length of a span in frames
    tempo: float = 1.0  # largest stretch of time, either way; only the part content takes another one than 1


@lru_cache(maxsize=2)
def _centres() -> np.ndarray:
    """Centre frequencies of the mel bins in Hz, (n_mels,)."""
    return mel_to_hz(np.linspace(hz_to_mel(MEL.fmin), hz_to_mel(MEL.fmax), MEL.n_mels + 2)[1:-1])


@lru_cache(maxsize=4)
def stretch_matrix(factor: float) -> np.ndarray:
    """Moves the energy at frequency f to ``factor * f``: (n_mels, n_mels), rows interpolate two bins."""
    hz = _centres() / factor
    position = np.interp(hz, _centres(), np.arange(MEL.n_mels))
    low = np.minimum(position.astype(int), MEL.n_mels - 2)
    share = position - low
    matrix = np.zeros((MEL.n_mels, MEL.n_mels))
    rows = np.arange(MEL.n_mels)
    matrix[rows, low] = 1 - share
    matrix[rows, low + 1] += share
    return matrix


def voice_matrix(formant: float, pitch: float) -> np.ndarray:
    """Stretch the envelope by `formant` and the harmonics by `pitch`: (n_mels, n_mels) for log-mel frames."""
    smooth = cosine_basis(CEPSTRA).T @ cosine_basis(CEPSTRA)
    return stretch_matrix(formant) @ smooth + stretch_matrix(pitch) @ (np.eye(MEL.n_mels) - smooth)


@dataclass(frozen=True)
class Perturbations:
    """One perturbation for each item of a batch. Several mels of an item can get the same one."""

    matrices: Tensor  # (B, 80, 80)
    offset: Tensor  # (B, 80, 1)
    pitch: Tensor  # (B,), factor on F0

    def __call__(self, mel: Tensor) -> Tensor:
        """(B, 80, T) log-mel -> (B, 80, T)."""
        return (self.matrices @ mel + self.offset).clamp(min=float(np.log(MEL.floor)))


def _smooth_curves(random: np.random.Generator, size: int, deviation: float) -> np.ndarray:
    """Random curves of four cosines over the bins, (B, 80, 1). Their root mean square is .71 of `deviation`."""
    curves = random.normal(0, deviation, (size, 4)) * np.sqrt(MEL.n_mels / 8) @ cosine_basis(5)[1:]
    return np.asarray(curves[:, :, None])


def draw_perturbations(random: np.random.Generator, size: int, config: PerturbConfig) -> Perturbations:
    """Random voices, (B,); everything of `config` but noise, masks and tempo."""

    def stretch(largest: float) -> np.ndarray:
        return np.asarray(largest ** random.uniform(-1, 1, size))

    formant, pitch = stretch(config.formant), stretch(config.pitch)
    matrices = np.stack([voice_matrix(f, p) for f, p in zip(formant, pitch, strict=True)])
    offset = _smooth_curves(random, size, config.equaliser) + random.normal(0, config.gain, (size, 1, 1))
    return Perturbations(*(torch.from_numpy(x.astype(np.float32)) for x in (matrices, offset, pitch)))


def perturb(mel: Tensor, random: np.random.Generator, config: PerturbConfig) -> Tensor:
    """Another voice for every item, noise for some, masks: (B, 80, T) log-mel -> (B, 80, T)."""
    size = mel.shape[0]
    mel = draw_perturbations(random, size, config)(mel)
    if config.room:
        mel = reverberate(mel, random, config.room)
    level = mel.mean((1, 2), keepdim=True) + torch.from_numpy(
        random.uniform(-4.5, 0.0, (size, 1, 1)).astype(np.float32)
    )
    hiss = level + torch.from_numpy(random.normal(0, 0.3, mel.shape).astype(np.float32))
    if config.colour:
        hiss = hiss + torch.from_numpy(_smooth_curves(random, size, config.colour).astype(np.float32))
    noisy = torch.from_numpy(random.random((size, 1, 1)) < config.noise)
    mel = torch.where(noisy, torch.logaddexp(mel, hiss), mel)
    if config.narrow:
        mel = narrow_band(mel, random, config.narrow)
    return mask(mel, random, config) if config.masks else mel


def reverberate(mel: Tensor, random: np.random.Generator, probability: float) -> Tensor:
    """Some items in a room: (B, 80, T) -> (B, 80, T).

    The power of a diffuse room's response falls by 60 dB within the reverberation time, drawn from 0.15 to 0.6 s. Its
    whole power is drawn from -12 to 3 dB, relative to the direct sound.
    """
    size, _, frames = mel.shape
    age = torch.arange(frames) - torch.arange(frames)[:, None]  # (from, to) in frames
    decay = np.log(1e6) * MEL.hop_length / MEL.sample_rate / random.uniform(0.15, 0.6, (size, 1, 1))
    power = 10 ** random.uniform(-1.2, 0.3, (size, 1, 1)) * (random.random((size, 1, 1)) < probability)
    fall, share = (torch.from_numpy(x.astype(np.float32)) for x in (decay, power))
    tail = share * fall.expm1() * torch.exp(-fall * age.clamp(min=1)) * (age > 0)  # sums to `share`
    direct = (2 * mel).exp()
    return (direct + direct @ tail).log() / 2


def narrow_band(mel: Tensor, random: np.random.Generator, probability: float) -> Tensor:
    """Some items without the bins above a cutoff of 2.5 to 7 kHz: (B, 80, T) -> (B, 80, T)."""
    cutoff = np.where(random.random(len(mel)) < probability, random.uniform(2500, 7000, len(mel)), np.inf)
    kept = torch.from_numpy(_centres() < cutoff[:, None])[:, :, None]
    return mel.where(kept, float(np.log(MEL.floor)))


def mask(mel: Tensor, random: np.random.Generator, config: PerturbConfig) -> Tensor:
    """Set `masks` bands and as many spans of every item to its mean: (B, 80, T) -> (B, 80, T).

    An encoder has to infer the masked speech from what is around it.
    """
    size, bins, frames = mel.shape

    def stripes(length: int, widest: int) -> Tensor:  # (B, length), true where masked
        width = random.integers(0, widest + 1, (config.masks, size, 1))
        first = random.integers(0, length - widest + 1, (config.masks, size, 1))
        place = np.arange(length)
        return torch.from_numpy(((place >= first) & (place < first + width)).any(0))

    masked = stripes(bins, config.band)[:, :, None] | stripes(frames, config.span)[:, None, :]
    return torch.where(masked, mel.mean((1, 2), keepdim=True), mel)


def time_stretch_places(random: np.random.Generator, size: int, frames: int, tempo: float) -> Tensor:
    """Places (B, T') at which to read crops of `frames` frames, for a random tempo each.

    The factor lies between 1 / `tempo` and `tempo`. T' is even, and as long as the fastest tempo allows.
    """
    count = int(frames / tempo) // 2 * 2
    factor = tempo ** random.uniform(-1, 1, (size, 1))
    return torch.from_numpy((np.arange(count) * factor).astype(np.float32)).clamp(max=frames - 1)


def read_at(x: Tensor, places: Tensor) -> Tensor:
    """(B, T) or (B, C, T) read at `places` (B, T').

    Labels and pitch (B, T) take the nearest frame; mels (B, C, T) interpolate two frames.
    """
    if x.ndim == 2:
        return x.gather(1, places.round().long())
    low = places.long().clamp(max=x.shape[2] - 2)
    share = (places - low)[:, None]
    low = low[:, None].expand(-1, x.shape[1], -1)
    return torch.lerp(x.gather(2, low), x.gather(2, low + 1), share)

"""The renderer of streams (PyTorch): log-mel and pitch in, filters of a pulse train and of noise out, causally.

`stream.rendering` has the arithmetic after the network in NumPy; `render` is the same, differentiable.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ...mel import MEL
from ...stream.rendering import BINS, FFT, TAPS, UNKNOWN_PITCH, fold, rise, taper
from .blocks import MelNorm
from .harmonics import Harmonics
from .stream_layers import StreamStack, normalised

QUIETEST, LOUDEST, LOUDEST_NOISE = -12.0, 6.0, 3.0  # natural log of the filters' magnitudes
StreamFilters = tuple[Tensor, Tensor, Tensor]


@dataclass(frozen=True)
class StreamRendererConfig:
    width: int = 160
    layers: int = 6
    kernel: int = 7
    n_mels: int = 80


class StreamRenderer(nn.Module):
    """(B, T, 80) log-mel and pitch (B, T) in Hz, 0 where unvoiced -> filters of the T hops."""

    fold: Tensor
    taper: Tensor
    rise: Tensor

    def __init__(self, config: StreamRendererConfig) -> None:
        super().__init__()
        self.config = config
        self.norm = MelNorm(config.n_mels)
        self.harmonics = Harmonics()
        self.stem = nn.Sequential(nn.Linear(2 * config.n_mels + 1, config.width), nn.LayerNorm(config.width))
        self.stack = StreamStack(config.width, config.layers, config.kernel)
        self.head = nn.Sequential(nn.LayerNorm(config.width), nn.Linear(config.width, 3 * BINS))
        with torch.no_grad():
            self.head[1].get_parameter("bias")[2 * BINS :] = -4.0  # unfiltered noise is far louder than breath
        for name, weights in (("fold", fold()), ("taper", taper()), ("rise", rise())):
            self.register_buffer(name, torch.from_numpy(weights.copy()), False)

    def forward(self, mel: Tensor, pitch: Tensor, state: Tensor | None = None) -> tuple[StreamFilters, Tensor]:
        """The filters and the windows of the stack.

        Returns:
            log-magnitude and phase of the pulses' filter, log-magnitude of the noise's filter, (B, T, BINS) each.
        """
        voiced = (pitch > 0).to(mel.dtype)[:, :, None]
        inputs = [normalised(self.norm, mel), self.harmonics(pitch).transpose(1, 2), voiced]
        x, windows = self.stack(self.stem(torch.cat(inputs, 2)), state)
        pulses, phase, noise = self.head(x).chunk(3, 2)
        return (pulses.clamp(QUIETEST, LOUDEST), phase, noise.clamp(QUIETEST, LOUDEST_NOISE)), windows

    def _responses(self, log_magnitude: Tensor, phase: Tensor | float = 0.0) -> Tensor:
        """See `stream.rendering.responses`."""
        spectrum = torch.fft.rfft(torch.fft.irfft(log_magnitude, TAPS) * self.fold) + 1j * phase
        return torch.fft.rfft(torch.fft.irfft(spectrum.exp(), TAPS) * self.taper, FFT)

    def _filtered(self, excitation: Tensor, response: Tensor) -> Tensor:
        """Excitation (B, T, 256) and responses (B, T, FFT / 2 + 1) -> spectra of what starts in each hop."""
        before = F.pad(response, (0, 0, 1, -1))
        own, other = (torch.fft.rfft(excitation * share, FFT) for share in (self.rise, 1 - self.rise))
        return own * response + other * before

    def render(self, filters: StreamFilters, pitch: Tensor, noise: Tensor, start: Tensor | float = 0.0) -> Tensor:
        """(B, 256 T) samples; see `stream.rendering.render`.

        Args:
            noise: (B, T, 256), standard normal.
            start: (B, 1) phase of the pulse train before the first sample, in turns.
        """
        magnitude, phase, noise_magnitude = filters
        spectra = self._filtered(pulse_train(held(pitch), start), self._responses(magnitude, phase))
        spectra = spectra + self._filtered(noise, self._responses(noise_magnitude))
        sounds, hop = torch.fft.irfft(spectra, FFT).transpose(1, 2), MEL.hop_length
        total = FFT + hop * (pitch.shape[1] - 1)
        return F.fold(sounds, (1, total), (1, FFT), stride=(1, hop))[:, 0, 0, : hop * pitch.shape[1]]


def held(pitch: Tensor) -> Tensor:
    """Pitch (B, T) whose unvoiced frames take the last voiced one."""
    known = F.pad(pitch, (1, 0), value=UNKNOWN_PITCH)
    places = torch.arange(known.shape[1], device=pitch.device).expand_as(known)
    return known.gather(1, places.where(known > 0, torch.zeros_like(places)).cummax(1).values)[:, 1:]


def pulse_train(pitch: Tensor, start: Tensor | float = 0.0) -> Tensor:
    """Band-limited unit pulses: pitch (B, T) in Hz at the hops' ends -> (B, T, 256)."""
    hop = MEL.hop_length
    before = torch.cat([pitch[:, :1], pitch[:, :-1]], 1)
    steps = (torch.arange(hop, device=pitch.device, dtype=torch.float64) + 1) / hop
    f0 = (before[:, :, None] + (pitch - before)[:, :, None] * steps).flatten(1)
    phase = (f0 / MEL.sample_rate).cumsum(1) + start
    pulses = torch.sinc((phase - phase.round()) * MEL.sample_rate / f0).float()
    return pulses.unflatten(1, (-1, hop))

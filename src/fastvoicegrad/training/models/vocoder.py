"""Vocoders: log-mel in, samples out.

`SpectralVocoder` has the body of Vocos (arXiv 2306.00814): ConvNeXt at the mel rate and one inverse STFT. It filters a
pulse train and noise. `HiFiGAN` is HiFi-GAN V1 (arXiv 2010.05646), the paper's vocoder; it loads the published
UNIVERSAL weights. Both have `features`, the input of the projected discriminator (VPFD, arXiv 2508.17874).
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.utils.parametrizations import weight_norm

from ...errors import InputError
from ...files import shown
from ...mel import MAGNITUDE_EPSILON, MEL, bands_of_bins, filterbank
from ...stream.rendering import minimum_phase
from ...vocoder import LARGEST_CORRECTION
from ..data.teachers import UNREADABLE
from .blocks import ChannelNorm, ConvNeXtBlock, MelNorm

Filters = tuple[Tensor, Tensor, Tensor, Tensor]
PITCH_CENTRE, PITCH_RANGE = 160.0, 1.6  # Hz, natural log: 32 to 790 Hz


@dataclass(frozen=True)
class VocoderConfig:
    width: int = 256
    layers: int = 6
    kernel: int = 7
    n_mels: int = 80
    n_fft: int = 1024
    hop_length: int = 256
    feature_layers: int = 2  # blocks before `features`
    corrections: int = 0  # iterations of `match_mel`


class SpectralVocoder(nn.Module):
    """(B, 80, T) log-mel -> (B, 256 T) samples, by filtering a pulse train and noise frame by frame.

    Vocos has to generate the phase of every bin, which the mel lacks; that takes a long adversarial training. Here the
    network estimates the pitch, and a pulse train of that pitch carries the phase from frame to frame. Only the two
    filters, those of a vocal tract, remain to be learnt (DDSP, arXiv 2001.04643).
    """

    window: Tensor
    mel_filters: Tensor
    bands: Tensor

    def __init__(self, config: VocoderConfig) -> None:
        super().__init__()
        self.config = config
        self.norm = MelNorm(config.n_mels)
        self.stem = nn.Conv1d(config.n_mels, config.width, config.kernel, padding=config.kernel // 2)
        self.stem_norm = ChannelNorm(config.width)
        self.blocks = nn.ModuleList(
            ConvNeXtBlock(config.width, config.kernel, layers=config.layers) for _ in range(config.layers)
        )
        self.head_norm = ChannelNorm(config.width)
        bins = config.n_fft // 2 + 1
        self.head = nn.Conv1d(config.width, 3 * bins, 1)
        with torch.no_grad():
            self.head.get_parameter("bias")[2 * bins :] = -4.0  # unfiltered noise is far louder than breath
        self.pitch = nn.Conv1d(config.width, 1, 1)
        self.register_buffer("window", torch.hann_window(config.n_fft), False)
        self.register_buffer("mel_filters", torch.from_numpy(filterbank()), False)
        self.register_buffer("bands", torch.from_numpy(bands_of_bins()), False)

    @torch.no_grad()
    def take_minimum_phase(self) -> None:
        """Give the pulses' filter minimum phase, in place: as a vocal tract, it answers each pulse at once.

        That phase is linear in the log-magnitude, as the head is in its weights.
        """
        bins = self.config.n_fft // 2 + 1
        linear = torch.from_numpy(minimum_phase(self.config.n_fft)).T
        for values in (self.head.weight[:, :, 0], self.head.get_parameter("bias")):
            values[bins : 2 * bins] = linear @ values[:bins]

    @property
    def feature_channels(self) -> int:
        return self.config.width

    def features(self, mel: Tensor) -> Tensor:
        """(B, 80, T) -> (B, width, T): output of the first blocks."""
        x = self.stem_norm(self.stem(self.norm(mel)))
        for block in self.blocks[: self.config.feature_layers]:
            x = block(x)
        return x

    def filters(self, mel: Tensor) -> Filters:
        """(B, 80, T) log-mel -> the two filters.

        Returns:
            pitch in Hz (B, T); log-magnitude and phase of the pulses' filter; log-magnitude of the noise's filter, each
            (B, n_fft / 2 + 1, T).
        """
        x = self.features(mel)
        for block in self.blocks[self.config.feature_layers :]:
            x = block(x)
        x = self.head_norm(x)
        pulses, phase, noise = self.head(x).chunk(3, 1)
        pitch = PITCH_CENTRE * self.pitch(x)[:, 0].clamp(-PITCH_RANGE, PITCH_RANGE).exp()
        return pitch, pulses.clamp(max=6.0), phase, noise.clamp(max=3.0)

    def stft(self, wave: Tensor) -> Tensor:
        """(B, 256 T) -> (B, 513, T), frame i over the samples of mel frame i, silence beyond the ends."""
        n_fft, hop = self.config.n_fft, self.config.hop_length
        padded = F.pad(wave, ((n_fft - hop) // 2,) * 2)
        return torch.stft(padded, n_fft, hop, window=self.window, center=False, return_complex=True)

    def inverse_stft(self, spectrum: Tensor) -> Tensor:
        """Overlap-add of the windowed frames (B, 513, T), trimmed: the inverse of `stft`."""
        n_fft, hop = self.config.n_fft, self.config.hop_length
        frames = torch.fft.irfft(spectrum, n_fft, dim=1) * self.window[:, None]
        total = n_fft + hop * (frames.shape[-1] - 1)

        def overlap_add(columns: Tensor) -> Tensor:
            return F.fold(columns, (1, total), (1, n_fft), stride=(1, hop))[:, 0, 0]

        envelope = overlap_add(self.window.square()[None, :, None].expand(1, n_fft, frames.shape[-1]))
        cut = (n_fft - hop) // 2
        keep = slice(cut, total - cut)
        return overlap_add(frames)[:, keep] / envelope[:, keep].clamp(min=1e-5)

    def match_mel(self, wave: Tensor, mel: Tensor) -> Tensor:
        """Bring the mel of samples (B, 256 T) nearer to a given one (B, 80, T).

        Each iteration measures the mel and corrects the gain of every band and frame. Frames overlap, so a correction
        also changes the neighbours; that is why it takes several.
        """
        for _ in range(self.config.corrections):
            spectrum = self.stft(wave)
            magnitude = (spectrum.real.square() + spectrum.imag.square() + MAGNITUDE_EPSILON).sqrt()
            measured = (self.mel_filters @ magnitude).clamp(min=MEL.floor).log()
            gain = (mel - measured).clamp(-LARGEST_CORRECTION, LARGEST_CORRECTION)
            wave = self.inverse_stft(spectrum * (self.bands @ gain).exp())
        return wave

    def render(self, mel: Tensor, filters: Filters, noise: Tensor, start: Tensor | float = 0.0) -> Tensor:
        """Filter the two sources and match the result's mel.

        Args:
            mel: (B, 80, T) log-mel to render.
            filters: as `filters` returns them, perhaps with another pitch.
            noise: (B, 256 T), standard normal.
            start: phase of the pulse train before the first sample, in turns: (B, 1), or (B, 256 T) to move its pulses.
        Returns:
            (B, 256 T).
        """
        filtered = self.pulses(filters, start) + self.stft(noise) * filters[3].exp()
        return self.match_mel(self.inverse_stft(filtered), mel)

    def pulses(self, filters: Filters, start: Tensor | float = 0.0) -> Tensor:
        """The filtered pulse train alone, (B, 513, T); see `render`."""
        pitch, magnitude, phase, _ = filters
        return self.stft(pulse_train(pitch, self.config.hop_length, start)) * torch.polar(magnitude.exp(), phase)

    @torch.no_grad()
    def aligned(self, filters: Filters, voiced: Tensor, wave: Tensor) -> Tensor:
        """The start (B, 256 T) of `render` that lays the pulses where those of recordings (B, 256 T) are.

        Then phases can be compared, and sounds within a period. The fundamental tells how the distances of the pulses
        vary. How far the pulses are from its peaks depends on the recording, so a search finds that.
        """
        pitch, hop = filters[0], self.config.hop_length
        start = turns_ahead(wave, pitch, voiced, hop)
        behind = lag(wave, self.inverse_stft(self.pulses(filters, start)), MEL.sample_rate / pitch.mean(1) / 2)
        return start - behind[:, None] * per_sample(pitch, hop) / MEL.sample_rate

    def forward(self, mel: Tensor) -> Tensor:
        """(B, 80, T) -> (B, 256 T), with fresh noise."""
        noise = torch.randn(mel.shape[0], mel.shape[2] * self.config.hop_length, device=mel.device)
        return self.render(mel, self.filters(mel), noise)


def per_sample(values: Tensor, hop: int) -> Tensor:
    """Values (B, T) at the middles of the frames -> (B, hop T), by straight lines."""
    return F.interpolate(values[:, None], scale_factor=float(hop), mode="linear")[:, 0]


def pulse_train(pitch: Tensor, hop: int, start: Tensor | float = 0.0) -> Tensor:
    """Band-limited unit pulses: pitch (B, T) in Hz at the middles of the frames -> (B, hop T) samples."""
    f0 = per_sample(pitch, hop)
    phase = (f0.double() / MEL.sample_rate).cumsum(1) + start
    return torch.sinc((phase - phase.round()).float() * MEL.sample_rate / f0)


def turns_ahead(wave: Tensor, pitch: Tensor, voiced: Tensor, hop: int) -> Tensor:
    """How far the fundamental of recordings is ahead of a pulse train of their pitch, in turns.

    The pitch demodulates the fundamental in windows of 35 ms. Its phase is followed from voiced frame to voiced frame.
    Elsewhere it stays: noise would move the pulses, as nothing does at run time.

    Args:
        wave: (B, hop T).
        pitch: (B, T) in Hz.
        voiced: (B, T) bool.
    Returns:
        (B, hop T), a start for `pulse_train`.
    """
    turns = (per_sample(pitch, hop).double() / MEL.sample_rate).cumsum(1)
    fundamental = wave.double() * torch.polar(torch.ones_like(turns), -2 * math.pi * turns)
    window = torch.hann_window(3 * hop, dtype=torch.float64, device=wave.device)
    phase = (F.pad(fundamental, (hop, hop)).unfold(1, 3 * hop, hop) * window).sum(2).angle() / (2 * math.pi)
    places = torch.arange(phase.shape[1], device=phase.device).expand_as(phase)
    phase = phase.gather(1, places.where(voiced, torch.zeros_like(places)).cummax(1).values)
    steps = phase.diff(dim=1)
    steps = steps - steps.round()
    followed = torch.cat([phase[:, :1], phase[:, :1] + steps.cumsum(1)], 1)
    return per_sample(followed, hop)


def lag(late: Tensor, early: Tensor, longest: Tensor) -> Tensor:
    """Samples (B,) by which signals (B, N) come later than others, from -longest to longest (B,).

    Magnitudes count by their root, so loud low harmonics do not decide alone.
    """
    size = 2 * late.shape[1]
    product = torch.fft.rfft(late, size) * torch.fft.rfft(early, size).conj()
    correlation = torch.fft.irfft(product / product.abs().clamp(min=1e-9).sqrt(), size)
    lags = torch.fft.fftfreq(size, 1 / size, device=late.device)
    return lags[correlation.masked_fill(lags.abs() > longest[:, None], -math.inf).argmax(1)]


class ResidualBlock(nn.Module):
    """HiFi-GAN's residual block "1": three pairs of dilated and plain convolutions."""

    def __init__(self, channels: int, kernel: int, dilations: tuple[int, ...]) -> None:
        super().__init__()

        def conv(dilation: int) -> nn.Module:
            padding = (kernel - 1) * dilation // 2
            return weight_norm(nn.Conv1d(channels, channels, kernel, padding=padding, dilation=dilation))

        self.convs1 = nn.ModuleList(conv(d) for d in dilations)
        self.convs2 = nn.ModuleList(conv(1) for _ in dilations)

    def forward(self, x: Tensor) -> Tensor:
        for conv1, conv2 in zip(self.convs1, self.convs2, strict=True):
            x = x + conv2(F.leaky_relu(conv1(F.leaky_relu(x, 0.1)), 0.1))
        return x


class HiFiGAN(nn.Module):
    """HiFi-GAN V1: (B, 80, T) log-mel -> (B, 256 T) samples. Names match the published checkpoints."""

    rates, kernels = (8, 8, 2, 2), (16, 16, 4, 4)
    block_kernels, dilations = (3, 7, 11), (1, 3, 5)
    feature_channels = 256

    def __init__(self, channels: int = 512) -> None:
        super().__init__()
        self.conv_pre = weight_norm(nn.Conv1d(80, channels, 7, padding=3))
        self.ups = nn.ModuleList()
        self.resblocks = nn.ModuleList()
        for i, (rate, kernel) in enumerate(zip(self.rates, self.kernels, strict=True)):
            inputs, outputs = channels >> i, channels >> (i + 1)
            self.ups.append(weight_norm(nn.ConvTranspose1d(inputs, outputs, kernel, rate, (kernel - rate) // 2)))
            self.resblocks.extend(ResidualBlock(outputs, k, self.dilations) for k in self.block_kernels)
        self.conv_post = weight_norm(nn.Conv1d(channels >> len(self.rates), 1, 7, padding=3))

    @classmethod
    def from_checkpoint(cls, path: str | Path) -> HiFiGAN:
        """The published generator (a file with the key "generator"), in evaluation mode.

        Raises:
            InputError: the file does not hold it.
        """
        model = cls()
        try:
            model.load_state_dict(torch.load(path, map_location="cpu", weights_only=True)["generator"])
        except UNREADABLE as error:
            raise InputError(
                f"{shown(path)} does not hold HiFi-GAN V1's generator; name the published generator_universal.pth.tar"
            ) from error
        return model.eval()

    def features(self, mel: Tensor) -> Tensor:
        """(B, 80, T) -> (B, 256, 8 T): output of the first upsampling stage, the input of VPFD."""
        return self.ups[0](F.leaky_relu(self.conv_pre(mel), 0.1))

    def forward(self, mel: Tensor) -> Tensor:
        x = self.features(mel)
        blocks = len(self.block_kernels)
        for i in range(len(self.rates)):
            if i > 0:
                x = self.ups[i](F.leaky_relu(x, 0.1))
            x = torch.stack([block(x) for block in self.resblocks[i * blocks : (i + 1) * blocks]]).mean(0)
        return torch.tanh(self.conv_post(F.leaky_relu(x)))[:, 0]

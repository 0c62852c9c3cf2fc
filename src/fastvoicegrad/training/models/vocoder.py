"""Vocoders: log-mel in, samples out.

`SpectralVocoder` has the body of Vocos (arXiv 2306.00814): ConvNeXt at the mel rate and one inverse STFT. It filters a
pulse train and noise. `HiFiGAN` is HiFi-GAN V1 (arXiv 2010.05646), the paper's vocoder; it loads the published
UNIVERSAL weights. Both have `features`, the input of the projected discriminator (VPFD, arXiv 2508.17874).
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.utils.parametrizations import weight_norm

from ...mel import MAGNITUDE_EPSILON, MEL, bands_of_bins, filterbank
from ...vocoder import LARGEST_CORRECTION
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
            start: (B, 1) phase of the pulse train before the first sample, in turns.
        Returns:
            (B, 256 T).
        """
        pitch, magnitude, phase, noise_magnitude = filters
        pulses = self.stft(pulse_train(pitch, self.config.hop_length, start))
        filtered = pulses * torch.polar(magnitude.exp(), phase) + self.stft(noise) * noise_magnitude.exp()
        return self.match_mel(self.inverse_stft(filtered), mel)

    def forward(self, mel: Tensor) -> Tensor:
        """(B, 80, T) -> (B, 256 T), with fresh noise."""
        noise = torch.randn(mel.shape[0], mel.shape[2] * self.config.hop_length, device=mel.device)
        return self.render(mel, self.filters(mel), noise)


def pulse_train(pitch: Tensor, hop: int, start: Tensor | float = 0.0) -> Tensor:
    """Band-limited unit pulses: pitch (B, T) in Hz at the middles of the frames -> (B, hop T) samples."""
    f0 = F.interpolate(pitch[:, None], scale_factor=float(hop), mode="linear")[:, 0]
    phase = (f0.double() / MEL.sample_rate).cumsum(1) + start
    return torch.sinc((phase - phase.round()).float() * MEL.sample_rate / f0)


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
        """The published generator (a file with the key "generator"), in evaluation mode."""
        model = cls()
        model.load_state_dict(torch.load(path, map_location="cpu", weights_only=True)["generator"])
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

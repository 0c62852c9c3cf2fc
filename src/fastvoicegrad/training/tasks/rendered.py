"""The mel of the sound that a mel becomes. Losses that read it teach a converter what its renderer or vocoder loses."""

from __future__ import annotations

from typing import cast

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ...mel import MEL, lowpass_projection
from ...postfilter import TILT_COSINES, PostFilter
from ..losses import LogMel
from ..models.stream_renderer import StreamRenderer
from ..models.vocoder import SpectralVocoder
from ..task import Batch

SETTLED = 8  # first frames that are cut: the renderer's caches are empty there


class RenderedMel(nn.Module):
    """Log-mel -> the log-mel of its rendering, differentiable.

    Args:
        renderer: fixed.
    """

    def __init__(self, renderer: StreamRenderer) -> None:
        super().__init__()
        self.renderer = renderer.requires_grad_(False)
        self.log_mel = LogMel()

    @staticmethod
    def draw(random: np.random.Generator, mel: Tensor) -> Batch:
        """What `forward` reads beside mels (B, 80, T) and their pitch."""
        size, frames = len(mel), mel.shape[2]
        noise = random.standard_normal((size, frames, MEL.hop_length), dtype=np.float32)
        return {"render_noise": torch.from_numpy(noise), "render_start": torch.from_numpy(random.random((size, 1)))}

    def forward(self, mel: Tensor, pitch: Tensor, batch: Batch) -> Tensor:
        """Mels (B, 80, T) and pitch (B, T) in Hz, 0 where unvoiced -> (B, 80, T - SETTLED).

        Args:
            batch: see `draw`; of at least T frames.
        """
        filters, _ = self.renderer(mel.transpose(1, 2), pitch)
        noise = batch["render_noise"][:, : pitch.shape[1]]
        sound = self.renderer.render(filters, pitch, noise, batch["render_start"])
        return cast(Tensor, self.log_mel(sound))[:, :, SETTLED:]


class VocodedMel(nn.Module):
    """Log-mel -> the log-mel of the sound that post-filter and vocoder make of it, differentiable.

    Args:
        vocoder: fixed. It corrects the mel as in its own training, without relaxation; a bundle may do otherwise.
        postfilter: its smoothing and sharpening. The target's variance is not matched.
    """

    tilt: Tensor

    def __init__(self, vocoder: SpectralVocoder, postfilter: PostFilter) -> None:
        super().__init__()
        self.vocoder, self.postfilter = vocoder, postfilter
        self.log_mel = LogMel()
        self.register_buffer("tilt", torch.from_numpy(lowpass_projection(TILT_COSINES)).float(), False)

    @staticmethod
    def draw(random: np.random.Generator, mel: Tensor) -> Batch:
        """What `forward` reads beside mels (B, 80, T)."""
        noise = random.standard_normal((len(mel), mel.shape[2] * MEL.hop_length), dtype=np.float32)
        return {"sound_noise": torch.from_numpy(noise)}

    def filtered(self, mel: Tensor) -> Tensor:
        """`postfilter.smooth` and `postfilter.sharpen` of (B, 80, T)."""
        weight, gain = self.postfilter.smoothing, self.postfilter.sharpening
        padded = F.pad(mel, (1, 1), mode="replicate")
        mel = (1 - 2 * weight) * mel + weight * (padded[:, :, :-2] + padded[:, :, 2:])
        coarse = self.tilt @ mel
        sharp = coarse + gain * (mel - coarse)
        return sharp + ((2 * mel).logsumexp(1, keepdim=True) - (2 * sharp).logsumexp(1, keepdim=True)) / 2

    def forward(self, mel: Tensor, pitch: Tensor, noise: Tensor) -> Tensor:
        """Mels (B, 80, T), pitch (B, T) in Hz, 0 where unvoiced, and noise (B, 256 T) -> (B, 80, T)."""
        mel = self.filtered(mel)
        estimate, pulses, phase, hiss = self.vocoder.filters(mel)
        # The gradient of the estimate runs through the phases of all later pulses. There it explodes.
        pitch = torch.where(pitch > 0, pitch, estimate.detach())
        return cast(Tensor, self.log_mel(self.vocoder.render(mel, (pitch, pulses, phase, hiss), noise)))

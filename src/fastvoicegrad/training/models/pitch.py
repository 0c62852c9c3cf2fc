"""Pitch tracker: the F0 of every frame, from the log-mel that all networks share.

A conversion keeps the source's melody. Mels of 80 bins blur harmonics, but their movement from frame to frame shows the
F0. The network classifies among narrow bands of pitch; the mean over the classes around the best one refines it (CREPE,
arXiv 1802.06182).
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from .blocks import ChannelNorm, ConvNeXtBlock, MelNorm


@dataclass(frozen=True)
class PitchConfig:
    width: int = 128
    layers: int = 6  # look-ahead of one frame each, the stem of two: 93 ms in all, as the content encoder
    kernel: int = 7
    lowest: float = 50.0  # Hz
    highest: float = 600.0
    classes: int = 176  # bands of pitch, 24 cents each
    around: int = 4  # classes on either side of the best one for the mean
    n_mels: int = 80


class PitchScale(nn.Module):
    """Classes of pitch, evenly spaced in octaves: the base of networks that choose among them.

    Args:
        around: classes on either side of the best one for the mean.
    """

    octaves: Tensor
    places: Tensor

    def __init__(self, lowest: float, highest: float, classes: int, around: int) -> None:
        super().__init__()
        self.lowest, self.highest, self.around = lowest, highest, around
        self.register_buffer("octaves", torch.linspace(math.log2(lowest), math.log2(highest), classes)[:, None], False)
        self.register_buffer("places", torch.arange(classes)[:, None], False)

    def classes_of(self, pitch: Tensor) -> Tensor:
        """Pitch (B, T) in Hz -> target probabilities (B, classes, T): a Gaussian over the nearest classes."""
        octaves = pitch.clamp(self.lowest, self.highest).log2()
        step = self.octaves[1] - self.octaves[0]
        return torch.softmax(-((octaves[:, None] - self.octaves) / step).square() / 2, dim=1)

    def decode(self, logits: Tensor) -> Tensor:
        """Logits (B, classes, T) -> pitch (B, T) in Hz.

        The sum goes over the last axis. Over the second one, the last bits depend on B and T in ONNX Runtime.
        """
        near = (self.places - logits.argmax(1, keepdim=True)).abs() <= self.around
        weights = torch.softmax(logits.masked_fill(~near, -1e4), dim=1)
        return (weights * self.octaves).mT.sum(2).exp2()


class PitchTracker(PitchScale):
    """(B, 80, T) log-mel -> logits of the classes of pitch (B, classes, T), logit of voicing (B, T)."""

    def __init__(self, config: PitchConfig) -> None:
        super().__init__(config.lowest, config.highest, config.classes, config.around)
        self.config = config
        self.norm = MelNorm(config.n_mels)
        self.stem = nn.Conv1d(config.n_mels, config.width, 5, padding=2)
        self.stem_norm = ChannelNorm(config.width)
        self.blocks = nn.Sequential(
            *(ConvNeXtBlock(config.width, config.kernel, right=1, layers=config.layers) for _ in range(config.layers))
        )
        self.head = nn.Sequential(ChannelNorm(config.width), nn.Conv1d(config.width, config.classes + 1, 1))

    def forward(self, mel: Tensor) -> tuple[Tensor, Tensor]:
        x = self.head(self.blocks(self.stem_norm(self.stem(self.norm(mel)))))
        return x[:, :-1], x[:, -1]

    def track(self, mel: Tensor) -> Tensor:
        """(B, 80, T) log-mel -> F0 (B, T) in Hz, 0 where unvoiced."""
        logits, voicing = self(mel)
        return torch.where(voicing > 0, self.decode(logits), torch.zeros_like(voicing))


def pitch_losses(tracker: PitchScale, logits: Tensor, voicing: Tensor, pitch: Tensor) -> dict[str, Tensor]:
    """Cross-entropy of the pitch classes over voiced frames, and of voicing over all frames.

    Args:
        logits: (B, classes, T), with `voicing` (B, T) the tracker's outputs.
        pitch: (B, T) in Hz, 0 where unvoiced.
    """
    voiced = (pitch > 0).float()
    entropy = F.cross_entropy(logits, tracker.classes_of(pitch), reduction="none")
    return {
        "pitch": (entropy * voiced).sum() / voiced.sum().clamp(min=1),
        "voicing": F.binary_cross_entropy_with_logits(voicing, voiced),
    }

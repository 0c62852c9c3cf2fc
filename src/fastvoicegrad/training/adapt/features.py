"""Losses on features of frozen networks (perceptual and style losses, arXiv 1603.08155)."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from ...mel import Array
from ..losses import frechet_distance
from .networks import BundleNetworks

SPEAKER = 2  # number of the speaker encoder's layer
SMALLEST = 1e-3  # standard deviation by which a feature is divided

Style = list[Tensor]  # of each layer: mean and standard deviation over time (2, C)


class FrozenFeatures:
    """Views of log-mels (B, 80, T): themselves, their change over time, and layers of speaker encoder and vocoder."""

    def __init__(self, networks: BundleNetworks) -> None:
        self.networks = networks

    def __call__(self, mel: Tensor) -> list[Tensor]:
        """(B, 80, T) -> each layer's features (B, C, T')."""
        return [mel, mel.diff(dim=2), self.networks.speaker.features(mel), self.networks.vocoder.features(mel)]

    def embedding(self, layers: Sequence[Tensor]) -> Tensor:
        """The speaker embedding (B, S) that these layers lead to."""
        return self.networks.speaker.pooled(layers[SPEAKER])

    @torch.no_grad()
    def style(self, mels: Sequence[Array]) -> Style:
        """The style of a voice, from its log-mels (80, T)."""
        features = [self(torch.from_numpy(np.ascontiguousarray(mel))[None]) for mel in mels]
        return [statistics(torch.cat(layers, 2)) for layers in zip(*features, strict=True)]

    def distance(self, made: Sequence[Tensor], real: Tensor, style: Style) -> Tensor:
        """Mean over layers of E[|f(made) - f(real)|], in units of the voice's standard deviations.

        Args:
            made: the layers of what was made.
        """
        with torch.no_grad():
            wanted = self(real)
        pairs = zip(made, wanted, style, strict=True)
        return torch.stack([((a - b) / scale(of).to(a.device)[:, None]).abs().mean() for a, b, of in pairs]).mean()

    def style_distance(self, made: Sequence[Tensor], style: Style) -> Tensor:
        """Mean over layers of the distance of mean and standard deviation over time and items, in the same units."""
        pairs = [(statistics(layer), of.to(layer.device)) for layer, of in zip(made, style, strict=True)]
        return torch.stack([((found - of) / scale(of)).abs().mean() for found, of in pairs]).mean()

    def frechet_distance(self, real: Sequence[Tensor], made: Sequence[Tensor]) -> float:
        """`losses.frechet_distance` of the vocoder's features of log-mels (1, 80, T)."""
        sets = [torch.cat([self.networks.vocoder.features(mel)[0].T for mel in mels]) for mels in (real, made)]
        return float(frechet_distance(sets[0], sets[1]))


def statistics(x: Tensor) -> Tensor:
    """Mean and standard deviation over items and time of (B, C, T): (2, C)."""
    frames = x.transpose(0, 1).flatten(1)
    return torch.stack([frames.mean(1), frames.std(1)])


def scale(style: Tensor) -> Tensor:
    """Standard deviations (C,) to divide by."""
    return style[1].clamp(min=SMALLEST)

"""Retrieved mel: for every source frame, the target's own frames of the most similar content, averaged.

The paper describes a voice by one vector, which takes very many training voices to fit a new one. A reference also
gives examples: its frames. Each source frame looks up the reference frames of the most similar content (kNN-VC, arXiv
2305.18975, with a soft nearest neighbour). Their weighted mean is the retrieved mel, a prior that the converter reads
beside x_t. It is rough, and smeared where the reference lacks the sound; the diffusion model completes it. Not in the
paper (`UNetConfig.retrieval`).
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from .blocks import LEAST_STD


class Retrieval(nn.Module):
    """Attention without learnt parameters: cosines of standardised content embeddings, then a sharp softmax."""

    mean: Tensor
    std: Tensor

    def __init__(self, content_dim: int, temperature: float) -> None:
        super().__init__()
        self.temperature = temperature
        self.register_buffer("mean", torch.zeros(content_dim, 1))
        self.register_buffer("std", torch.ones(content_dim, 1))

    def fit(self, content: Tensor) -> None:
        """Set the statistics from training frames of shape (T, C)."""
        self.mean.copy_(content.mean(0)[:, None])
        self.std.copy_(content.std(0)[:, None].clamp(min=LEAST_STD))

    def _directions(self, content: Tensor) -> Tensor:
        return F.normalize((content - self.mean) / self.std, dim=1)

    def forward(self, content: Tensor, keys: Tensor, values: Tensor) -> Tensor:
        """Look up the source's content in the reference.

        Args:
            content: of the source, (B, C, T).
            keys: content of the reference, (B, C, N).
            values: mel of the reference, (B, 80, N).
        Returns:
            the retrieved mel, (B, 80, T).
        """
        cosine = self._directions(content).transpose(1, 2) @ self._directions(keys)
        weights = (cosine / self.temperature).softmax(dim=2)
        return values @ weights.transpose(1, 2)

"""The draft: every frame of the source replaced by what the target's own recordings sound like at that content.

One vector per voice, as in the paper, has to be learnt from very many voices before it fits one that was never
heard. A reference says more than its mean: its frames are examples. Each source frame looks up the reference
frames of the most similar content (kNN-VC, arXiv 2305.18975, with a soft nearest neighbour) and the converter
sees their weighted mean beside x_t. The draft is rough, smeared where the reference never said the sound; what
is missing is for the diffusion model to fill in. A setting (`UNetConfig.draft`), off in the paper's recipe.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F


class Retrieval(nn.Module):
    """Attention without a learnt parameter: cosines of standardised content embeddings, a sharp softmax."""

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
        self.std.copy_(content.std(0)[:, None])

    def _directions(self, content: Tensor) -> Tensor:
        return F.normalize((content - self.mean) / self.std, dim=1)

    def forward(self, content: Tensor, keys: Tensor, values: Tensor) -> Tensor:
        """What the reference sounds like at the source's content.

        Args:
            content: of the source, (B, C, T).
            keys: content of the reference, (B, C, N).
            values: mel of the reference, (B, 80, N).
        Returns:
            the draft, (B, 80, T).
        """
        cosine = self._directions(content).transpose(1, 2) @ self._directions(keys)
        weights = (cosine / self.temperature).softmax(dim=2)
        return values @ weights.transpose(1, 2)


def agreement(estimate: Tensor, draft: Tensor, tolerance: float, smoothing: int = 7) -> Tensor:
    """Go from an estimate towards the draft, frame by frame as far as the two speak of the same sound.

    The draft has the voice, the estimate the words. Where their envelopes are near, the draft may be trusted and
    brings the voice's fine structure; where they are not, it says something else. Both are (B, 80, T), normalised;
    `tolerance` is the mean distance of envelopes, in standard deviations, at which the draft's share is 1 / e.
    """
    apart = draft - estimate
    envelope = F.avg_pool1d(apart.transpose(1, 2), smoothing, 1, smoothing // 2, count_include_pad=False)
    share = (-(envelope.abs().mean(2) / tolerance).square()).exp()
    return estimate + share[:, None] * apart

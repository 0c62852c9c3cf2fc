"""The speaker embedding of a voice's clips, by an encoder of log-mels."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from .recordings import Clip


def mean_embedding(encoder: nn.Module, clips: Sequence[Clip]) -> Tensor:
    """Mean speaker embedding (S,) of clips."""
    embeddings = [encoder(torch.from_numpy(clip.mel)[None])[0] for clip in clips]
    return F.normalize(torch.stack(embeddings).mean(0), dim=0)


def mean_cosine(encoder: nn.Module, clips: Sequence[Clip], embedding: Tensor) -> float:
    """Mean cosine of clips to an embedding (S,)."""
    return float(torch.stack([encoder(torch.from_numpy(clip.mel)[None])[0] @ embedding for clip in clips]).mean())

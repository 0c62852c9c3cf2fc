"""The mel of a stream's sound: losses that read it teach the converter what its renderer loses."""

from __future__ import annotations

from typing import cast

import numpy as np
import torch
from torch import Tensor, nn

from ...mel import MEL
from ..losses import LogMel
from ..models.stream_renderer import StreamRenderer
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

"""GE2E's speaker encoder (arXiv 1710.10467) with the weights of Resemblyzer: for the evaluation, and as a loss."""

from __future__ import annotations

from typing import Any, cast

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ..errors import InputError
from ..mel import MelConfig, filterbank
from .data.teachers import TEACHER_RATE, UNREADABLE, MelFeatures

GE2E_MEL = MelConfig(sample_rate=TEACHER_RATE, n_fft=400, hop_length=160, n_mels=40)
WINDOW, STEP = 160, 80  # frames of 10 ms: 1.6 s, half overlapping
SMALLEST = 1e-10  # power below which a band's log is cut


class Ge2e(nn.Module):
    """Three LSTM layers and a projection, frozen.

    Args:
        weights: path of Resemblyzer's `pretrained.pt`.
    Raises:
        InputError: they cannot be read.
    """

    def __init__(self, weights: str) -> None:
        super().__init__()
        self.lstm, self.linear = nn.LSTM(GE2E_MEL.n_mels, 256, 3, batch_first=True), nn.Linear(256, 256)
        try:
            state: dict[str, Any] = torch.load(weights, map_location="cpu", weights_only=True)["model_state"]
            self.load_state_dict({k: v for k, v in state.items() if k.startswith(("lstm.", "linear."))})
        except UNREADABLE as error:
            raise InputError(f"GE2E's weights {weights} cannot be read; name Resemblyzer's pretrained.pt") from error
        self.requires_grad_(False).eval()

    def forward(self, power: Tensor) -> Tensor:
        """Power in 40 mel bands (B, T, 40), every 10 ms -> embeddings (B, 256) of unit length, means over windows."""
        power = F.pad(power, (0, 0, 0, max(0, WINDOW - power.shape[1])))
        windows = power.unfold(1, WINDOW, STEP).transpose(2, 3)  # (B, windows, 160, 40)
        with torch.backends.cudnn.flags(enabled=False):  # cuDNN has no gradient in evaluation mode
            _, (hidden, _) = self.lstm(windows.flatten(0, 1))
        parts = F.normalize(self.linear(hidden[-1]).relu(), dim=1).unflatten(0, windows.shape[:2])
        return F.normalize(parts.mean(1), dim=1)


def mel_power(wave: Tensor) -> Tensor:
    """What GE2E reads: samples (N,) at 16 kHz -> power (T, 40), whose first frame is centred on the first sample."""
    window = torch.hann_window(GE2E_MEL.n_fft)
    spectrum = torch.stft(
        wave, GE2E_MEL.n_fft, GE2E_MEL.hop_length, window=window, pad_mode="constant", return_complex=True
    )
    return (torch.from_numpy(filterbank(GE2E_MEL)) @ spectrum.abs().square()).T


class MelGe2e(nn.Module):
    """GE2E's encoder on this project's log-mels, differentiable.

    Args:
        weights: as of `Ge2e`.
        waves: some dozen recordings (N,) at 22,050 Hz; see `MelFeatures`.
    """

    def __init__(self, weights: str, waves: list[np.ndarray]) -> None:
        super().__init__()
        self.encoder = Ge2e(weights)
        self.features = MelFeatures(waves, lambda wave: mel_power(wave).clamp(min=SMALLEST).log(), first=0.0)

    def forward(self, mel: Tensor) -> Tensor:
        """Log-mel (B, 80, T) -> embeddings (B, 256) of unit length."""
        return cast(Tensor, self.encoder(self.features(mel).exp()))

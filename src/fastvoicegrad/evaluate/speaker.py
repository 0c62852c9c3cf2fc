"""Whose voice it is: cosines by encoders that did not make it. Never compare cosines of different encoders."""

from __future__ import annotations

import numpy as np
import torch

RATE = 16000


class Ecapa:
    """SpeechBrain's ECAPA-TDNN for VoxCeleb (arXiv 2005.07143): independent, never used for training."""

    name = "ECAPA-TDNN VoxCeleb (SpeechBrain)"

    def __init__(self, weights: str) -> None:
        from speechbrain.lobes.features import Fbank
        from speechbrain.lobes.models.ECAPA_TDNN import ECAPA_TDNN

        self.features = Fbank(n_mels=80)
        self.model = ECAPA_TDNN(
            80,
            channels=[1024, 1024, 1024, 1024, 3072],
            kernel_sizes=[5, 3, 3, 3, 1],
            dilations=[1, 2, 3, 4, 1],
            attention_channels=128,
            lin_neurons=192,
        )
        self.model.load_state_dict(torch.load(weights, map_location="cpu", weights_only=True))
        self.model.eval()

    @torch.inference_mode()
    def __call__(self, wave: np.ndarray) -> np.ndarray:
        """(N,) at 16 kHz -> (192,) of unit length."""
        features = self.features(torch.from_numpy(wave)[None])
        features = features - features.mean(1, keepdim=True)
        embedding = self.model(features)[0, 0].numpy()
        return np.asarray(embedding / np.linalg.norm(embedding))

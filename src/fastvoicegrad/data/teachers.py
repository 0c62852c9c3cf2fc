"""Pretrained networks that only teach: none of their weights ships with this project.

Each takes the path of its published weights; MODEL_CARD.md names the sources and licences.
"""

from __future__ import annotations

from functools import lru_cache
from pathlib import Path

import numpy as np
import soxr
import torch

from ..mel import MEL, log_mel

TEACHER_RATE = 16000  # Hz, of every teacher here


def to_teacher_rate(wave: np.ndarray, rate: int) -> np.ndarray:
    return np.asarray(soxr.resample(wave, rate, TEACHER_RATE), dtype=np.float32)


class ContentTeacher:
    """One layer of a Whisper encoder (arXiv 2212.04356), 50 frames/s.

    Args:
        weights: path of an OpenAI checkpoint (``tiny.en.pt``) or a name that ``whisper`` knows.
        layer: how many transformer blocks the features have passed.
    """

    def __init__(self, weights: str, layer: int = 3) -> None:
        import whisper

        self.name = f"whisper {Path(weights).stem}, layer {layer}"
        self.encoder = whisper.load_model(weights, device="cpu").encoder.eval()
        self.layer = layer

    @torch.inference_mode()
    def __call__(self, wave: np.ndarray) -> np.ndarray:
        """``(N,)`` at 16 kHz, up to 30 s -> ``(N // 320, D)``; the frame ``j`` is centred on sample ``320 j``."""
        import whisper

        mel = whisper.log_mel_spectrogram(torch.from_numpy(wave))[None]
        mel = mel[..., : mel.shape[-1] // 2 * 2]
        encoder = self.encoder
        x = torch.nn.functional.gelu(encoder.conv1(mel))
        x = torch.nn.functional.gelu(encoder.conv2(x)).transpose(1, 2)
        x = x + encoder.positional_embedding[: x.shape[1]]  # unpadded: the embedding is cut to the input
        for block in encoder.blocks[: self.layer]:
            x = block(x)
        return np.asarray(x[0].numpy())


class SpeakerTeacher:
    """CAM++ (arXiv 2303.00332), 192-dim, trained on 200k Chinese and English speakers."""

    name = "CAM++ zh_en common"

    def __init__(self, weights: str) -> None:
        from speakerlab.models.campplus.DTDNN import CAMPPlus

        self.model = CAMPPlus(feat_dim=80, embedding_size=192)
        self.model.load_state_dict(torch.load(weights, map_location="cpu", weights_only=True))
        self.model.eval()

    @torch.inference_mode()
    def __call__(self, wave: np.ndarray) -> np.ndarray:
        """``(N,)`` at 16 kHz -> ``(192,)`` of unit length."""
        from torchaudio.compliance.kaldi import fbank

        features = fbank(torch.from_numpy(wave)[None], num_mel_bins=80, sample_frequency=TEACHER_RATE)
        features = features - features.mean(0)
        embedding = self.model(features[None])[0].numpy()
        return np.asarray(embedding / np.linalg.norm(embedding))


class MelSpeakerTeacher(torch.nn.Module):
    """CAM++ on this project's log-mels, differentiable: a linear map makes its features from ours.

    Both are log energies of 80 bands up to 8 kHz; the map, from three neighbouring frames brought to CAM++'s
    10 ms, is fitted by least squares on recordings. Fitted on sixty of 6 s, it gave embeddings of other recordings
    with a cosine of 0.84 to those made from the waveform.
    """

    map: torch.Tensor

    def __init__(self, weights: str, waves: list[np.ndarray]) -> None:
        """`waves`: some dozen recordings at 22,050 Hz to fit the map on."""
        from torchaudio.compliance.kaldi import fbank

        super().__init__()
        self.model = SpeakerTeacher(weights).model.requires_grad_(False)
        inputs, outputs = [], []
        for wave in waves:
            heard = torch.from_numpy(to_teacher_rate(wave, MEL.sample_rate))
            features = fbank(heard[None], num_mel_bins=80, sample_frequency=TEACHER_RATE)
            own = self._neighbours(torch.from_numpy(log_mel(wave))[None])[0]
            count = min(len(own), len(features))
            inputs.append(own[:count])
            outputs.append(features[:count])
        x, y = torch.cat(inputs), torch.cat(outputs)
        self.register_buffer("map", torch.linalg.solve(x.T @ x + 0.1 * torch.eye(x.shape[1]), x.T @ y))

    @staticmethod
    def _neighbours(mel: torch.Tensor) -> torch.Tensor:
        """(B, 80, T) log-mel -> (B, T', 241): frames of 25 ms every 10 ms, each beside its neighbours and a one."""
        frames, hop = mel.shape[-1], MEL.hop_length / MEL.sample_rate
        count = int((frames * hop - 0.025) / 0.01) + 1
        place = ((torch.arange(count, device=mel.device) * 0.01 + 0.0125) / hop - 0.5).clamp(0, frames - 1)
        low = place.long().clamp(max=frames - 2)
        x = torch.lerp(mel[..., low], mel[..., low + 1], place - low)
        x = torch.nn.functional.pad(x, (1, 1), mode="replicate").transpose(1, 2)
        return torch.cat([x[:, :-2], x[:, 1:-1], x[:, 2:], torch.ones_like(x[:, 2:, :1])], 2)

    def forward(self, mel: torch.Tensor) -> torch.Tensor:
        """(B, 80, T) log-mel -> (B, 192) of unit length."""
        features = self._neighbours(mel) @ self.map
        embedding: torch.Tensor = self.model(features - features.mean(1, keepdim=True))
        return torch.nn.functional.normalize(embedding, dim=1)


@lru_cache(maxsize=1)
def _pitch_detector() -> object:
    from swift_f0 import SwiftF0

    return SwiftF0(threads=1)


def pitch(wave: np.ndarray, times: np.ndarray) -> np.ndarray:
    """F0 in Hz at the given times (s), 0 where unvoiced. ``wave`` is ``(N,)`` at 16 kHz."""
    result = _pitch_detector().detect(wave, TEACHER_RATE)  # type: ignore[attr-defined]
    nearest = np.clip(np.searchsorted(result.timestamps, times), 0, len(result.timestamps) - 1)
    voiced = result.confidence[nearest] > 0.5
    return np.where(voiced, result.pitch_hz[nearest], 0.0).astype(np.float32)

"""Pretrained networks that only teach: none of their weights ships with this project.

Each takes the path of its published weights; MODEL_CARD.md names the sources and licences.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache, partial
from pathlib import Path
from typing import Any

import numpy as np
import soxr
import torch

from ...mel import MEL, log_mel

TEACHER_RATE = 16000  # Hz, of every teacher here


def to_teacher_rate(wave: np.ndarray, rate: int) -> np.ndarray:
    return np.asarray(soxr.resample(wave, rate, TEACHER_RATE), dtype=np.float32)


def whisper_layers(encoder: Any, mel: torch.Tensor, count: int) -> list[torch.Tensor]:
    """What the first `count` blocks of a Whisper encoder make of its log-mel (B, 80, 2 T): (B, T, D) each."""
    x = torch.nn.functional.gelu(encoder.conv1(mel))
    x = torch.nn.functional.gelu(encoder.conv2(x)).transpose(1, 2)
    x = x + encoder.positional_embedding[: x.shape[1]]  # unpadded: the embedding is cut to the input
    layers = []
    for block in encoder.blocks[:count]:
        x = block(x)
        layers.append(x)
    return layers


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
        return np.asarray(whisper_layers(self.encoder, mel[..., : mel.shape[-1] // 2 * 2], self.layer)[-1][0].numpy())


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


class MelFeatures(torch.nn.Module):
    """A teacher's own log-mel from this project's, differentiable: a linear map of three neighbouring frames, brought
    to the teacher's 10 ms, fitted by least squares on recordings. Both are log energies of 80 bands up to 8 kHz."""

    map: torch.Tensor

    def __init__(self, waves: list[np.ndarray], features: Callable[[torch.Tensor], torch.Tensor], first: float) -> None:
        """`waves`: some dozen recordings at 22,050 Hz to fit on; `features`: of one at 16 kHz, (N,), what the teacher
        makes, (T, 80); `first`: the time in s on which its first frame is centred."""
        super().__init__()
        self.first = first
        inputs, outputs = [], []
        for wave in waves:
            theirs = features(torch.from_numpy(to_teacher_rate(wave, MEL.sample_rate)))
            own = self._neighbours(torch.from_numpy(log_mel(wave))[None])[0]
            count = min(len(own), len(theirs))
            inputs.append(own[:count])
            outputs.append(theirs[:count])
        x, y = torch.cat(inputs), torch.cat(outputs)
        self.register_buffer("map", torch.linalg.solve(x.T @ x + 0.1 * torch.eye(x.shape[1]), x.T @ y))

    def _neighbours(self, mel: torch.Tensor) -> torch.Tensor:
        """(B, 80, T) log-mel -> (B, T', 241): a frame every 10 ms, each beside its neighbours and a one."""
        frames, hop = mel.shape[-1], MEL.hop_length / MEL.sample_rate
        count = int((frames * hop - 2 * self.first) / 0.01) + 1
        place = ((torch.arange(count, device=mel.device) * 0.01 + self.first) / hop - 0.5).clamp(0, frames - 1)
        low = place.long().clamp(max=frames - 2)
        x = torch.lerp(mel[..., low], mel[..., low + 1], place - low)
        x = torch.nn.functional.pad(x, (1, 1), mode="replicate").transpose(1, 2)
        return torch.cat([x[:, :-2], x[:, 1:-1], x[:, 2:], torch.ones_like(x[:, 2:, :1])], 2)

    def forward(self, mel: torch.Tensor) -> torch.Tensor:
        """(B, 80, T) log-mel -> (B, T', 80)."""
        return self._neighbours(mel) @ self.map


class MelSpeakerTeacher(torch.nn.Module):
    """CAM++ on this project's log-mels, differentiable.

    With the features' map fitted on sixty recordings of 6 s, embeddings of others had a cosine of 0.84 to those made
    from the waveform.
    """

    def __init__(self, weights: str, waves: list[np.ndarray]) -> None:
        """`waves`: see `MelFeatures`."""
        from torchaudio.compliance.kaldi import fbank

        super().__init__()
        self.model = SpeakerTeacher(weights).model.requires_grad_(False)
        features = partial(fbank, num_mel_bins=80, sample_frequency=TEACHER_RATE)
        self.features = MelFeatures(waves, lambda wave: features(wave[None]), first=0.0125)  # of windows of 25 ms

    def forward(self, mel: torch.Tensor) -> torch.Tensor:
        """(B, 80, T) log-mel -> (B, 192) of unit length."""
        features = self.features(mel)
        embedding: torch.Tensor = self.model(features - features.mean(1, keepdim=True))
        return torch.nn.functional.normalize(embedding, dim=1)


class MelRecogniser(torch.nn.Module):
    """A Whisper encoder on this project's log-mels, differentiable.

    With the features' map fitted on 64 crops of 1.5 s, what its blocks heard in others had cosines of 0.97 to 0.95 to
    what they heard in the waveform; in the same mels, rendered, 0.96 to 0.92. Its gradient is a twentieth of the one
    through a vocoder, and half as dear.
    """

    def __init__(self, weights: str, waves: list[np.ndarray]) -> None:
        """`weights`: as of `ContentTeacher`; `waves`: see `MelFeatures`."""
        import whisper

        super().__init__()
        self.encoder = whisper.load_model(weights, device="cpu").encoder.requires_grad_(False)
        self.depth = len(self.encoder.blocks)
        filters = whisper.audio.mel_filters("cpu", MEL.n_mels)

        def features(wave: torch.Tensor) -> torch.Tensor:
            window = torch.hann_window(whisper.audio.N_FFT)
            spectrum = torch.stft(wave, len(window), whisper.audio.HOP_LENGTH, window=window, return_complex=True)
            return (filters @ spectrum.abs().square()).clamp(min=1e-10).log10().T

        self.features = MelFeatures(waves, features, first=0.0)

    def forward(self, mel: torch.Tensor) -> list[torch.Tensor]:
        """(B, 80, T) log-mel, up to 30 s -> (B, T', D) of each block, 50 frames/s, of zero mean over the frames: a
        constant part is of voice and channel."""
        log = self.features(mel).transpose(1, 2)
        log = log[..., : log.shape[2] // 2 * 2]
        log = (torch.maximum(log, log.amax((1, 2), keepdim=True) - 8.0) + 4.0) / 4.0  # as Whisper scales it
        layers = whisper_layers(self.encoder, log, self.depth)
        return [layer - layer.mean(1, keepdim=True) for layer in layers]


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

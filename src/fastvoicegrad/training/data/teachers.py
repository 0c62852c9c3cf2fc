"""Pretrained networks that serve as teachers. Of their weights only CAM++'s ship, trained on: see models/speaker.py.

Each takes the path of its published weights; MODEL_CARD.md names the sources and licences.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache
from pathlib import Path
from pickle import UnpicklingError
from typing import Any

import numpy as np
import soxr
import torch

from ...errors import InputError
from ...mel import MEL, log_mel
from .filling import File

TEACHER_RATE = 16000  # Hz, of every teacher here


def to_teacher_rate(wave: np.ndarray, rate: int) -> np.ndarray:
    """Samples (N,) at `rate` Hz -> at 16 kHz."""
    return np.asarray(soxr.resample(wave, rate, TEACHER_RATE), dtype=np.float32)


UNREADABLE = (RuntimeError, OSError, LookupError, TypeError, EOFError, UnpicklingError)  # by a file of weights


def whisper_encoder(weights: str) -> Any:
    """The encoder of Whisper, frozen. `weights`: path of an OpenAI checkpoint, or a name that ``whisper`` knows.

    Raises:
        InputError: the package is missing, or it cannot read the weights.
    """
    try:
        import whisper
    except ImportError as error:
        raise InputError(
            "Whisper is not installed; run: pip install --no-deps openai-whisper && "
            "pip install tiktoken numba tqdm more-itertools"
        ) from error
    try:
        return whisper.load_model(weights, device="cpu").encoder.requires_grad_(False).eval()
    except UNREADABLE as error:
        raise InputError(
            f"Whisper's weights {weights} cannot be read; name a checkpoint of OpenAI, e.g. tiny.en.pt"
        ) from error


def whisper_frames(encoder: Any, mel: torch.Tensor) -> torch.Tensor:
    """What the blocks of a Whisper encoder read: its log-mel (B, 80, 2 T) -> (B, T, D)."""
    x = torch.nn.functional.gelu(encoder.conv1(mel))
    x = torch.nn.functional.gelu(encoder.conv2(x)).transpose(1, 2)
    frames: torch.Tensor = x + encoder.positional_embedding[: x.shape[1]]  # unpadded: cut to the input
    return frames


def whisper_layers(encoder: Any, mel: torch.Tensor, count: int) -> list[torch.Tensor]:
    """Outputs of the first `count` blocks of a Whisper encoder: its log-mel (B, 80, 2 T) -> (B, T, D) each."""
    x, layers = whisper_frames(encoder, mel), []
    for block in encoder.blocks[:count]:
        x = block(x)
        layers.append(x)
    return layers


class ContentTeacher:
    """One layer of a Whisper encoder (arXiv 2212.04356), 50 frames/s.

    Args:
        weights: as of `whisper_encoder`.
        layer: number of transformer blocks before the features.
    """

    def __init__(self, weights: str, layer: int = 3) -> None:
        self.name = f"whisper {Path(weights).stem}, layer {layer}"
        self.encoder = whisper_encoder(weights)
        self.layer = layer

    @torch.inference_mode()
    def __call__(self, wave: np.ndarray) -> np.ndarray:
        """``(N,)`` at 16 kHz, up to 30 s -> ``(N // 320, D)``; the frame ``j`` is centred on sample ``320 j``."""
        import whisper

        mel = whisper.log_mel_spectrogram(torch.from_numpy(wave))[None]
        return np.asarray(whisper_layers(self.encoder, mel[..., : mel.shape[-1] // 2 * 2], self.layer)[-1][0].numpy())


class SpeakerTeacher:
    """CAM++ (arXiv 2303.00332), 192-dim, trained on 200k Chinese and English speakers.

    Raises:
        InputError: the package speakerlab or the weights are missing, or they are not those of CAM++.
    """

    name = "CAM++ zh_en common"

    def __init__(self, weights: str) -> None:
        try:
            from speakerlab.models.campplus.DTDNN import CAMPPlus
        except ImportError as error:
            raise InputError("CAM++ needs a package; run: pip install --no-deps speakerlab torchaudio") from error
        self.model = CAMPPlus(feat_dim=80, embedding_size=192).eval()
        try:
            self.model.load_state_dict(torch.load(weights, map_location="cpu", weights_only=True))
        except UNREADABLE as error:
            raise InputError(f"CAM++'s weights {weights} cannot be read; name campplus_cn_en_common.pt") from error

    @torch.inference_mode()
    def __call__(self, wave: np.ndarray) -> np.ndarray:
        """``(N,)`` at 16 kHz -> ``(192,)`` of unit length."""
        features = kaldi_features(wave)
        features = features - features.mean(0)
        embedding = self.model(features[None])[0].numpy()
        return np.asarray(embedding / np.linalg.norm(embedding))


@lru_cache(maxsize=1)
def content_teacher(weights: File, layer: int) -> ContentTeacher:
    """The content teacher, loaded once in each process."""
    return ContentTeacher(weights[0], layer)


@lru_cache(maxsize=1)
def speaker_teacher(weights: File) -> SpeakerTeacher:
    """The speaker teacher, loaded once in each process."""
    return SpeakerTeacher(weights[0])


def kaldi_features(wave: np.ndarray) -> torch.Tensor:
    """What CAM++ reads: ``(N,)`` at 16 kHz -> log-mel (T, 80), whose first frame is centred on 12.5 ms."""
    from torchaudio.compliance.kaldi import fbank

    features: torch.Tensor = fbank(torch.from_numpy(wave)[None], num_mel_bins=80, sample_frequency=TEACHER_RATE)
    return features


class MelFeatures(torch.nn.Module):
    """A teacher's own log-mel from this project's, differentiable.

    Both are log energies of 80 bands up to 8 kHz. A linear map of three neighbouring frames, interpolated to the
    teacher's hop of 10 ms, is fitted by least squares on recordings.

    Args:
        waves: some dozen recordings (N,) at 22,050 Hz to fit the map on.
        features: the teacher's front-end: (N,) samples at 16 kHz -> (T, 80).
        first: centre of its first frame in seconds.
    """

    map: torch.Tensor

    def __init__(self, waves: list[np.ndarray], features: Callable[[torch.Tensor], torch.Tensor], first: float) -> None:
        super().__init__()
        self.first = first
        inputs, outputs = [], []
        for wave in waves:
            target = features(torch.from_numpy(to_teacher_rate(wave, MEL.sample_rate)))
            known = self._neighbours(torch.from_numpy(log_mel(wave))[None])[0]
            count = min(len(known), len(target))
            inputs.append(known[:count])
            outputs.append(target[:count])
        x, y = torch.cat(inputs), torch.cat(outputs)
        self.register_buffer("map", torch.linalg.solve(x.T @ x + 0.1 * torch.eye(x.shape[1]), x.T @ y))

    def _neighbours(self, mel: torch.Tensor) -> torch.Tensor:
        """(B, 80, T) log-mel -> (B, T', 241): a frame every 10 ms with its two neighbours and a constant 1."""
        frames, hop = mel.shape[-1], MEL.hop_length / MEL.sample_rate
        count = int((frames * hop - 2 * self.first) / 0.01) + 1
        place = ((torch.arange(count, device=mel.device) * 0.01 + self.first) / hop - 0.5).clamp(0, frames - 1)
        low = place.long().clamp(max=frames - 2)
        x = torch.lerp(mel[..., low], mel[..., low + 1], place - low)
        x = torch.nn.functional.pad(x, (1, 1), mode="replicate").transpose(1, 2)
        return torch.cat([x[:, :-2], x[:, 1:-1], x[:, 2:], torch.ones_like(x[:, 2:, :1])], 2)

    def forward(self, mel: torch.Tensor) -> torch.Tensor:
        """(B, 80, T) log-mel -> (B, T', 80)."""
        with torch.autocast(mel.device.type, enabled=False):  # in bfloat16 the map's error is twice the mel's
            return self._neighbours(mel.float()) @ self.map


class MelRecogniser(torch.nn.Module):
    """A Whisper encoder on this project's log-mels, differentiable.

    With a map fitted on 64 crops of 1.5 s, its blocks' outputs have cosines of 0.95 to 0.97 to those of the waveforms.
    The same mels, rendered by a vocoder, reach 0.92 to 0.96, at twice the cost.

    Args:
        weights: as of `whisper_encoder`.
        waves: see `MelFeatures`.
    """

    def __init__(self, weights: str, waves: list[np.ndarray]) -> None:
        super().__init__()
        self.encoder = whisper_encoder(weights)
        import whisper

        self.depth = len(self.encoder.blocks)
        filters = whisper.audio.mel_filters("cpu", MEL.n_mels)

        def features(wave: torch.Tensor) -> torch.Tensor:
            window = torch.hann_window(whisper.audio.N_FFT)
            spectrum = torch.stft(wave, len(window), whisper.audio.HOP_LENGTH, window=window, return_complex=True)
            return (filters @ spectrum.abs().square()).clamp(min=1e-10).log10().T

        self.features = MelFeatures(waves, features, first=0.0)

    def forward(self, mel: torch.Tensor) -> list[torch.Tensor]:
        """(B, 80, T) log-mel, up to 30 s -> (B, T', D) of each block, 50 frames/s.

        The mean over the frames, which depends on voice and channel, is removed.
        """
        log = self.features(mel).transpose(1, 2)
        log = log[..., : log.shape[2] // 2 * 2]
        log = (torch.maximum(log, log.amax((1, 2), keepdim=True) - 8.0) + 4.0) / 4.0  # Whisper's own scaling
        layers = whisper_layers(self.encoder, log, self.depth)
        return [layer - layer.mean(1, keepdim=True) for layer in layers]


@lru_cache(maxsize=1)
def _pitch_detector() -> object:
    from swift_f0 import SwiftF0

    return SwiftF0(threads=1)


def pitch(wave: np.ndarray, times: np.ndarray) -> np.ndarray:
    """F0 in Hz at the given times (s), 0 where unvoiced. ``wave`` is ``(N,)`` at 16 kHz."""
    result = _pitch_detector().detect(wave, TEACHER_RATE)  # type: ignore[attr-defined]
    stamps = np.asarray(result.timestamps)
    nearest = np.searchsorted((stamps[1:] + stamps[:-1]) / 2, times)
    voiced = result.confidence[nearest] > 0.5
    return np.where(voiced, result.pitch_hz[nearest], 0.0).astype(np.float32)

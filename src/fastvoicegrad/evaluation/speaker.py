"""Speaker similarity: cosines by several encoders. Cosines of different encoders do not compare."""

from __future__ import annotations

from abc import ABC, abstractmethod
from functools import cached_property
from typing import Any

import numpy as np
import torch

from ..errors import InputError
from ..training import ge2e
from ..training.data.corpus import Recording
from ..training.data.teachers import UNREADABLE, SpeakerTeacher
from .cache import fingerprint
from .metrics import Column, Figures, Metric, Utterance, fingerprints, load_16k, memoised
from .pairs import Pair


class Encoder(ABC):
    """A speaker encoder: (N,) at 16 kHz -> (S,) of unit length."""

    name: str
    kind: str

    def __init__(self, weights: str) -> None:
        self.weights = weights
        self.version = f"{self.kind}, {fingerprint(weights)[:8]}"

    @abstractmethod
    def __call__(self, wave: np.ndarray) -> np.ndarray: ...


class CamPlus(Encoder):
    """CAM++ (arXiv 2303.00332), which this project's speaker encoder starts from."""

    name, kind = "CAM++", "CAM++ zh_en common (3D-Speaker)"

    @cached_property
    def model(self) -> SpeakerTeacher:
        return SpeakerTeacher(self.weights)

    def __call__(self, wave: np.ndarray) -> np.ndarray:
        return self.model(wave)


class Ecapa(Encoder):
    """SpeechBrain's ECAPA-TDNN for VoxCeleb (arXiv 2005.07143). No training of this project uses it."""

    name, kind = "ECAPA", "ECAPA-TDNN VoxCeleb (SpeechBrain)"

    @cached_property
    def parts(self) -> tuple[Any, Any]:
        from speechbrain.lobes.features import Fbank
        from speechbrain.lobes.models.ECAPA_TDNN import ECAPA_TDNN

        model = ECAPA_TDNN(
            80,
            channels=[1024, 1024, 1024, 1024, 3072],
            kernel_sizes=[5, 3, 3, 3, 1],
            dilations=[1, 2, 3, 4, 1],
            attention_channels=128,
            lin_neurons=192,
        )
        try:
            model.load_state_dict(torch.load(self.weights, map_location="cpu", weights_only=True))
        except UNREADABLE as error:
            raise InputError(
                f"ECAPA's weights {self.weights} cannot be read; name SpeechBrain's embedding_model.ckpt"
            ) from error
        return Fbank(n_mels=80), model.eval()

    @torch.inference_mode()
    def __call__(self, wave: np.ndarray) -> np.ndarray:
        fbank, model = self.parts
        features = fbank(torch.from_numpy(wave)[None])
        embedding = model(features - features.mean(1, keepdim=True))[0, 0].numpy()
        return np.asarray(embedding / np.linalg.norm(embedding))


class Ge2e(Encoder):
    """Resemblyzer's GE2E LSTM (arXiv 1710.10467), the paper's kind of encoder: 1.6 s windows, half overlapping."""

    name, kind = "GE2E", "GE2E LSTM (Resemblyzer)"
    loudness = 0.0316  # RMS of -30 dBFS

    @cached_property
    def model(self) -> ge2e.Ge2e:
        return ge2e.Ge2e(self.weights)

    @torch.inference_mode()
    def __call__(self, wave: np.ndarray) -> np.ndarray:
        rms = float(np.sqrt(np.square(wave).mean()))
        wave = wave * np.float32(max(1.0, self.loudness / max(rms, 1e-8)))  # as the authors: only ever louder
        return np.asarray(self.model(ge2e.mel_power(torch.from_numpy(wave))[None])[0].numpy())


class SpeakerSimilarity(Metric):
    """Cosines to the target and to the source, and the decisions of a verifier.

    The target is the mean embedding of the pair's references. "nearer" counts utterances that are nearer to the target
    than to the source. "accepted" counts those that a verifier accepts as the target ("SVA" in the paper).
    """

    def __init__(self, encoder: Encoder) -> None:
        self.encoder, self.version = encoder, encoder.version
        self._embed = memoised(encoder)
        self.target, self.source = f"{encoder.name} target", f"{encoder.name} source"
        self.nearer, self.accepted = f"{encoder.name} nearer %", f"{encoder.name} accepted %"
        self.columns = (
            Column(self.target, "higher"),
            Column(self.source, "lower"),
            Column(self.nearer, "higher", digits=1),
            Column(self.accepted, "higher", digits=1),
        )

    def _embedding(self, recording: Recording) -> np.ndarray:
        return self._embed(load_16k(recording.path))

    def _target_embedding(self, pair: Pair) -> np.ndarray:
        total = np.sum([self._embedding(reference) for reference in pair.references], axis=0)
        return np.asarray(total / np.linalg.norm(total))

    def __call__(self, utterance: Utterance) -> Figures:
        output, pair = self._embed(utterance.wave), utterance.pair
        target, source = float(output @ self._target_embedding(pair)), float(output @ self._embedding(pair.source))
        figures: Figures = {self.target: target, self.source: source}
        return figures if pair.is_self else figures | {self.nearer: 100.0 * (target > source)}

    def depends(self, utterance: Utterance) -> tuple[str, ...]:
        pair = utterance.pair
        return (*fingerprints(*pair.references, pair.source), *(["self"] if pair.is_self else []))

    def trial(self, pair: Pair) -> tuple[float, float]:
        """Cosines of the target to another recording of it and to the source: a trial of each kind of verification."""
        target = self._target_embedding(pair)
        return float(self._embedding(pair.natural) @ target), float(self._embedding(pair.source) @ target)

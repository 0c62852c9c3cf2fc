"""Systems that stop inside a conversion: where are similarity and words lost?

`diagnose.py` compares them on pairs of a voice with itself.
"""

from __future__ import annotations

import json
from abc import ABC, abstractmethod
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np
import onnx
from onnx import numpy_helper

from .. import audio
from ..audio.arrays import blocks_of_array
from ..audio.level import TARGET_LEVEL, speech_level
from ..audio.loudness import HopTap, match_loudness
from ..bundle import Bundle
from ..converter import VoiceConverter
from ..errors import InputError
from ..frames import Window, mel_frames
from ..mel import MEL, Array, lowpass_projection
from ..pipeline import Request, convert_mel
from ..postfilter import PostFilter
from ..reference import analyse_source
from ..settings import ConversionSettings
from ..speech import SpeechSampler, analyse
from ..training.legacy import model_settings
from ..vocoder import vocode
from ..voice import Voice
from .pairs import Pair
from .systems import THREADS, Conversion, bundle_key, program_key

ENVELOPE_COSINES = 20  # lowest cosine components over the mel bands that count as the envelope


@dataclass(frozen=True)
class Retrieval:
    """The converter's retrieval in NumPy: softmax over cosines of standardised content embeddings.

    It is kNN-VC (arXiv 2305.18975) with a soft nearest neighbour, as in `training.models.retrieval`.

    Attributes:
        mean, std: statistics of the content embedding, (C, 1).
        temperature: of the softmax.
    """

    mean: Array
    std: Array
    temperature: float

    @classmethod
    def of_bundle(cls, bundle: Bundle) -> Retrieval:
        """Read the statistics and the temperature from the converter's graph.

        Raises:
            InputError: the converter has no retrieval.
        """
        model = onnx.load_from_string(bundle.graph("converter"))
        values = {t.name: t for t in model.graph.initializer if ".retrieval." in t.name}
        found = {name.rsplit(".", 1)[1].removesuffix("_half"): t for name, t in values.items()}
        settings = json.loads({p.key: p.value for p in model.metadata_props}.get("model", "{}"))
        temperature = model_settings(settings).get("retrieval_temperature")
        if not {"mean", "std"} <= found.keys() or temperature is None:
            raise InputError(f"the converter of '{bundle.config.name}' retrieves no mel")
        mean, std = (numpy_helper.to_array(found[name]).astype(np.float32) for name in ("mean", "std"))
        return cls(mean, std, float(temperature))

    def _directions(self, content: Array) -> Array:
        standardised = (content - self.mean) / self.std
        return np.asarray(standardised / np.maximum(np.linalg.norm(standardised, axis=0, keepdims=True), 1e-12))

    def __call__(self, content: Array, keys: Array, values: Array) -> Array:
        """The retrieved mel.

        Args:
            content: of the source, (C, T).
            keys: content of the reference, (C, N).
            values: mel of the reference, (80, N).
        Returns:
            (80, T).
        """
        logits = self._directions(content).T @ self._directions(keys) / self.temperature
        weights = np.exp(logits - logits.max(1, keepdims=True))
        return np.asarray(values @ (weights / weights.sum(1, keepdims=True)).T, dtype=np.float32)


@dataclass(frozen=True)
class Stages:
    """What a conversion computes on its way.

    Attributes:
        source, converted: mels (80, T), natural log.
        content: of the source, (C, T).
        pitch: F0 (T,) in Hz of the result, 0 where unvoiced; None if the converter reads none.
    """

    source: Array
    converted: Array
    content: Array
    pitch: Array | None


class PlainConversion(Conversion):
    """A conversion without guidance, feedback and post-filter."""

    kind = "plain"

    def __init__(self, bundle: str | None) -> None:
        super().__init__(bundle)
        self.key = f"{self.kind} {bundle_key(bundle)} {program_key('evaluation/intermediate.py')}"

    @cached_property
    def converter(self) -> VoiceConverter:
        bundle = Bundle.open(self.bundle, THREADS)
        bundle.config = replace(bundle.config, guidance=0.0, feedback=0.0, postfilter=PostFilter())
        return VoiceConverter(bundle)


def rendered(bundle: Bundle, wave: Array, mel: Array, pitch: Array | None = None) -> np.ndarray:
    """A mel through a bundle's vocoder, at the loudness and the length of its source.

    Args:
        wave: the source, (N,) at 22,050 Hz.
        mel: (80, T), natural log, at the level of training.
        pitch: (T,) in Hz; where it is None, the vocoder predicts it from the mel.
    """
    output, _ = vocode(bundle, mel, 0, slice(0, mel.shape[1]), 0.0, 0, pitch)
    output /= np.float32(TARGET_LEVEL / speech_level(wave))
    tap = HopTap([wave])
    list(tap)
    return np.concatenate(list(match_loudness([output], tap)))[: len(wave)]


class RenderedStage(PlainConversion, ABC):
    """A mel that is made from the stages of a plain conversion, through the vocoder."""

    @abstractmethod
    def select(self, stages: Stages, target: Voice) -> tuple[Array, Array | None]:
        """The mel (80, T) to render and its F0 (T,) in Hz. Where F0 is None, the vocoder predicts it from the mel."""

    def stages(self, wave: Array, target: Voice) -> Stages:
        """Convert a wave (N,) at 22,050 Hz as one window."""
        bundle, sampler, gain = self.converter.bundle, SpeechSampler(), TARGET_LEVEL / speech_level(wave)
        sampler.add(wave)
        source, _ = analyse_source(bundle, analyse(bundle, sampler.segments(), gain), target)
        mel = np.concatenate(list(mel_frames([wave], gain, bundle.stride)), axis=1)
        content, pitch = bundle.content(mel), bundle.pitch(mel)
        pitch = pitch * np.float32(target.pitch / source.pitch if source else 1.0)
        window = Window(mel, 0, slice(0, mel.shape[1]))
        converted = convert_mel(bundle, window, content, pitch, Request(target, source, ConversionSettings()))
        return Stages(mel, converted, content, pitch if bundle.config.harmonics else None)

    def __call__(self, pair: Pair) -> np.ndarray:
        target = self.voice(pair)
        wave = np.concatenate(list(blocks_of_array(audio.read(pair.source.path), self.rate)))
        return rendered(self.converter.bundle, wave, *self.select(self.stages(wave, target), target))


class RetrievedMel(RenderedStage):
    """The retrieved mel alone."""

    kind = "retrieved"

    @cached_property
    def retrieval(self) -> Retrieval:
        return Retrieval.of_bundle(self.converter.bundle)

    def select(self, stages: Stages, target: Voice) -> tuple[Array, Array | None]:
        return self.retrieval(stages.content, target.keys, target.mel), None


class ConvertedEnvelope(RenderedStage):
    """The conversion's envelope and the recording's fine structure."""

    kind = "converted-envelope"

    def select(self, stages: Stages, target: Voice) -> tuple[Array, Array | None]:
        return with_envelope_of(stages.converted, stages.source), None


class RecordedEnvelope(RenderedStage):
    """The recording's envelope and the conversion's fine structure."""

    kind = "recorded-envelope"

    def select(self, stages: Stages, target: Voice) -> tuple[Array, Array | None]:
        return with_envelope_of(stages.source, stages.converted), stages.pitch


def with_envelope_of(envelope: Array, fine: Array) -> Array:
    """The lowest cosine components of one mel (80, T) and the remainder of another."""
    lowpass = lowpass_projection(ENVELOPE_COSINES, MEL)
    return (lowpass @ envelope + fine - lowpass @ fine).astype(np.float32)

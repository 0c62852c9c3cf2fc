"""Systems that stop inside a conversion: where are similarity and words lost?

`diagnose.py` compares them on pairs of a voice with itself.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np
import onnx
from onnx import numpy_helper

from .. import audio
from ..audio.level import TARGET_LEVEL, speech_level
from ..bundle import Bundle, BundleConfig
from ..converter import VoiceConverter
from ..errors import InputError
from ..mel import MEL, Array, lowpass_projection
from ..postfilter import PostFilter
from ..training.legacy import model_settings
from ..vocoder import vocode
from ..voice import Voice
from .pairs import Pair
from .systems import THREADS, Conversion, bundle_key

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


class TracedBundle(Bundle):
    """A bundle that keeps inputs and outputs of each network's last call."""

    def __init__(self, config: BundleConfig, read: Callable[[str], bytes], threads: int | None = None) -> None:
        super().__init__(config, read, threads)
        self.inputs: dict[str, dict[str, np.ndarray]] = {}
        self.outputs: dict[str, list[Array]] = {}

    def run(self, name: str, **inputs: np.ndarray) -> list[Array]:
        outputs = super().run(name, **inputs)
        self.inputs[name], self.outputs[name] = inputs, outputs
        return outputs


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
    """A conversion without guidance and post-filter."""

    kind = "plain"

    def __init__(self, bundle: str | None) -> None:
        super().__init__(bundle)
        self.key = f"{self.kind} {bundle_key(bundle)}"

    @cached_property
    def traced(self) -> TracedBundle:
        bundle = TracedBundle.open(self.bundle, THREADS)
        assert isinstance(bundle, TracedBundle)
        bundle.config = replace(bundle.config, guidance=0.0, postfilter=PostFilter())
        return bundle

    @cached_property
    def converter(self) -> VoiceConverter:
        return VoiceConverter(self.traced)


class RenderedStage(PlainConversion):
    """A mel that is made from the stages of a plain conversion, through the vocoder."""

    def select(self, stages: Stages, target: Voice) -> tuple[Array, Array | None]:
        """The mel (80, T) to render and its F0 (T,) in Hz. Where F0 is None, the vocoder predicts it from the mel."""
        raise NotImplementedError

    def stages(self, wave: Array, target: Voice) -> Stages:
        """Convert a wave (N,) at 22,050 Hz.

        Raises:
            InputError: it is longer than what the pipeline converts at once.
        """
        self.converter.convert(wave, self.rate, target)
        inputs, outputs = self.traced.inputs, self.traced.outputs
        mel, pitch = inputs["content"]["mel"][0], inputs["converter"].get("pitch")
        if mel.shape[1] * MEL.hop_length < len(wave):
            raise InputError(f"a recording of {len(wave) / self.rate:.0f} s is too long for this; make other pairs")
        converted = inputs["vocoder"]["mel"][0]
        return Stages(mel, converted, outputs["content"][0][0], None if pitch is None else pitch[0])

    def __call__(self, pair: Pair) -> np.ndarray:
        wave, target = audio.read(pair.source.path), self.voice(pair)
        mel, pitch = self.select(self.stages(wave, target), target)
        rendered, _ = vocode(self.traced, mel, 0, slice(0, mel.shape[1]), 0.0, 0, pitch)
        gain = np.float32(TARGET_LEVEL / speech_level(wave))
        return np.asarray(rendered[: len(wave)] / gain)


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

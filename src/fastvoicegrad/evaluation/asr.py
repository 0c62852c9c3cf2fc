"""Character and word error rates by speech recognisers. No network of this project is trained with Moonshine."""

from __future__ import annotations

import re
from functools import cached_property, lru_cache
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Protocol

import jiwer
import numpy as np
import onnx
import onnxruntime
import tokenizers
import torch

from ..errors import InputError
from .cache import fingerprint
from .metrics import RATE, Column, Figures, Metric, Utterance


def normalise(text: str) -> str:
    """Lower case; letters, digits and apostrophes only, of whatever shape; single spaces."""
    text = re.sub("[\u2018\u2019]", "'", text.lower())
    return " ".join(re.sub(r"[^a-z0-9' ]+", " ", text).split())


def error_rates(reference: str, transcript: str) -> tuple[float, float]:
    """(CER, WER) in per cent of two normalised texts."""
    return 100 * float(jiwer.cer(reference, transcript)), 100 * float(jiwer.wer(reference, transcript))


class Recogniser(Protocol):
    """A speech recogniser."""

    name: str
    version: str

    def __call__(self, wave: np.ndarray) -> str:
        """(N,) at 16 kHz -> transcript."""


def ort_to_onnx(path: Path) -> bytes:
    """Convert a model from ONNX Runtime's own format to ONNX.

    ONNX Runtime does not optimise models in its own format. Moonshine's would unpack its weights at every token. As
    ONNX they are unpacked once, and recognition is four times as fast.
    """
    options = onnxruntime.SessionOptions()
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    options.add_session_config_entry("session.save_model_format", "ONNX")
    with TemporaryDirectory() as folder:
        options.optimized_model_filepath = str(Path(folder) / "model.onnx")
        onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
        model = onnx.load(options.optimized_model_filepath)
    for attribute in (attribute for node in model.graph.node for attribute in node.attribute):
        if attribute.HasField("g"):
            attribute.g.name = attribute.name  # ONNX requires a name here, and the other format drops it
    return bytes(model.SerializeToString())


class Moonshine:
    """Moonshine base (arXiv 2410.15608) on ONNX Runtime, greedy decoding.

    Args:
        folder: has encoder_model.ort, decoder_model_merged.ort (or .onnx) and tokenizer.json.
    """

    name = "Moonshine"
    layers, heads, head_size = 8, 8, 52
    start, end = 1, 2  # tokens
    tokens_per_second = 6.5  # the authors' limit against endless repetition

    def __init__(self, folder: str) -> None:
        self.folder = Path(folder)
        self.version = f"Moonshine base en, {fingerprint(folder)[:8]}"

    def _session(self, stem: str) -> onnxruntime.InferenceSession:
        path = next(self.folder.glob(f"{stem}.o*"), None)
        if path is None:
            raise InputError(f"{self.folder} has no {stem}.ort or .onnx; see 'Metric weights' of the manual")
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = 1  # one token at a time gives several threads no work
        model = ort_to_onnx(path) if path.suffix == ".ort" else path.read_bytes()
        return onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])

    @cached_property
    def encoder(self) -> onnxruntime.InferenceSession:
        return self._session("encoder_model")

    @cached_property
    def decoder(self) -> onnxruntime.InferenceSession:
        return self._session("decoder_model_merged")

    @cached_property
    def tokenizer(self) -> tokenizers.Tokenizer:
        return tokenizers.Tokenizer.from_file(str(self.folder / "tokenizer.json"))

    def __call__(self, wave: np.ndarray) -> str:
        """(N,) at 16 kHz -> transcript."""
        hidden, cache, tokens = self._hidden(wave), self._empty_cache(), [self.start]
        for step in range(max(8, int(len(wave) / RATE * self.tokens_per_second))):
            logits, *present = self._decode(tokens[-1:], hidden, cache, step > 0)
            for key, value in zip(cache, present, strict=True):
                if step == 0 or ".decoder." in key:
                    cache[key] = value
            tokens.append(int(logits[0, -1].argmax()))
            if tokens[-1] == self.end:
                break
        return str(self.tokenizer.decode(tokens))

    def negative_log_likelihood(self, wave: np.ndarray, text: str) -> float:
        """-ln p(text | wave) in nats, of a wave (N,) at 16 kHz."""
        tokens = [self.start, *self.tokenizer.encode(text, add_special_tokens=False).ids, self.end]
        logits = self._decode(tokens[:-1], self._hidden(wave), self._empty_cache(), False)[0][0].astype(float)
        log_p = logits - np.logaddexp.reduce(logits, axis=1, keepdims=True)
        return -float(log_p[np.arange(len(log_p)), tokens[1:]].sum())

    def _hidden(self, wave: np.ndarray) -> np.ndarray:
        """What the encoder makes of (N,) at 16 kHz."""
        return np.asarray(self.encoder.run(None, {"input_values": wave[None].astype(np.float32)})[0])

    def _empty_cache(self) -> dict[str, np.ndarray]:
        """Keys and values before the first token."""
        return {
            f"past_key_values.{layer}.{side}.{kind}": np.zeros((0, self.heads, 1, self.head_size), np.float32)
            for layer in range(self.layers)
            for side in ("decoder", "encoder")
            for kind in ("key", "value")
        }

    def _decode(
        self, tokens: list[int], hidden: np.ndarray, cache: dict[str, np.ndarray], cached: bool
    ) -> list[np.ndarray]:
        """Logits (1, T, V) of what follows each of the tokens, then keys and values."""
        inputs = {"input_ids": np.array([tokens], np.int64), "encoder_hidden_states": hidden}
        return list(self.decoder.run(None, inputs | {"use_cache_branch": np.array([cached])} | cache))


@lru_cache(maxsize=1)
def moonshine(folder: str) -> Moonshine:
    """The recogniser of a folder, loaded once for all metrics."""
    return Moonshine(folder)


class Whisper:
    """A Whisper model. Prefer another than tiny.en, which the content encoder learns from.

    Args:
        weights: an OpenAI checkpoint, or a folder with CTranslate2's ``model.bin``.
    """

    name = "Whisper"

    def __init__(self, weights: str) -> None:
        self.weights = weights
        self.version = f"Whisper, {fingerprint(weights)[:8]}"

    @cached_property
    def model(self) -> Any:
        import whisper

        if Path(self.weights).is_dir():
            from .ctranslate2 import whisper_model

            return whisper_model(Path(self.weights))
        return whisper.load_model(self.weights, device="cpu")

    @torch.inference_mode()
    def __call__(self, wave: np.ndarray, language: str = "en") -> str:
        """(N,) at 16 kHz -> transcript. A language that the model does not know is detected instead."""
        from whisper.tokenizer import LANGUAGES

        known = language if language in LANGUAGES else None
        return str(self.model.transcribe(wave, language=known, fp16=False, temperature=0.0)["text"])


class ErrorRates(Metric):
    """CER and WER of a recogniser, greedy, of normalised texts; a set's rate is all errors over all characters."""

    def __init__(self, recogniser: Recogniser) -> None:
        self.recogniser, name = recogniser, recogniser.name
        self.version = f"{recogniser.version}; texts of lower-case letters, digits and straight apostrophes"
        self.columns = (
            Column(f"CER % {name}", "lower", "characters", 1),
            Column(f"WER % {name}", "lower", "words", 1),
        )

    def __call__(self, utterance: Utterance) -> Figures:
        reference = normalise(utterance.text or "")
        if not reference:  # no text, or none in Latin letters
            return {}
        transcript = self.recogniser(utterance.wave)
        cer, wer = error_rates(reference, normalise(transcript))
        return {
            self.columns[0].name: cer,
            self.columns[1].name: wer,
            "characters": float(len(reference)),
            "words": float(len(reference.split())),
            f"transcript {self.recogniser.name}": transcript,
        }

    def depends(self, utterance: Utterance) -> tuple[str, ...]:
        return (utterance.text or "",)


class TextLikelihood(Metric):
    """How far a recogniser is from the text: its negative log-likelihood, in nats a character.

    It grows before a word is lost, so it tells two systems apart with fewer sentences than error rates need.
    """

    def __init__(self, recogniser: Moonshine) -> None:
        self.recogniser = recogniser
        self.version = f"{recogniser.version}; negative log-likelihood of the text, nats a character"
        self.columns = (Column(f"NLL {recogniser.name}", "lower", "text characters", 3),)

    def __call__(self, utterance: Utterance) -> Figures:
        text = utterance.text or ""
        if not normalise(text):  # no text, or none in Latin letters
            return {}
        return {self.columns[0].name: self.nats(utterance.wave, text), "text characters": float(len(text))}

    def nats(self, wave: np.ndarray, text: str) -> float:
        """Negative log-likelihood of a text given a wave (N,) at 16 kHz, in nats a character."""
        return self.recogniser.negative_log_likelihood(wave, text) / len(text)

    def depends(self, utterance: Utterance) -> tuple[str, ...]:
        return (utterance.text or "",)

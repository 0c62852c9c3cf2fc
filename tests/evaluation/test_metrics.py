"""Metrics on sounds whose figures are known: themselves, noise, another pitch."""

from __future__ import annotations

import os
from importlib import metadata
from pathlib import Path
from types import SimpleNamespace
from typing import cast

import numpy as np
import pytest

pytest.importorskip("torch")

from fastvoicegrad.evaluation.distortion import cepstrum, mel_cepstral_distortion
from fastvoicegrad.evaluation.metrics import RATE, Utterance, memoised
from fastvoicegrad.evaluation.pairs import Pair
from fastvoicegrad.evaluation.pitch import contour, correlation_and_voicing_errors, median
from fastvoicegrad.evaluation.registry import available
from tests.conftest import vowels


def test_f0_of_known_sounds() -> None:
    low, high = (contour(vowels(2.0, pitch, RATE)) for pitch in (120.0, 180.0))
    assert median(low) == pytest.approx(120, rel=0.1)
    assert median(high) / median(low) == pytest.approx(1.5, rel=0.03)
    assert correlation_and_voicing_errors(low, low) == (pytest.approx(1), 0)
    assert correlation_and_voicing_errors(low, high)[0] > 0.9  # the same glide
    correlation, errors = correlation_and_voicing_errors(low, np.zeros_like(low))
    assert np.isnan(correlation)
    assert errors == pytest.approx(100 * (low > 0).mean())
    noise = np.random.default_rng(0).normal(0, 0.1, RATE).astype(np.float32)
    assert (contour(noise) > 0).mean() < 0.1
    assert np.isnan(median(np.zeros(5)))


def test_distortion_of_known_sounds() -> None:
    pytest.importorskip("librosa")
    wave = vowels(1.5, 120.0, RATE)
    reference = cepstrum(wave)
    assert mel_cepstral_distortion(reference, reference) == 0
    softer = cepstrum(wave * 0.5)
    assert mel_cepstral_distortion(softer, reference) == pytest.approx(0, abs=0.1)  # loudness is no distortion
    # Two frames differ by a cosine of 3 dB along the bands: the distance is its root mean square.
    ripple = np.zeros_like(reference)
    ripple[4] = 3 / 20 * np.log(10) * np.sqrt(80 / 2)
    constant = np.repeat(reference[:, :1], 20, axis=1)
    assert mel_cepstral_distortion(constant + ripple[:, :20], constant) == pytest.approx(3 / np.sqrt(2))
    noise = np.random.default_rng(0).normal(0, 0.1, len(wave)).astype(np.float32)
    assert mel_cepstral_distortion(cepstrum(noise), reference) > 5


def test_normaliser_and_error_rates() -> None:
    pytest.importorskip("jiwer")
    pytest.importorskip("tokenizers")
    from fastvoicegrad.evaluation.asr import error_rates, normalise

    assert normalise(" The side-show,  in THE Circus! ") == "the side show in the circus"
    assert normalise("It\u2019s true, they don\u2019t") == normalise("it's true they don't")
    assert error_rates("a cat", "a cat") == (0.0, 0.0)
    assert error_rates("abcd", "abce") == (25.0, 100.0)


def test_error_rates_leave_out_texts_without_latin_letters() -> None:
    pytest.importorskip("jiwer")
    pytest.importorskip("tokenizers")
    from fastvoicegrad.evaluation.asr import ErrorRates

    class Recogniser:
        name, version = "some", "1"

        def __call__(self, wave: np.ndarray) -> str:
            return "a cat"

    metric, pair, wave = ErrorRates(Recogniser()), cast(Pair, None), np.zeros(RATE, np.float32)
    assert metric(Utterance(pair, wave, "a cat"))["CER % some"] == 0
    assert metric(Utterance(pair, wave, "Кот")) == metric(Utterance(pair, wave, None)) == {}


@pytest.mark.parametrize("favoured", [0.0, 2.0])
def test_the_likelihood_of_a_text_has_a_closed_form(favoured: float) -> None:
    """Of a decoder that favours one token more than the other nine, whatever came before."""
    pytest.importorskip("jiwer")
    pytest.importorskip("tokenizers")
    from fastvoicegrad.evaluation.asr import Moonshine, TextLikelihood

    def decode(tokens: list[int], *cached: object) -> list[np.ndarray]:
        logits = np.zeros((1, len(tokens), 10), np.float32)
        logits[..., 7] = favoured
        return [logits]

    recogniser = Moonshine.__new__(Moonshine)
    recogniser.version = "1"
    recogniser.tokenizer = SimpleNamespace(encode=lambda text, **settings: SimpleNamespace(ids=[7] * len(text)))
    recogniser._hidden, recogniser._decode = lambda wave: wave, decode  # type: ignore[method-assign,assignment]
    metric, pair, wave = TextLikelihood(recogniser), cast(Pair, None), np.zeros(RATE, np.float32)
    total = np.log(9 + np.exp(favoured))
    expected = (4 * (total - favoured) + total) / 4  # four tokens of the text, then the end
    assert metric(Utterance(pair, wave, "cats"))["NLL Moonshine"] == pytest.approx(expected)
    assert metric(Utterance(pair, wave, None)) == {}


def test_an_ort_file_computes_the_same_ort_to_onnx(tmp_path: Path) -> None:
    pytest.importorskip("jiwer")
    pytest.importorskip("tokenizers")
    onnx, onnxruntime = pytest.importorskip("onnx"), pytest.importorskip("onnxruntime")
    from fastvoicegrad.evaluation.asr import ort_to_onnx

    # Like Moonshine's decoder, this graph has a branch and weights in bytes.
    graph = onnx.parser.parse_graph("""main (float[2] x, bool first) => (float[2] y) <int8[2] w = {3, -5}> {
        y = If (first) <
            then_branch = fresh () => (float[2] a) { f = Cast <to = 1> (w)  a = Mul (f, x) },
            else_branch = later () => (float[2] b) { g = Cast <to = 1> (w)  b = Add (g, x) }
        >
    }""")
    model = onnx.helper.make_model(graph, opset_imports=[onnx.helper.make_opsetid("", 17)], ir_version=8)
    options = onnxruntime.SessionOptions()
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    options.optimized_model_filepath = str(tmp_path / "model.ort")
    onnxruntime.InferenceSession(model.SerializeToString(), options)
    session = onnxruntime.InferenceSession(ort_to_onnx(tmp_path / "model.ort"))
    x = np.array([1, 2], np.float32)
    for first, expected in ((True, [3, -10]), (False, [4, -3])):
        assert session.run(None, {"x": x, "first": np.array(first)})[0].tolist() == expected


@pytest.mark.parametrize("seconds", [2.2, 9.4, 11.5])
def test_dnsmos_equals_that_of_its_package(seconds: float) -> None:
    dnsmos = pytest.importorskip("speechmos.dnsmos")
    from fastvoicegrad.evaluation.quality import Dnsmos, DnsmosP808

    wave = 0.3 * vowels(seconds, 120.0, RATE)
    utterance = Utterance(pair=None, wave=wave, text=None)  # type: ignore[arg-type]
    expected = dnsmos.run(wave, RATE)
    assert {**Dnsmos()(utterance), **DnsmosP808()(utterance)} == {
        "DNSMOS": pytest.approx(expected["ovrl_mos"], abs=1e-3),
        "DNSMOS signal": pytest.approx(expected["sig_mos"], abs=1e-3),
        "DNSMOS background": pytest.approx(expected["bak_mos"], abs=1e-3),
        "DNSMOS P.808": pytest.approx(expected["p808_mos"], abs=1e-3),
    }


def test_missing_weights_are_listed(tmp_path: Path) -> None:
    metrics, missing = available(tmp_path)
    assert any("ecapa.ckpt" in line for line in missing)
    assert any(column.name == "F0 Hz" for metric in metrics for column in metric.columns)


def test_another_version_of_a_package_makes_another_metric(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def versions() -> list[str]:
        return [m.version for m in available(tmp_path)[0] if any(c.name.startswith("F0") for c in m.columns)]

    before = versions()
    assert "swift-f0" in before[0]
    monkeypatch.setattr(metadata, "version", lambda name: "99")
    assert versions() != before


@pytest.fixture(scope="module")
def metric_weights() -> Path:
    folder = os.environ.get("FASTVOICEGRAD_METRIC_WEIGHTS")
    if not folder:
        pytest.skip("set FASTVOICEGRAD_METRIC_WEIGHTS to a folder with the metrics' weights, see docs/evaluation.md")
    return Path(folder)


@pytest.mark.speech
def test_metrics_of_real_speech_and_of_distorted_speech(recordings: Path, metric_weights: Path, tmp_path: Path) -> None:
    """Speech against itself, in noise, higher in pitch, and against another speaker."""
    from fastvoicegrad import audio
    from fastvoicegrad.training.data.corpus import read_manifest

    rows = [r for r in read_manifest(recordings / "manifest.jsonl") if r.corpus == "tsp" and r.split == "test"]
    voices = {v: [r for r in rows if r.voice == v] for v in sorted({r.voice for r in rows})}
    (_, of_target), (_, of_source) = list(voices.items())[:2]
    source, target = of_source[0], of_target[0]
    wave = audio.read(target.path, RATE)
    noise = np.random.default_rng(0).normal(0, 0.05, len(wave)).astype(np.float32)
    high = np.interp(np.arange(0, len(wave) - 1, 1.5), np.arange(len(wave)), wave).astype(np.float32)
    pair = Pair(source, target.voice, tuple(of_target[1:4]), target)
    figures: dict[str, dict[str, float]] = {}
    other_wave = audio.read(source.path, RATE)
    sounds = {"itself": wave, "noise": wave + noise, "high": high, "other": other_wave}
    for name, sound in sounds.items():
        figures[name] = {}
        for metric in available(metric_weights)[0]:
            figures[name] |= metric(Utterance(pair, sound, target.text))  # type: ignore[arg-type]
    for column in ("DNSMOS", "DNSMOS P.808", "DistillMOS"):
        if column in figures["itself"]:
            assert figures["itself"][column] > figures["noise"][column] + 0.3
    for encoder in ("CAM++", "ECAPA", "GE2E"):
        if f"{encoder} target" in figures["itself"]:
            similarity = {name: row[f"{encoder} target"] for name, row in figures.items()}
            assert similarity["itself"] > max(similarity["high"], similarity["other"]) + 0.1
            assert (figures["itself"][f"{encoder} nearer %"], figures["other"][f"{encoder} nearer %"]) == (100, 0)
    if "CER % Moonshine" in figures["itself"]:
        assert figures["itself"]["CER % Moonshine"] < 10
        assert figures["other"]["CER % Moonshine"] > 40  # it has other words
        nats = {name: row["NLL Moonshine"] for name, row in figures.items()}
        assert nats["itself"] < nats["noise"] < nats["other"]
    assert figures["high"]["F0 Hz"] / figures["itself"]["F0 Hz"] == pytest.approx(1.5, rel=0.05)


def test_a_wave_is_measured_once() -> None:
    calls: list[int] = []

    def length(wave: np.ndarray) -> int:
        calls.append(len(wave))
        return len(wave)

    count = memoised(length)
    one, other = np.ones(4, np.float32), np.zeros(4, np.float32)
    assert [count(one), count(other), count(one.copy())] == [4, 4, 4]
    assert calls == [4, 4]

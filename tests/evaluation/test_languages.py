"""Sources in many languages: their pairs, their words, their expression, and the table."""

from __future__ import annotations

import json
import struct
from collections import Counter
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

pytest.importorskip("torch")
pytest.importorskip("jiwer")

from fastvoicegrad import InputError
from fastvoicegrad.evaluation.ctranslate2 import openai_names, read_arrays
from fastvoicegrad.evaluation.expression import correlation, loudness, semitone_range
from fastvoicegrad.evaluation.languages import group_of, language_pairs
from fastvoicegrad.evaluation.metrics import Utterance, english_text
from fastvoicegrad.evaluation.network_speed import network_speed
from fastvoicegrad.evaluation.pairs import Pair, read_pairs, write_pairs
from fastvoicegrad.evaluation.reproduce import Reproduction
from fastvoicegrad.evaluation.reproduce.report import languages_table, speed_table
from fastvoicegrad.evaluation.reproduce.run import _speeds
from fastvoicegrad.evaluation.transcripts import SourceTranscript, normalise_any
from tests.conftest import vowels


@pytest.fixture
def spoken(tmp_path: Path) -> Path:
    """A manifest: two test voices, five French voices with two recordings each, one German, accented English."""
    rows = [("t", voice, "en", "test", "books") for voice in ("anna", "ben") for _ in range(5)]
    rows += [("f", f"fr{i % 5}", "fr", "train", "home") for i in range(10)]
    rows += [("g", "de0", "de-DE", "train", "home"), ("a", "li", "en", "valid", "speechocean762")]
    lines = [
        {
            "id": f"{kind}{n}",
            "path": f"{n}.wav",
            "corpus": corpus,
            "split": split,
            "speaker": voice,
            "language": language,
        }
        | {"duration": 3.0, "sample_rate": 16000, "text": "words", "gender": "f"}
        for n, (kind, voice, language, split, corpus) in enumerate(rows)
    ]
    (tmp_path / "manifest.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    return tmp_path / "manifest.jsonl"


def test_every_language_has_sources_of_many_voices(spoken: Path, tmp_path: Path) -> None:
    pairs = language_pairs(spoken, ("fr", "de", "sw"), sentences=5)
    assert Counter(map(group_of, pairs)) == {"fr": 5, "en": 5, "de": 1, "en, speechocean762": 1}
    assert len({pair.source.voice for pair in pairs if group_of(pair) == "fr"}) == 5
    for pair in pairs:
        assert pair.target in ("anna", "ben")
        assert pair.target != pair.source.voice
        assert pair.source.text is None
        assert pair.natural.id not in {reference.id for reference in pair.references}
    assert pairs == language_pairs(spoken, ("fr", "de", "sw"), sentences=5)
    write_pairs(tmp_path / "pairs.jsonl", pairs)
    assert [group_of(pair) for pair in read_pairs(tmp_path / "pairs.jsonl")] == [group_of(pair) for pair in pairs]
    spoken.write_text("".join(line + "\n" for line in spoken.read_text().splitlines()[10:]))
    with pytest.raises(InputError, match="test voices"):
        language_pairs(spoken)
    with pytest.raises(InputError, match="no such manifest"):
        language_pairs(tmp_path / "none")


def test_sources_are_of_the_test_split_where_a_language_has_one(spoken: Path) -> None:
    rows = [json.loads(line) for line in spoken.read_text().splitlines()]
    tested = [
        row | {"id": f"new{n}", "split": "test"} for n, row in enumerate(rows) if row["speaker"] in ("fr1", "fr3")
    ]
    spoken.write_text("".join(json.dumps(row) + "\n" for row in rows + tested))
    pairs = language_pairs(spoken, ("fr", "de"), sentences=3)
    assert {pair.source.split for pair in pairs if group_of(pair) == "fr"} == {"test"}
    assert {pair.source.split for pair in pairs if group_of(pair) == "de"} == {"train"}


def test_the_only_test_voice_is_no_target_of_itself(spoken: Path) -> None:
    lines = [line for line in spoken.read_text().splitlines() if '"speaker": "ben"' not in line]
    spoken.write_text("\n".join(lines))
    pairs = language_pairs(spoken, ("fr", "de"), sentences=5)
    assert Counter(map(group_of, pairs)) == {"fr": 5, "de": 1, "en, speechocean762": 1}
    assert {pair.target for pair in pairs} == {"anna"}
    lines = [line for line in lines if '"language": "fr"' in line or '"speaker": "anna"' in line]
    spoken.write_text("\n".join(lines))
    with pytest.raises(InputError, match="sources of two languages"):
        language_pairs(spoken, ("fr",), sentences=5)


@pytest.mark.parametrize(
    ("text", "language", "expected"),
    [
        ("Ça va, l'été ?", "fr", "ça va l'été"),
        ("ДА - нет.", "ru", "да нет"),
        ("こんにちは、 世界。", "ja", "こんにちは世界"),
        ("ＡＢＣ １２", "en", "abc 12"),
        ("...", "de", ""),
    ],
)
def test_texts_of_any_script_are_normalised(text: str, language: str, expected: str) -> None:
    assert normalise_any(text, language) == expected


class Recogniser:
    """Transcribes by the length of the wave."""

    name, version = "stand-in", "0"

    def __init__(self) -> None:
        self.asked: list[str] = []

    def __call__(self, wave: np.ndarray, language: str = "en") -> str:
        self.asked.append(language)
        if len(wave) > 30000:
            return "twee " * 100
        return "één twee" if len(wave) > 16000 else "een twee"


def test_words_of_an_unknown_text_are_compared_with_the_source(spoken: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("fastvoicegrad.evaluation.transcripts.load_16k", lambda path: np.zeros(20000))
    pair = language_pairs(spoken, ("fr",), sentences=1)[0]
    recogniser = Recogniser()
    metric = SourceTranscript(recogniser)  # type: ignore[arg-type]
    figures = metric(Utterance(pair, np.zeros(10000), None))
    assert figures["CER % source transcript"] == pytest.approx(200 / 8)
    assert figures["source characters"] == 8
    assert metric(Utterance(pair, np.zeros(20000), None))["CER % source transcript"] == 0
    assert recogniser.asked == ["fr"] * 3  # the source once
    endless = metric(Utterance(pair, np.zeros(40000), None))
    assert endless["CER % source transcript"] == 100
    known = Pair(pair.natural, pair.target, pair.references, pair.natural)
    assert metric(Utterance(known, np.zeros(20000), "words")) == {}
    german = Pair(replace(pair.natural, language="de"), pair.target, pair.references, pair.natural)
    assert metric(Utterance(german, np.zeros(20000), "words"))["CER % source transcript"] == 0
    assert metric(Utterance(pair, np.zeros(20000), None, of_source=False)) == {}  # a natural recording of other words


def test_recognisers_of_english_compare_with_english_texts(spoken: Path) -> None:
    recording = language_pairs(spoken, ("fr",), sentences=1)[0].natural
    texts = {language: english_text(replace(recording, language=language)) for language in (None, "en-GB", "de")}
    assert texts == {None: "words", "en-GB": "words", "de": None}


def test_expression_is_the_range_of_the_melody_and_the_contour_of_loudness() -> None:
    f0 = np.tile([0.0, 100.0, 200.0], 40)
    assert semitone_range(f0) == pytest.approx(12)
    assert np.isnan(semitone_range(np.zeros(50)))
    wave = vowels(2.0, rate=16000)
    quieter = loudness(0.5 * wave + 1e-9)
    assert correlation(loudness(wave), quieter) > 0.99
    assert abs(correlation(loudness(wave), loudness(wave[::-1]))) < 0.9
    assert np.isnan(correlation(np.zeros(9), quieter))


def test_the_table_has_a_line_for_each_group_and_system(spoken: Path) -> None:
    pairs = language_pairs(spoken, ("fr", "de"), sentences=2)
    row = {"CER % source transcript": 12.0, "source characters": 10.0, "F0 range ratio": 0.9}
    columns = [
        {"name": "CER % source transcript", "better": "lower", "weight": "source characters", "digits": 1},
        {"name": "F0 range ratio", "better": "", "weight": "", "digits": 2},
    ]
    report: dict[str, Any] = {
        "pairs": [pair.id for pair in pairs],
        "rows": {name: [row] * len(pairs) for name in ("copy-synthesis", "conversion")},
        "metrics": [{"columns": columns}],
        "missing": ["ecapa.ckpt: left out"],
    }
    report["summary"] = {name: {c["name"]: {} for c in columns} for name in report["rows"]}
    table = languages_table(report, pairs)
    assert "| fr | 2 | conversion | 12.0 [12.0, 12.0] | 0.90 [0.90, 0.90] |" in table
    assert "| de | 1 | copy-synthesis |" in table
    assert "- ecapa.ckpt: left out" in table


def test_speed_is_measured_once_with_random_weights(tmp_path: Path) -> None:
    speeds = network_speed(frames=8, published=False)
    factor = {speed.name: speed.factor for speed in speeds}
    assert set(factor) == {"FastVoiceGrad", "VoiceGrad-6", "VoiceGrad-30", "DiffVC-6", "DiffVC-30"}
    assert 0 < factor["FastVoiceGrad"] < factor["VoiceGrad-6"] < factor["VoiceGrad-30"]
    assert factor["DiffVC-6"] < factor["DiffVC-30"]
    measured_once = Reproduction(["speed"], "smoke", *[tmp_path] * 4, tmp_path)
    assert _speeds(measured_once) == _speeds(measured_once)
    table = speed_table(speeds)
    assert "**Weights are random**" in table
    assert "| DiffVC-30 | small |" in table


def test_a_model_of_ctranslate2_is_read(tmp_path: Path) -> None:
    def text(value: str) -> bytes:
        return struct.pack("<H", len(value) + 1) + value.encode() + b"\0"

    arrays = {
        "decoder/embeddings/weight": np.arange(6, dtype=np.float16).reshape(3, 2),
        "encoder/layer_1/self_attention/linear_0/bias": np.arange(6, dtype=np.float16),
        "decoder/layer_0/attention/linear_1/weight": np.ones((4, 2), np.float16),
        "encoder/layer_norm/gamma": np.ones(2, np.float16),
        "encoder/num_heads": np.array(1, np.int16),
    }
    data = struct.pack("<I", 6) + text("WhisperSpec") + struct.pack("<II", 3, len(arrays))
    for name, array in arrays.items():
        kind = {"float16": 4, "int16": 2}[array.dtype.name]
        data += text(name) + struct.pack(f"<B{array.ndim}I", array.ndim, *array.shape)
        data += struct.pack("<BI", kind, array.nbytes) + array.tobytes()
    (tmp_path / "model.bin").write_bytes(data)
    weights = openai_names(read_arrays(tmp_path / "model.bin"))
    assert weights["decoder.token_embedding.weight"].tolist() == [[0, 1], [2, 3], [4, 5]]
    assert weights["encoder.blocks.1.attn.query.bias"].tolist() == [0, 1]
    assert weights["encoder.blocks.1.attn.value.bias"].tolist() == [4, 5]
    assert "encoder.blocks.1.attn.key.bias" not in weights
    assert weights["decoder.blocks.0.cross_attn.key.weight"].shape == (2, 2)
    assert weights["encoder.ln_post.weight"].tolist() == [1, 1]
    assert len(weights) == 6
    (tmp_path / "model.bin").write_bytes(b"\x07" + data[1:])
    with pytest.raises(InputError, match="format 6"):
        read_arrays(tmp_path / "model.bin")

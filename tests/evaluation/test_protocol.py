"""Pairs, the cache, intervals and the point of equal error."""

from __future__ import annotations

import json
import os
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("torch")

from fastvoicegrad import InputError
from fastvoicegrad.evaluation.cache import Cache, digest, fingerprint
from fastvoicegrad.evaluation.pairs import Pair, make_pairs, pairs_of_manifest, read_pairs, to_self_pairs, write_pairs
from fastvoicegrad.evaluation.statistics import difference, estimate, resamples
from fastvoicegrad.training.data.corpus import Recording
from fastvoicegrad.training.verification import equal_error, verification_scores


def recordings(folder: Path, each: int = 15) -> list[Recording]:
    return [
        Recording(f"{s}{i}", str(folder / f"{s}{i}.wav"), "c", "test", 1.0, 16000, s, f"sentence {i}")
        for s in "abcd"
        for i in range(each)
    ]


def test_pairs_are_every_ordered_pair_with_other_sentences(tmp_path: Path) -> None:
    rows = recordings(tmp_path)
    pairs = make_pairs(rows, 10)
    assert len(pairs) == 120
    assert len({(p.source.voice, p.target) for p in pairs}) == 12
    for pair in pairs:
        assert pair.source.voice != pair.target
        texts = [r.text for r in (*pair.references, pair.natural)]
        assert pair.source.text not in texts
        assert len(set(texts)) == len(texts)
        assert pair.parallel is not None
        assert pair.parallel.text == pair.source.text
        assert {r.voice for r in (*pair.references, pair.natural, pair.parallel)} == {pair.target}
    assert [p.id for p in make_pairs(rows, 10)] == [p.id for p in pairs]
    with pytest.raises(ValueError, match="too few"):
        make_pairs(rows, 13)


def test_long_recordings_are_only_references(tmp_path: Path) -> None:
    rows = [replace(r, duration=20.0 if r.id[1:] in ("0", "1", "2") else 1.0) for r in recordings(tmp_path, each=9)]
    pairs = make_pairs(rows, 5, keep=lambda r: r.duration < 10)
    assert all(p.source.duration == p.natural.duration == 1.0 for p in pairs)
    assert any(r.duration == 20.0 for p in pairs for r in p.references)
    with pytest.raises(ValueError, match="too few"):
        make_pairs(rows, 7, keep=lambda r: r.duration < 10)


def test_a_protocol_file_can_move_with_its_recordings(tmp_path: Path) -> None:
    pairs = make_pairs(recordings(tmp_path), 2)
    write_pairs(tmp_path / "deep" / "pairs.jsonl", pairs)
    assert read_pairs(tmp_path / "deep" / "pairs.jsonl") == pairs
    (tmp_path / "deep").rename(tmp_path / "moved")
    assert read_pairs(tmp_path / "moved" / "pairs.jsonl") == pairs


@pytest.mark.parametrize("content", ["", "{}\n", "not json\n", None])
def test_a_bad_protocol_is_refused_with_advice(tmp_path: Path, content: str | None) -> None:
    path = tmp_path / "pairs.jsonl"
    if content is not None:
        path.write_text(content)
    with pytest.raises(InputError, match="dev pairs"):
        read_pairs(path)


def test_a_pair_stands_in_a_protocol_once(tmp_path: Path) -> None:
    """Figures are kept by the pair's name, so two pairs of one name would share them."""
    path, pairs = tmp_path / "pairs.jsonl", make_pairs(recordings(tmp_path), 2)
    write_pairs(path, [*pairs, pairs[1]])
    with pytest.raises(InputError, match=f"line {len(pairs) + 1}: the pair {pairs[1].id} is there twice"):
        read_pairs(path)


def test_a_manifest_with_too_few_recordings_is_refused_with_advice(tmp_path: Path) -> None:
    manifest = tmp_path / "manifest.jsonl"
    rows = [vars(r) | {"path": Path(r.path).name} for r in recordings(tmp_path, 6)]
    manifest.write_text("".join(json.dumps(row) + "\n" for row in rows))
    assert len(pairs_of_manifest(manifest, [], "test", 2, 3, 0, 30.0)) == 24
    assert len(pairs_of_manifest(manifest, ["c", "c"], "test", 2, 3, 0, 30.0)) == 24
    with pytest.raises(InputError, match="fewer --sentences"):
        pairs_of_manifest(manifest, ["c"], "test", 10, 3, 0, 30.0)
    with pytest.raises(InputError, match="greater --longest"):
        pairs_of_manifest(manifest, [], "test", 2, 3, 0, 0.5)
    with pytest.raises(InputError, match="no split 'test' of d"):
        pairs_of_manifest(manifest, ["d"], "test", 2, 3, 0, 30.0)
    with pytest.raises(InputError, match="no split 'valid'"):
        pairs_of_manifest(manifest, [], "valid", 2, 3, 0, 30.0)
    with pytest.raises(InputError, match="no such manifest"):
        pairs_of_manifest(tmp_path / "nowhere.jsonl", [], "test", 2, 3, 0, 30.0)


@pytest.mark.parametrize("with_texts", [True, False])
def test_self_pairs_convert_every_voice_to_itself(tmp_path: Path, with_texts: bool) -> None:
    rows = [replace(r, text=r.text if with_texts else None) for r in recordings(tmp_path)]
    pairs = make_pairs(rows, 3, self_pairs=True)
    assert len(pairs) == 4 * 3
    for pair in pairs:
        assert pair.is_self
        ids = [r.id for r in (pair.source, pair.natural, *pair.references)]
        assert len(set(ids)) == len(ids)
        assert {r.voice for r in (pair.natural, *pair.references)} == {pair.source.voice}
        assert pair.parallel == pair.source
    assert to_self_pairs(pairs) == [replace(pair, natural=pair.source) for pair in pairs]


def test_ordinary_pairs_become_self_pairs_of_their_targets(tmp_path: Path) -> None:
    pairs = make_pairs(recordings(tmp_path), 3)
    found = to_self_pairs(pairs)
    assert {pair.target for pair in found} == set("abcd")
    assert {pair.source.id for pair in found} == {pair.natural.id for pair in pairs}
    assert len(found) == len({pair.source.id for pair in found})
    for pair in found:
        assert pair.is_self
        assert pair.source.text not in [r.text for r in pair.references]


def test_a_sentence_recorded_twice_is_no_other_sentence(tmp_path: Path) -> None:
    rows = recordings(tmp_path, each=8)
    rows += [replace(r, id=f"{r.id}again") for r in rows]
    for pair in make_pairs(rows, 6) + make_pairs(rows, 6, self_pairs=True):
        assert pair.source.text not in [r.text for r in (pair.natural, *pair.references)]


def test_the_cache_keeps_parts_of_a_key_apart(tmp_path: Path) -> None:
    assert digest("ab", "c") != digest("a", "bc")
    cache, key = Cache(tmp_path), digest("x")
    assert cache.get(key) is None
    cache.put(key, {"a": 0.1})
    assert Cache(tmp_path).get(key) == {"a": 0.1}


def test_a_fingerprint_follows_its_file(tmp_path: Path) -> None:
    file, folder = tmp_path / "file", str(tmp_path)
    file.write_bytes(b"1")
    assert fingerprint(str(file)) == digest(b"1")
    of_folder = fingerprint(folder)
    file.write_bytes(b"22")
    assert fingerprint(str(file)) == digest(b"22")
    assert fingerprint(folder) != of_folder
    file.write_bytes(b"33")  # of the same size
    os.utime(file, ns=(0, 1))
    assert fingerprint(str(file)) == digest(b"33")


def test_the_interval_of_a_normal_mean_agrees_with_theory() -> None:
    values = np.random.default_rng(1).normal(3, 2, 400)
    found = estimate(values, np.ones(400), resamples(400))
    assert found is not None
    half = 1.96 * values.std() / 20
    assert (found.mean, found.count) == (pytest.approx(values.mean()), 400)
    assert (found.low, found.high) == (
        pytest.approx(values.mean() - half, abs=0.03),
        pytest.approx(values.mean() + half, abs=0.03),
    )


def test_weights_and_missing_figures() -> None:
    draws = resamples(3)
    found = estimate(np.array([1.0, 5.0, np.nan]), np.array([3.0, 1.0, 9.0]), draws)
    assert found is not None
    assert (found.mean, found.count) == (2.0, 2)
    assert estimate(np.full(3, np.nan), np.ones(3), draws) is None


def test_a_difference_is_paired() -> None:
    random = np.random.default_rng(2)
    easy, ones, draws = random.normal(0, 5, 200), np.ones(200), resamples(200)
    found = difference(easy + 0.1, easy, (ones, ones), draws)  # far less than pairs differ from each other
    assert found is not None
    assert (found.low, found.mean, found.high) == pytest.approx((0.1, 0.1, 0.1))


def test_equal_error_of_known_distributions() -> None:
    rate, threshold = equal_error(np.ones(50), np.zeros(50))
    assert rate == 0
    assert 0 < threshold <= 1
    random = np.random.default_rng(0)
    assert equal_error(random.normal(size=5000), random.normal(size=5000))[0] == pytest.approx(0.5, abs=0.03)
    # Unit Gaussians around 0 and 2 cross at 1: the tail beyond it is 15.9 %.
    rate, threshold = equal_error(random.normal(2, 1, 20000), random.normal(0, 1, 20000))
    assert rate == pytest.approx(0.159, abs=0.01)
    assert threshold == pytest.approx(1, abs=0.03)


def test_verification_scores_split_pairs() -> None:
    embeddings = np.eye(4)[[0, 0, 1, 2]]
    same, different = verification_scores(embeddings, ["a", "a", "b", "c"])
    assert same.tolist() == [1.0]
    assert different.tolist() == [0.0] * 5


def test_pairs_that_cannot_be_used_are_one_line(tmp_path: Path) -> None:
    path = tmp_path / "pairs.jsonl"
    path.write_bytes(b"\xff\xfe")
    with pytest.raises(InputError, match="cannot be read as text"):
        read_pairs(path)
    for name in ("../a", "/a", "a/../../b"):
        recording = Recording(id=name, path="a.wav", corpus="c", split="test", duration=1.0, sample_rate=16000)
        write_pairs(path, [Pair(recording, "ben", (recording,), recording)])
        with pytest.raises(InputError, match="leads out of a report's folder"):
            read_pairs(path)


def test_empty_texts_and_numbers_of_voices_are_read_as_what_they_mean(tmp_path: Path) -> None:
    row = {"path": "a.wav", "corpus": "c", "split": "test", "duration": 1.0, "sample_rate": 16000, "text": ""}
    source, target = (row | {"id": voice, "speaker": voice} for voice in (0, 1))
    pair = {"source": source, "target": 1, "references": [target], "natural": target, "parallel": target}
    (tmp_path / "pairs.jsonl").write_text(json.dumps(pair))
    (read,) = read_pairs(tmp_path / "pairs.jsonl")
    assert {recording.text for recording in read.recordings} == {None}
    assert (read.source.voice, read.target, read.natural.voice) == ("0", "1", "1")
    assert read.id == "0--1"


def test_numbers_and_names_of_voices_go_together(tmp_path: Path) -> None:
    common = {"path": "a.wav", "corpus": "c", "split": "test", "duration": 1.0, "sample_rate": 16000}
    rows = [common | {"id": f"{voice}{n}", "speaker": voice} for voice in (0, 7, "x") for n in range(4)]
    (tmp_path / "m.jsonl").write_text("\n".join(map(json.dumps, rows)))
    made = pairs_of_manifest(tmp_path / "m.jsonl", [], "test", 2, references=1, seed=0, longest=9.0)
    voices = {(pair.source.voice, pair.target) for pair in made}
    assert voices == {("0", "7"), ("0", "x"), ("7", "0"), ("7", "x"), ("x", "0"), ("x", "7")}

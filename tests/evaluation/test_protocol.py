from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("torch")

from fastvoicegrad import InputError
from fastvoicegrad.evaluation.cache import Cache, digest, fingerprint
from fastvoicegrad.evaluation.pairs import make_pairs, pairs_of_manifest, read_pairs, write_pairs
from fastvoicegrad.evaluation.speaker import equal_error_threshold
from fastvoicegrad.evaluation.statistics import difference, estimate, resamples
from fastvoicegrad.training.data.corpus import Recording
from fastvoicegrad.training.tasks.speaker import equal_error_rate, verification_scores


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
        said = [r.text for r in (*pair.references, pair.natural)]
        assert pair.source.text not in said
        assert len(set(said)) == len(said)
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


def test_a_protocol_comes_back_from_its_file_wherever_that_is(tmp_path: Path) -> None:
    pairs = make_pairs(recordings(tmp_path), 2)
    write_pairs(tmp_path / "deep" / "pairs.jsonl", pairs)
    assert read_pairs(tmp_path / "deep" / "pairs.jsonl") == pairs
    (tmp_path / "deep").rename(tmp_path / "augmented")
    assert read_pairs(tmp_path / "augmented" / "pairs.jsonl") == pairs


@pytest.mark.parametrize("content", ["", "{}\n", "not json\n", None])
def test_a_bad_protocol_is_refused_in_a_line(tmp_path: Path, content: str | None) -> None:
    path = tmp_path / "pairs.jsonl"
    if content is not None:
        path.write_text(content)
    with pytest.raises(InputError, match="--make-pairs"):
        read_pairs(path)


def test_a_manifest_without_enough_is_refused_with_advice(tmp_path: Path) -> None:
    manifest = tmp_path / "manifest.jsonl"
    rows = [vars(r) | {"path": Path(r.path).name} for r in recordings(tmp_path, 6)]
    manifest.write_text("".join(json.dumps(row) + "\n" for row in rows))
    assert len(pairs_of_manifest(manifest, [], "test", 2, 3, 0, 30.0)) == 24
    with pytest.raises(InputError, match="fewer --sentences"):
        pairs_of_manifest(manifest, ["c"], "test", 10, 3, 0, 30.0)
    with pytest.raises(InputError, match="greater --longest"):
        pairs_of_manifest(manifest, [], "test", 2, 3, 0, 0.5)
    with pytest.raises(InputError, match="no split 'test' of d"):
        pairs_of_manifest(manifest, ["d"], "test", 2, 3, 0, 30.0)


def test_the_cache_keeps_parts_of_a_key_apart(tmp_path: Path) -> None:
    assert digest("ab", "c") != digest("a", "bc")
    cache, key = Cache(tmp_path), digest("x")
    assert cache.get(key) is None
    cache.put(key, {"a": 0.1})
    assert Cache(tmp_path).get(key) == {"a": 0.1}
    (tmp_path / "file").write_bytes(b"1")
    assert fingerprint(str(tmp_path / "file")) == digest(b"1")


def test_an_interval_of_a_normal_mean_is_the_textbooks() -> None:
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
    found = difference(easy + 0.1, easy, (ones, ones), draws)  # far below what the pairs differ by themselves
    assert found is not None
    assert (found.low, found.mean, found.high) == pytest.approx((0.1, 0.1, 0.1))


def test_equal_error_rate_at_its_ends() -> None:
    assert equal_error_rate(np.ones(50), np.zeros(50)) == 0
    random = np.random.default_rng(0)
    assert equal_error_rate(random.normal(size=5000), random.normal(size=5000)) == pytest.approx(0.5, abs=0.03)
    # Two unit Gaussians two apart cross at one: the tail beyond it is 15.9 %.
    same, different = random.normal(2, 1, 20000), random.normal(0, 1, 20000)
    assert equal_error_rate(same, different) == pytest.approx(0.159, abs=0.01)
    assert equal_error_threshold(same, different) == pytest.approx(1, abs=0.03)
    assert 0 < equal_error_threshold(np.ones(5), np.zeros(5)) <= 1


def test_verification_scores_split_pairs() -> None:
    embeddings = np.eye(4)[[0, 0, 1, 2]]
    same, different = verification_scores(embeddings, ["a", "a", "b", "c"])
    assert same.tolist() == [1.0]
    assert different.tolist() == [0.0] * 5

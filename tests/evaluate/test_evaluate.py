from __future__ import annotations

import numpy as np
import pytest

pytest.importorskip("torch")

from fastvoicegrad.data.corpus import Recording
from fastvoicegrad.evaluate.pairs import make_pairs
from fastvoicegrad.train.speaker import equal_error_rate, verification_scores


def test_pairs_are_every_ordered_pair_with_other_sentences() -> None:
    rows = [Recording(f"{s}{i}", "", "c", "test", 1.0, 16000, s, f"sentence {i}") for s in "abcd" for i in range(15)]
    pairs = make_pairs(rows, 10)
    assert len(pairs) == 120
    assert len({(p.source.voice, p.target) for p in pairs}) == 12
    for pair in pairs:
        assert pair.source.voice != pair.target
        said = [r.text for r in (*pair.references, pair.natural)]
        assert pair.source.text not in said
        assert len(set(said)) == len(said)
        assert {r.voice for r in (*pair.references, pair.natural)} == {pair.target}
    assert [p.id for p in make_pairs(rows, 10)] == [p.id for p in pairs]
    with pytest.raises(ValueError, match="too few"):
        make_pairs(rows, 13)


def test_equal_error_rate_at_its_ends() -> None:
    assert equal_error_rate(np.ones(50), np.zeros(50)) == 0
    random = np.random.default_rng(0)
    assert equal_error_rate(random.normal(size=5000), random.normal(size=5000)) == pytest.approx(0.5, abs=0.03)
    # Two unit Gaussians two apart cross at one: the tail beyond it is 15.9 %.
    two = equal_error_rate(random.normal(2, 1, 20000), random.normal(0, 1, 20000))
    assert two == pytest.approx(0.159, abs=0.01)


def test_verification_scores_split_pairs() -> None:
    embeddings = np.eye(4)[[0, 0, 1, 2]]
    same, different = verification_scores(embeddings, ["a", "a", "b", "c"])
    assert same.tolist() == [1.0]
    assert different.tolist() == [0.0] * 5


def test_normaliser_and_error_rates() -> None:
    pytest.importorskip("jiwer")
    pytest.importorskip("tokenizers")
    from fastvoicegrad.evaluate.asr import error_rates, normalise

    assert normalise(" The side-show,  in THE Circus! ") == "the side show in the circus"
    assert error_rates(["A cat."], ["a cat"]) == (0.0, 0.0)
    assert error_rates(["abcd"], ["abce"]) == (25.0, 100.0)

"""What the report makes of rows."""

from __future__ import annotations

from typing import Any

import pytest

pytest.importorskip("torch")

from fastvoicegrad.evaluation.pairs import Pair
from fastvoicegrad.evaluation.report import by_corpus, summarise
from fastvoicegrad.training.data.corpus import Recording


def pair(number: int, corpus: str) -> Pair:
    recording = Recording(
        id=str(number), path="", corpus=corpus, split="test", duration=1.0, sample_rate=16000, speaker="a", text=None
    )
    return Pair(recording, "b", (recording,), recording)


def test_each_corpus_has_the_means_of_its_own_pairs() -> None:
    scores = [1.0, 2.0, 6.0]
    report: dict[str, Any] = {
        "pairs": ["0", "1", "2"],
        "metrics": [{"version": "one", "columns": [{"name": "score", "better": "higher", "weight": "", "digits": 2}]}],
        "rows": {"ours": [{"score": score} for score in scores]},
    }
    found = by_corpus(report, [pair(0, "read"), pair(1, "told"), pair(2, "read")])
    assert {corpus: said["ours"]["score"]["mean"] for corpus, said in found.items()} == {"read": 3.5, "told": 2.0}
    assert found["read"]["ours"]["score"]["count"] == 2
    assert summarise(report)["ours"]["score"]["mean"] == pytest.approx(3.0)
    assert by_corpus(report, [pair(i, "read") for i in range(3)]) == {}

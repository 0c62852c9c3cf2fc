"""From rows of figures to tables."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("torch")

from fastvoicegrad.evaluation.pairs import Pair
from fastvoicegrad.evaluation.speaker import Ecapa, Ge2e, SpeakerSimilarity
from fastvoicegrad.evaluation.tables import MAIN, by_corpus, columns_by_table, summarise
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
    found = by_corpus(report, [pair(0, "read"), pair(1, "spontaneous"), pair(2, "read")])
    means = {corpus: summary["ours"]["score"]["mean"] for corpus, summary in found.items()}
    assert means == {"read": 3.5, "spontaneous": 2.0}
    assert found["read"]["ours"]["score"]["count"] == 2
    assert summarise(report)["ours"]["score"]["mean"] == pytest.approx(3.0)
    assert by_corpus(report, [pair(i, "read") for i in range(3)]) == {}


def test_the_main_table_has_the_figures_of_the_field() -> None:
    names = ["DNSMOS", "DNSMOS signal", "CER % Moonshine", "WER % Moonshine", "F0 Hz", "F0 correlation"]
    names += [f"{encoder.name} {figure}" for encoder in (Ecapa, Ge2e) for figure in ("target", "source", "nearer %")]
    names += [f"{encoder.name} accepted %" for encoder in (Ecapa, Ge2e)]
    columns = [{"name": name, "better": "", "weight": "", "digits": 2} for name in (*names, "UTMOS")]
    report = {"metrics": [{"version": "", "columns": columns}], "summary": {"ours": dict.fromkeys(names)}}
    tables = {title: [column.name for column in found] for title, found in columns_by_table(report).items()}
    assert tables[MAIN] == [
        *("DNSMOS", "CER % Moonshine", "ECAPA target", "ECAPA source", "ECAPA accepted %"),
        *("GE2E target", "GE2E accepted %", "F0 correlation"),
    ]
    assert tables["Quality"] == ["DNSMOS", "DNSMOS signal"]  # a column without a figure is left out
    assert set(names) == {name for found in tables.values() for name in found}


def test_every_column_of_a_speaker_metric_is_in_its_table(tmp_path: Path) -> None:
    (tmp_path / "weights").write_bytes(b"")
    metric = SpeakerSimilarity(Ge2e(str(tmp_path / "weights")))
    names = [column.name for column in metric.columns]
    report = {
        "metrics": [{"version": "", "columns": [vars(column) for column in metric.columns]}],
        "summary": {"ours": dict.fromkeys(names)},
    }
    assert [column.name for column in columns_by_table(report)["Speaker similarity"]] == names

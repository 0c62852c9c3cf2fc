"""Conversions with references of several lengths."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner

pytest.importorskip("torch")
pytest.importorskip("matplotlib")

from fastvoicegrad import InputError
from fastvoicegrad.cli import app
from fastvoicegrad.evaluation.pairs import read_pairs
from fastvoicegrad.evaluation.reference_length import plot, reference_length
from fastvoicegrad.evaluation.specs import make_system
from fastvoicegrad.evaluation.systems import LimitedReference


def test_a_voice_has_the_speech_of_its_first_seconds(folder: Path, pairs: Path) -> None:
    pair = read_pairs(pairs)[0]
    short, long = (make_system(f"reference:{n}:{folder}", folder) for n in (1, 3.5))
    assert isinstance(short, LimitedReference)
    assert isinstance(long, LimitedReference)
    assert short.key != long.key
    assert 0 < short.voice(pair).seconds <= 1.1 < long.voice(pair).seconds <= 3.6
    assert not np.allclose(short(pair), long(pair))


def test_references_that_are_too_short_are_named_before_any_work(folder: Path, pairs: Path, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="more --references"):
        reference_length(pairs, tmp_path / "out", tmp_path, str(folder), (1.0, 30.0))
    assert not (tmp_path / "out").exists()


@pytest.mark.usefixtures("one_process")
def test_the_report_has_a_row_for_every_length_and_a_plot(folder: Path, two_pairs: Path, tmp_path: Path) -> None:
    table = reference_length(two_pairs, tmp_path / "out", tmp_path, str(folder), (1.0, 2.0), jobs=1).read_text()
    assert "| 1 s |" in table
    assert "| 2 s |" in table
    assert "\n- ge2e.pt: left out" in table, "what is left out is named"
    assert (tmp_path / "out" / "reference-length.png").read_bytes().startswith(b"\x89PNG")


def test_a_plot_needs_no_particular_metric(tmp_path: Path) -> None:
    found = {"mean": 0.5, "low": 0.4, "high": 0.6}
    report = {"summary": {"1 s": {"CAM++ target": found}, "3 s": {"CAM++ target": found}}}
    plot(report, (1.0, 3.0), tmp_path / "plot.png")
    assert (tmp_path / "plot.png").stat().st_size > 5000


def test_lengths_count_once(two_pairs: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    given = []
    monkeypatch.setattr(
        "fastvoicegrad.evaluation.reference_length.reference_length",
        lambda pairs, out, weights, bundle, seconds, jobs: given.append(seconds) or two_pairs,
    )
    words = ("dev", "reference-length", "--pairs", str(two_pairs), "--seconds", "3", "--seconds", "1", "--seconds", "3")
    assert CliRunner().invoke(app, [*words, "-o", str(tmp_path)]).exit_code == 0
    assert given == [[1.0, 3.0]]


@pytest.mark.parametrize("spec", ["reference:default", "reference::default", "reference:-1:default"])
def test_a_length_that_is_no_number_is_named(spec: str, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="SECONDS"):
        make_system(spec, tmp_path)

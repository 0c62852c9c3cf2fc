"""What the report of an adaptation measures, and what counts as worse."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("torch")

from fastvoicegrad import VoiceConverter
from fastvoicegrad.training.adapt.recordings import read_voice
from fastvoicegrad.training.adapt.report import OWN, Comparison, Judges, Report, _mean, compare
from fastvoicegrad.training.adapt.shipped import shipped_speech


def embed(wave: np.ndarray) -> np.ndarray:
    return np.full(4, 0.5, np.float32)


def compared(judges: Judges, bundle: Path, speech_folder: Path, folder: Path) -> Report:
    """A voice with itself."""
    converter = VoiceConverter.load(bundle, 1)
    voice = read_voice(converter.bundle, [speech_folder], "anna", lambda sentence: None)
    return compare(converter, voice, voice.voice, shipped_speech(converter).held, judges, folder)


def test_long_texts_count_more_in_the_error_rates() -> None:
    rows = [{"CER % A": 0.0, "cosine": 0.0}, {"CER % A": 100.0, "cosine": 1.0}, {"cosine": 2.0}]
    assert _mean(rows, ["a" * 30, "b" * 10, None]) == {"CER % A": 25.0, "cosine": 1.0}


def test_an_encoder_that_took_part_decides_nothing(bundle: Path, speech_folder: Path, tmp_path: Path) -> None:
    judges = Judges({"CAM++": embed, "ECAPA": embed}, trained=frozenset({"CAM++"}))
    report = compared(judges, bundle, speech_folder, tmp_path)
    assert report.encoder == "ECAPA"
    assert OWN not in report.natural


def test_where_no_other_encoder_is_there_the_own_one_measures(
    bundle: Path, speech_folder: Path, tmp_path: Path
) -> None:
    judges = Judges({"CAM++": embed}, trained=frozenset({"CAM++"}))
    report = compared(judges, bundle, speech_folder, tmp_path)
    assert report.encoder == ""
    assert all({"CAM++", OWN} <= set(comparison.after) for comparison in report.comparisons)
    assert report.notes


def test_a_recogniser_of_english_reads_english(bundle: Path, speech_folder: Path, tmp_path: Path) -> None:
    read = list[str]()

    def error_rate(wave: np.ndarray, text: str) -> float:
        read.append(text)
        return 3.0

    judges = Judges({"ECAPA": embed}, {"M": error_rate})
    report = compared(judges, bundle, speech_folder, tmp_path)
    assert report.comparisons[0].after["CER % M"] == 3.0
    assert len(read) == 4  # two English recordings, before and after
    assert "Hola." not in read


@pytest.mark.parametrize(
    ("before", "after", "problem"),
    [
        ({"ECAPA": 0.5}, {"ECAPA": 0.6}, ""),
        ({"ECAPA": 0.5}, {"ECAPA": 0.5}, "likeness did not rise"),
        ({"ECAPA": 0.5, "CER % M": 3.0}, {"ECAPA": 0.6, "CER % M": 5.5}, "words got lost"),
        ({"ECAPA": 0.5, "quality, D": 4.0}, {"ECAPA": 0.6, "quality, D": 2.5}, "less natural"),
        ({"ECAPA": 0.5, "quality, D": 4.0}, {"ECAPA": 0.6, "quality, D": 3.0}, ""),  # as natural as the voice itself
    ],
)
def test_what_counts_as_worse(before: dict[str, float], after: dict[str, float], problem: str) -> None:
    found = Report("anna", [Comparison("", before, after, 1)], "ECAPA", {"quality, D": 3.05}, []).problem
    assert problem in found
    assert bool(problem) == bool(found)


@pytest.mark.parametrize(("natural", "problem"), [(0.8, "the likeness fell"), (0.25, "")])
def test_without_an_independent_judge_the_own_encoder_refuses_a_fall(natural: float, problem: str) -> None:
    """The voice's own recordings bound what can be asked."""
    found = Report("anna", [Comparison("", {OWN: 0.55}, {OWN: 0.3}, 1)], "", {OWN: natural}, []).problem
    assert found.startswith(problem)
    assert bool(problem) == bool(found)

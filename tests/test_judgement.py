from __future__ import annotations

import numpy as np
import pytest

from fastvoicegrad import VoiceConverter
from fastvoicegrad.judgement import judge_reference, judge_source, judge_together, speakers_apart
from fastvoicegrad.reference import turns
from fastvoicegrad.speech import analyse
from tests.conftest import vowels


def embeddings(counts: list[int], spread: float = 0.03) -> np.ndarray:
    """So many windows of each speaker: random directions with a little noise, (n, 192)."""
    random = np.random.default_rng(0)
    centres = random.standard_normal((len(counts), 192)) / np.sqrt(192)
    found = np.repeat(centres, counts, axis=0)
    return (found + spread * random.standard_normal(found.shape)).astype(np.float32)


@pytest.mark.parametrize(
    ("counts", "apart"),
    [([4, 4], True), ([2, 6], True), ([2, 2], True), ([8], False), ([1, 7], False), ([1, 1], False), ([], False)],
)
def test_two_groups_of_windows_are_two_speakers(counts: list[int], apart: bool) -> None:
    assert speakers_apart(embeddings(counts) if counts else np.zeros((0, 0), np.float32)) == apart


def test_the_order_of_windows_does_not_matter() -> None:
    mixed = embeddings([4, 4])[[0, 4, 1, 5, 2, 6, 3, 7]]
    assert speakers_apart(mixed)


def test_two_speakers_are_named(converter: VoiceConverter) -> None:
    wave = vowels(9.0)
    frames = analyse(converter.bundle, [wave], 1.0)
    own, two = turns(converter.bundle, frames), embeddings([4, 4])
    assert len(own) == 4
    assert judge_source(frames, own) == []
    assert judge_source(frames, two)[0].startswith("more than one person seems to speak in the source")
    sentences = [set(judge_reference("a.wav", [wave], frames, found)) for found in (own, two)]
    assert sentences[1] - sentences[0] == {
        "a.wav: more than one person seems to speak; the voice becomes a mixture of them"
    }


@pytest.mark.parametrize(
    ("counts", "spoken", "mixed"),
    [
        ([3], [5.0] * 3, False),
        ([2, 1], [5.0] * 3, True),
        ([2, 1], [5.0, 5.0, 1.0], False),
        ([1], [5.0], False),
        ([], [], False),
    ],
)
def test_references_of_different_people_are_named(counts: list[int], spoken: list[float], mixed: bool) -> None:
    unit = [e / np.linalg.norm(e) for e in embeddings(counts)] if counts else []
    assert judge_together(unit, spoken) == mixed * [
        "the references seem to be of different people; the voice becomes a mixture of them"
    ]

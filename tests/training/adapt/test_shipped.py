"""The speech that ships: much of it, in many voices, and some held back."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

pytest.importorskip("torch")

from fastvoicegrad import VoiceConverter, audio
from fastvoicegrad.training.adapt.settings import AdaptConfig
from fastvoicegrad.training.adapt.shipped import NATURAL, shipped_speech

FOLDER = Path(__file__).parents[3] / "src/fastvoicegrad/training/adapt/speech"


def test_what_is_held_back_is_not_trained_on(bundle: Path) -> None:
    train, held = shipped_speech(VoiceConverter.load(bundle))
    assert len(held) == len(NATURAL) + 1
    assert not {id(source) for source in train} & {id(source) for source in held}
    assert [source.text for source in held[: len(NATURAL)]] == list(NATURAL.values())
    assert [source.english for source in held] == [True] * len(NATURAL) + [False]


def test_every_recording_has_its_words_and_is_long_enough() -> None:
    index = json.loads((FOLDER / "index.json").read_text(encoding="utf-8"))
    assert sorted(path.name for path in FOLDER.glob("*.opus")) == [f"{number:02}.opus" for number in range(len(index))]
    assert len({entry["text"] for entry in index}) == len(index) > 80
    assert len({entry["language"] for entry in index}) >= 5
    shortest = AdaptConfig.__dataclass_fields__["frames"].default * 256 / 22050
    for number, entry in enumerate(index):
        seconds = audio.inspect(FOLDER / f"{number:02}.opus").seconds
        assert seconds == pytest.approx(entry["seconds"], abs=0.05)
        assert seconds > shortest

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import soundfile

pytest.importorskip("torch")

from fastvoicegrad import InputError
from fastvoicegrad.evaluation.pairs import Pair
from fastvoicegrad.evaluation.systems import Folder, HifiGanCopySynthesis
from fastvoicegrad.training.data.corpus import Recording


def pair(name: str, target: str) -> Pair:
    recording = Recording(id=name, path="a.wav", corpus="c", split="test", duration=1.0, sample_rate=16000)
    return Pair(recording, target, (recording,), recording)


def test_a_folders_file_has_exactly_the_pairs_name(tmp_path: Path) -> None:
    for seconds, name in enumerate(("u--john.smith", "u--john", "talk[1]--john"), 1):
        soundfile.write(tmp_path / f"{name}.wav", np.sin(np.arange(22050 * seconds) / 5), 22050)
    folder = Folder(str(tmp_path))
    for name, target, seconds in (("u", "john", 2), ("u", "john.smith", 1), ("talk[1]", "john", 3)):
        assert len(folder(pair(name, target))) == 22050 * seconds
    (tmp_path / "u--john.json").write_text("{}")
    assert len(folder(pair("u", "john"))) == 22050 * 2
    (tmp_path / "p225").mkdir()  # an id may hold "/"
    soundfile.write(tmp_path / "p225" / "001--john.wav", np.sin(np.arange(11025) / 5), 22050)
    assert len(folder(pair("p225/001", "john"))) == 11025
    for missing in (folder, Folder(str(tmp_path / "none"))):
        with pytest.raises(InputError, match="no file for the pair u--jo"):
            missing(pair("u", "jo"))


def test_missing_weights_are_named() -> None:
    with pytest.raises(InputError, match=r"gone\.pt: no such file"):
        HifiGanCopySynthesis("gone.pt")

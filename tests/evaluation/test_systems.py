from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import soundfile

pytest.importorskip("torch")

from fastvoicegrad import InputError
from fastvoicegrad.evaluation import systems
from fastvoicegrad.evaluation.pairs import Pair
from fastvoicegrad.evaluation.systems import Conversion, Folder, HifiGanCopySynthesis
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


def test_only_the_voices_that_were_used_last_are_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(systems, "_VOICES", {})
    monkeypatch.setattr(systems, "MOST_VOICES", 2)
    conversion, made = Conversion(None), list[str]()
    converter = SimpleNamespace(
        bundle=SimpleNamespace(encoders="e", fingerprint="f"),
        voice=lambda paths: made.extend(Path(path).stem for path in paths) or "voice",
    )
    monkeypatch.setattr(conversion, "converter", converter)
    for name in "abc":
        (tmp_path / f"{name}.wav").write_text(name)
    for name in "abacab":
        assert conversion._voice_of(str(tmp_path / f"{name}.wav")) == "voice"
    assert made == ["a", "b", "c", "b"]

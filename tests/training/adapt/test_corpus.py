"""`fastvoicegrad adapt --bundle-out` on a tiny bundle."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

pytest.importorskip("torch")

from fastvoicegrad import InputError, VoiceConverter
from fastvoicegrad.training.adapt import corpus
from fastvoicegrad.training.adapt.corpus import train_on
from fastvoicegrad.training.adapt.run import Budget, NoGain
from fastvoicegrad.training.adapt.task import AdaptTask
from fastvoicegrad.training.task import Scalars
from tests.conftest import RATE, vowels


@pytest.mark.slow
def test_a_bundle_of_a_corpus_converts(
    speech_folder: Path, bundle: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:

    def rising(task: AdaptTask) -> Scalars:
        return {"likeness": 0.0, "score": float(task.step)}

    monkeypatch.setattr(AdaptTask, "validate", rising)
    speakers, lines = tmp_path / "corpus", list[str]()
    for name in ("anna", "ben"):
        shutil.copytree(speech_folder, speakers / name)
    (speakers / "empty").mkdir()
    out, budget = tmp_path / "out", Budget(steps=2, threads=1)
    train_on([speakers], out, budget, bundle=bundle, warn=lines.append, note=lines.append)
    assert any("empty is left out" in line for line in lines)
    assert any(line.startswith("2 voices, ") for line in lines)
    old, new = VoiceConverter.load(bundle), VoiceConverter.load(out)
    assert new.bundle.fingerprint == old.bundle.fingerprint
    assert new.bundle.converter_fingerprint != old.bundle.converter_fingerprint
    assert new.bundle.config.guidance == old.bundle.config.guidance
    assert new.convert(vowels(1.0), RATE, speech_folder / "0.wav").shape == (RATE,)
    with pytest.raises(InputError, match="exists already"):
        train_on([speakers], out, budget, bundle=bundle)


def test_a_corpus_that_gains_nothing_gives_no_bundle(
    speech_folder: Path, bundle: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(corpus, "trained", lambda *arguments: None)
    monkeypatch.setattr(corpus.checkpoint, "read_meta", lambda path: {"step": 0})
    with pytest.raises(NoGain, match="no bundle is written"):
        train_on([speech_folder], tmp_path / "out", Budget(steps=1, threads=1), bundle=bundle)
    assert not (tmp_path / "out").exists()


def test_a_corpus_is_folders(speech_folder: Path, bundle: Path, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="is no folder; for a bundle, each voice is a folder"):
        train_on([speech_folder / "0.wav"], tmp_path / "out", Budget(steps=1), bundle=bundle)


def test_a_folder_with_recordings_is_one_voice(tmp_path: Path) -> None:
    for name in ("anna/1.wav", "anna/outtakes/2.wav", "anna/anna.adapt/1-1-after.wav", "ben/3.wav", "ben.adapt/1.wav"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()
    assert corpus._of_one_voice(tmp_path / "anna") == [tmp_path / "anna"]
    assert corpus._of_one_voice(tmp_path) == [tmp_path / "anna", tmp_path / "ben"]

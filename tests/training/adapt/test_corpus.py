"""`fastvoicegrad adapt --bundle-out` on a tiny bundle."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

pytest.importorskip("torch")

from fastvoicegrad import InputError, VoiceConverter
from fastvoicegrad.bundle import Bundle
from fastvoicegrad.training.adapt import corpus
from fastvoicegrad.training.adapt.corpus import train_on
from fastvoicegrad.training.adapt.run import Budget, NoGain
from fastvoicegrad.training.adapt.task import AdaptTask
from fastvoicegrad.training.export import ExportSettings
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


# -- which folders ------------------------------------------------------------------------------------------


@pytest.fixture
def voices(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Three folders of recordings in `tmp_path`; gives the names of those that were read."""
    for name in ("north/anna", "north/ben", "south/carl"):
        (tmp_path / name).mkdir(parents=True)
        (tmp_path / name / "1.wav").touch()
    (tmp_path / "north/ben.adapt").mkdir()
    (tmp_path / "notes.txt").touch()
    read = list[str]()

    def noted(bundle: Bundle, inputs: list[Path], name: str, warn: object) -> None:
        read.append(name)
        raise InputError("too short")

    monkeypatch.setattr(corpus, "read_voice", noted)
    return read


def read_from(tmp_path: Path, *inputs: str) -> None:
    with pytest.raises(InputError, match="no voice with enough speech"):
        train_on([tmp_path / text for text in inputs], tmp_path / "out", Budget(steps=1, threads=1), warn=str)


@pytest.mark.parametrize(
    ("inputs", "names"),
    [
        (["*/*"], ["anna", "ben", "carl"]),
        (["n*"], ["anna", "ben"]),  # a folder of voices
        (["*"], ["anna", "ben", "carl"]),  # the text beside them is no voice
        (["north", "north/a*", "north/anna"], ["anna", "ben"]),  # each once
        (["south/[a-c]*"], ["carl"]),
    ],
)
def test_patterns_name_folders(voices: list[str], tmp_path: Path, inputs: list[str], names: list[str]) -> None:
    read_from(tmp_path, *inputs)
    assert voices == names


@pytest.mark.parametrize(
    ("wrong", "message"),
    [("e*", r"e\* matches no folder"), ("*.txt", "matches no folder"), ("none", "none is no folder")],
)
def test_all_folders_are_known_before_the_first_is_read(
    voices: list[str], tmp_path: Path, wrong: str, message: str
) -> None:
    with pytest.raises(InputError, match=f"{message}; for a bundle, each voice is a folder of recordings"):
        train_on([tmp_path / "north", tmp_path / wrong], tmp_path / "out", Budget(steps=1, threads=1), warn=str)
    assert voices == []


def test_a_folder_that_cannot_be_listed_is_one_line(
    voices: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    listed = Path.iterdir

    def refused(path: Path) -> Iterator[Path]:
        if path.name == "south":
            raise PermissionError(13, "Permission denied", str(path))
        return listed(path)

    monkeypatch.setattr(Path, "iterdir", refused)
    with pytest.raises(InputError, match=r"south cannot be read \(Permission denied\); check its permissions"):
        train_on([tmp_path / "north", tmp_path / "south"], tmp_path / "out", Budget(steps=1, threads=1), warn=str)
    assert voices == []


# -- the bundle that is written -----------------------------------------------------------------------------


def test_what_cannot_be_exported_is_known_before_the_training(
    speech_folder: Path, bundle: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refused(base: Bundle) -> ExportSettings:
        raise InputError("these settings cannot be exported")

    monkeypatch.setattr(corpus, "settings_of", refused)
    monkeypatch.setattr(corpus, "prepared", lambda *arguments: pytest.fail("it prepared"))
    with pytest.raises(InputError, match="cannot be exported"):
        train_on([speech_folder], tmp_path / "out", Budget(steps=1, threads=1), bundle=bundle)


@pytest.mark.parametrize(("before", "after"), [(None, "1 more voices"), (["a", 2], "['a', 2], then 1 more voices")])
def test_notes_may_hold_anything(
    speech_folder: Path, bundle: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, before: object, after: str
) -> None:
    base, given = tmp_path / "base", list[ExportSettings]()
    shutil.copytree(bundle, base)
    config = json.loads((base / "config.json").read_text())
    config |= {"temperature": 1.2, "guidance": 3.0, "notes": {"trained_on": before}}
    (base / "config.json").write_text(json.dumps(config))

    def written(folder: Path, *arguments: object, settings: ExportSettings, **more: object) -> None:
        folder.mkdir()
        given.append(settings)

    monkeypatch.setattr(corpus, "prepared", lambda *arguments: None)
    monkeypatch.setattr(corpus, "trained", lambda *arguments: None)
    monkeypatch.setattr(corpus.checkpoint, "read_meta", lambda path: {"step": 1})
    monkeypatch.setattr(corpus, "with_converter", written)
    train_on([speech_folder], tmp_path / "out", Budget(steps=1, threads=1), bundle=base)
    assert [(settings.temperature, settings.notes["trained_on"]) for settings in given] == [(1.2, after)]

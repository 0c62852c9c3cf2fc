from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest

from fastvoicegrad import InputError, Voice, VoiceConverter
from fastvoicegrad.library import VoiceLibrary, is_recording, recordings_of, resolve
from tests.conftest import vowels
from tests.library.voices import ANNA, BEN, Encoder


def test_a_file_comes_before_a_name(library: VoiceLibrary, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    library.add("anna", ANNA)
    encoder = Encoder("e")
    assert resolve(encoder, BEN, library) is BEN
    assert resolve(encoder, "anna", library).sources == ["a.wav"]
    assert resolve(encoder, Path("anna"), library).sources == ["a.wav"]
    (tmp_path / "nora").mkdir()
    assert resolve(encoder, "nora", library).sources == ["b.wav"]  # a folder holds no voice
    for name in ("anna", "anna+ben", "x.wav"):
        (tmp_path / name).touch()
        assert resolve(encoder, name, library).sources == [name]
    BEN.save(tmp_path / "x.voice")
    assert resolve(encoder, "x.voice", library).sources == ["b.wav"]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("ana", "^ana is no file, and there is no voice 'ana'; similar names: anna$"),
        ("anna+karl", "^anna\\+karl is no file, and there is no voice 'karl'"),
        ("anna(0;7)+ben(0;3)", "no such file, and no blend like 'anna\\(0.7\\)\\+ben\\(0.3\\)'$"),
        ("none.wav", "no such file"),
        ("none/anna", "no such file"),
        ("folder", "^folder is no file, and there is no voice 'folder'"),
        ("none.voice", "no such file"),
        ("", "the voice is empty; name a recording"),
        ("a\x00b", "not valid|no such file"),
    ],
)
def test_neither_a_file_nor_a_voice(
    library: VoiceLibrary,
    converter: VoiceConverter,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    text: str,
    message: str,
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "folder").mkdir()
    library.add("anna", ANNA)
    with pytest.raises(InputError, match=message):
        resolve(converter, text, library)


def test_a_converter_takes_names(
    converter: VoiceConverter, voice: Voice, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, speech: np.ndarray
) -> None:
    monkeypatch.setenv("FASTVOICEGRAD_VOICES", str(tmp_path))
    other = converter.voice_of(vowels(3.0, pitch=90.0, seed=9), 22050)
    VoiceLibrary().add("My-Anna", voice)
    VoiceLibrary().add("my-ben", other)
    np.testing.assert_allclose(converter.voice("my-anna").embedding, voice.embedding, atol=1e-6)
    half = converter.voice("my-anna(0.5)+my-ben(0.5)")
    assert min(half.embedding @ voice.embedding, half.embedding @ other.embedding) > voice.embedding @ other.embedding
    assert other.pitch < half.pitch < voice.pitch
    short = speech[:8000]
    assert (
        np.abs(converter.convert(short, 22050, "my-anna+my-ben") - converter.convert(short, 22050, "my-anna")).max()
        > 1e-3
    )


# -- folders --------------------------------------------------------------------------------------------------


def test_a_folder_stands_for_the_recordings_below_it(library: VoiceLibrary, tmp_path: Path) -> None:
    folder = tmp_path / "ben"  # a preset's name, but not alone
    for name in ("b.wav", "a.FLAC", "deep/c.opus", "notes.txt", ".hidden.wav", ".trash/d.wav"):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).touch()
    found = recordings_of(folder, library)
    assert found == [folder / "a.FLAC", folder / "b.wav", folder / "deep" / "c.opus"]
    assert all(map(is_recording, found))
    assert recordings_of(folder / "b.wav", library) == [folder / "b.wav"]
    assert recordings_of(BEN, library) == [BEN]


def test_a_name_comes_before_a_folder(library: VoiceLibrary, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "nora").mkdir()
    (tmp_path / "nora" / "a.wav").touch()
    assert recordings_of("nora", library) == ["nora"]
    assert recordings_of("./nora", library) == [Path("nora/a.wav")]


def test_a_folder_without_recordings_is_refused(library: VoiceLibrary, tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    with pytest.raises(InputError, match="empty holds no recordings; name one that does, or a recording$"):
        recordings_of(tmp_path / "empty", library)


def test_a_converter_pools_a_folder(
    converter: VoiceConverter, reference_file: Path, speech_file: Path, tmp_path: Path
) -> None:
    folder, one = tmp_path / "anna", reference_file
    folder.mkdir()
    recordings = [Path(shutil.copy(file, folder)) for file in (reference_file, speech_file)]
    pooled = converter.voice(folder)
    expected = converter.voice(sorted(recordings))
    np.testing.assert_array_equal(pooled.embedding, expected.embedding)
    assert pooled.sources == expected.sources
    weighted, alone = converter.voice([folder, one], [0.0, 1.0]), converter.voice(one)
    np.testing.assert_allclose(weighted.embedding, alone.embedding, atol=1e-6)
    with pytest.raises(InputError, match="2 references need as many weights, got 3"):
        converter.voice([folder, one], [1.0, 1.0, 1.0])

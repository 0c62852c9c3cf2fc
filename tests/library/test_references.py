from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest

from fastvoicegrad import AudioWarning, InputError, Voice, VoiceConverter
from fastvoicegrad.library import (
    VoiceLibrary,
    check_apart,
    is_recording,
    recordings_of,
    reference_name,
    resolve,
)
from tests.conftest import vowels
from tests.library.voices import ANNA, BEN, Encoder

BLEND = "nora(0.7)+theo(0.3)"


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
    for name in ("b.wav", "a.FLAC", "deep/c.opus", "notes.txt", ".hidden.wav", ".trash/d.wav", "ben.adapt/e.wav"):
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
    for folder in ("./nora", Path("nora")):
        assert recordings_of(folder, library) == [Path("nora/a.wav")]
    (tmp_path / "nora(0.7)+ben").mkdir()
    assert recordings_of("nora(0.7)+ben", library) == ["nora(0.7)+ben"]
    (tmp_path / "take(0)").mkdir()  # no blend: its weights are all 0
    (tmp_path / "take(0)" / "a.wav").touch()
    assert recordings_of("take(0)", library) == [Path("take(0)/a.wav")]


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


def test_bad_recordings_in_a_folder_are_left_out(
    converter: VoiceConverter, reference_file: Path, tmp_path: Path
) -> None:
    (tmp_path / "broken.wav").write_bytes(b"no sound")
    with pytest.raises(InputError, match="broken.wav"):
        converter.voice(tmp_path)
    shutil.copy(reference_file, tmp_path)
    with pytest.warns(AudioWarning, match="broken.wav.*; it is left out$"):
        voice = converter.voice(tmp_path)
    np.testing.assert_array_equal(voice.embedding, converter.voice(reference_file).embedding)


def test_a_report_has_what_was_found_about_references(
    converter: VoiceConverter, reference_file: Path, speech_file: Path, tmp_path: Path
) -> None:
    shutil.copy(reference_file, tmp_path)
    (tmp_path / "broken.wav").write_bytes(b"no sound")
    with pytest.warns(AudioWarning, match="broken.wav"):
        report = converter.convert_file(speech_file, tmp_path.parent / "out.wav", tmp_path)
    assert ["broken.wav" in sentence for sentence in report.warnings].count(True) == 1


def test_references_may_come_from_a_generator(
    converter: VoiceConverter, speech_file: Path, reference_file: Path, tmp_path: Path
) -> None:
    for name, references in (("a.wav", [reference_file]), ("b.wav", iter([reference_file]))):
        converter.convert_file(speech_file, tmp_path / name, references)
    assert (tmp_path / "a.wav").read_bytes() == (tmp_path / "b.wav").read_bytes()


def test_an_output_lies_apart_from_the_references(tmp_path: Path) -> None:
    (tmp_path / "anna").mkdir()
    (tmp_path / "anna" / "a.wav").touch()
    (tmp_path / "link").symlink_to(tmp_path / "anna")
    for output in ("anna/new.wav", "anna/deep/new.wav", "link/a.wav"):
        with pytest.raises(InputError, match="would lie among the recordings of the voice"):
            check_apart(tmp_path / output, [tmp_path / "anna"])
    with pytest.raises(InputError, match="is a reference itself"):
        check_apart(tmp_path / "link" / "a.wav", [tmp_path / "anna" / "a.wav"])
    check_apart(tmp_path / "anna.wav", [tmp_path / "anna", "nora", BEN])


@pytest.mark.parametrize(
    ("reference", "name"),
    [("takes.2024", "takes.2024"), ("a.b.wav", "a.b"), (BLEND, BLEND), (BEN, "b")],
)
def test_a_reference_has_a_name(
    reference: str | Voice, name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "takes.2024").mkdir()
    (tmp_path / "a.b.wav").touch()
    (tmp_path / BLEND).mkdir()  # of results
    assert reference_name(reference) == name
    assert reference_name(".") == tmp_path.name

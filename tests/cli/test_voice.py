"""``fastvoicegrad voice`` as a user runs it, with an empty library."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import soundfile

from fastvoicegrad import Voice, VoiceConverter
from fastvoicegrad.library import VoiceLibrary
from fastvoicegrad.voice_file import Adapter
from tests.cli.conftest import Inside
from tests.cli.test_commands import run
from tests.conftest import vowels


@pytest.fixture
def library(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> VoiceLibrary:
    """An empty library, which new processes use too. The names in these tests are none of a preset."""
    monkeypatch.setenv("FASTVOICEGRAD_VOICES", str(tmp_path / "voices"))
    return VoiceLibrary()


@pytest.fixture
def two(library: VoiceLibrary, converter: VoiceConverter, voice: Voice) -> VoiceLibrary:
    """A library with two voices."""
    library.add("My-Anna", voice, description="high, clear")
    library.add("my-ben", converter.voice_of(vowels(3.0, pitch=90.0, seed=9), 22050, "ben.wav"))
    return library


def text_of(*arguments: object, cwd: Path | None = None) -> str:
    done = run("voice", *arguments, cwd=cwd)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_a_new_library(library: VoiceLibrary) -> None:
    names = library.names()  # the presets
    assert [entry["name"] for entry in json.loads(text_of("list", "--json"))] == names
    assert names or "There is no voice yet" in text_of("list")


def test_make_show_and_convert(library: VoiceLibrary, reference_file: Path, speech_file: Path, tmp_path: Path) -> None:
    made = text_of("make", reference_file, "--name", "My-Anna", "--description", "high, clear", "--keep-audio")
    assert made.startswith("My-Anna: 2.8 s of speech from reference.flac")
    listed = [line for line in text_of("list").splitlines() if line.startswith("My-Anna")]
    assert listed[0].split() == ["My-Anna", "own", "209", "Hz", "3", "s", "high,", "clear"]
    shown = text_of("show", "my-anna")
    assert "description: high, clear" in shown
    assert "kept recordings: 1" in shown
    assert "fits the bundle: yes" in shown
    assert json.loads(text_of("show", "my-anna", "--json"))["sources"] == ["reference.flac"]
    done = run("convert", speech_file, "--to", "my-anna", "-o", tmp_path / "out.wav")
    assert done.returncode == 0, done.stderr
    assert soundfile.info(tmp_path / "out.wav").frames == soundfile.info(speech_file).frames


def test_of_a_folder_what_gives_a_voice_is_kept(inside: Inside, library: VoiceLibrary, tmp_path: Path) -> None:
    (tmp_path / "anna").mkdir()
    soundfile.write(tmp_path / "anna/a.wav", vowels(3.0), 22050)
    (tmp_path / "anna/broken.wav").write_text("no sound")
    done = inside("voice", "make", tmp_path / "anna", "--name", "my-anna", "--keep-audio")
    assert done.returncode == 0, done.stderr
    assert "broken.wav" in done.stderr
    assert library.entry("my-anna").recordings == 1


def test_a_voice_file_gives_its_description(
    inside: Inside, library: VoiceLibrary, voice: Voice, tmp_path: Path
) -> None:
    replace(voice, description="reads calmly").save(tmp_path / "a.voice")
    for options in (("--name", "my-anna"), ("-o", tmp_path / "b.voice")):
        assert inside("voice", "make", tmp_path / "a.voice", *options).returncode == 0
    assert library.entry("my-anna").description == "reads calmly"
    assert Voice.load(tmp_path / "b.voice").description == "reads calmly"


def test_show_names_the_converter_of_an_adapter(voice: Voice, tmp_path: Path) -> None:
    adapted = replace(voice, adapter=Adapter(np.ones(3, np.float32), "0123456789abcdef"))
    adapted.save(tmp_path / "adapted.voice")
    voice.save(tmp_path / "plain.voice")
    shown = text_of("show", tmp_path / "adapted.voice")
    assert "adapted for: converter 0123456789abcdef; that of the bundle: no" in shown
    assert "streams: not adapted" in shown
    assert json.loads(text_of("show", tmp_path / "plain.voice", "--json"))["adapted_for"] is None
    streams = Adapter(np.ones(3, np.float32), "fedcba9876543210")
    replace(voice, adapter=Adapter(np.ones(3, np.float32), "0123456789abcdef", streams)).save(tmp_path / "live.voice")
    assert "streams: adapted for converter fedcba9876543210" in text_of("show", tmp_path / "live.voice")


def test_rename_and_remove(two: VoiceLibrary) -> None:
    text_of("rename", "my-anna", "Zoë")
    assert set(two.names()) >= {"Zoë", "my-ben"}
    text_of("remove", "zoë", "MY-BEN")
    assert not {"Zoë", "My-Anna", "my-ben"} & set(two.names())


def test_blend(two: VoiceLibrary, tmp_path: Path) -> None:
    text_of("blend", "my-anna(0.75)+my-ben(0.25)", "--name", "mix")
    text_of("blend", "my-anna(3)+my-ben", "-o", tmp_path / "mix.voice", "--description", "between")
    stored, written = two.load("mix"), Voice.load(tmp_path / "mix.voice")
    np.testing.assert_array_equal(stored.mel, written.mel)
    assert (stored.description, written.description) == ("blend of my-anna(0.75)+my-ben(0.25)", "between")
    assert stored.sources == ["reference.flac", "ben.wav"]
    assert "description: between" in text_of("show", tmp_path / "mix.voice")


def test_play_writes_a_file(
    two: VoiceLibrary, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, speech_file: Path
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))  # no player
    shown = text_of("play", "my-anna")
    (preview,) = (two.folder / "previews").glob("My-Anna.*.wav")
    assert str(preview) in shown
    text_of("play", "my-anna+my-ben", "-o", tmp_path / "x.flac")
    assert soundfile.info(tmp_path / "x.flac").frames == soundfile.info(preview).frames
    text_of("remove", "my-anna")
    assert not preview.exists()


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        (["show", "my-ana"], "there is no voice 'my-ana'; similar names: My-Anna"),
        (["show", "none.voice"], "no such file"),
        (["show", "old.voice"], "made by an older version; make it again with 'fastvoicegrad voice make'"),
        (["play", "my-ana"], "my-ana is no file, and there is no voice 'my-ana'"),
        (["remove", "my-ana"], "there is no voice 'my-ana'"),
        (["rename", "my-anna", "MY-BEN"], "there is a voice 'my-ben' already"),
        (["rename", "my-anna", "a b"], "cannot be the name of a voice"),
        (["blend", "my-anna(0;5)+my-ben", "--name", "x"], "no blend like 'anna(0.7)+ben(0.3)'"),
        (["blend", "my-anna+my-karl", "--name", "x"], "there is no voice 'my-karl'"),
        (["make", "ref.wav"], "either --name NAME"),
        (["make", "ref.wav", "--name", "x", "-o", "x.voice"], "either --name NAME"),
        (["make", "ref.wav", "--name", "my-anna"], "there is a voice 'My-Anna' already"),
        (["make", "ref.wav", "--name", "../x"], "cannot be the name of a voice"),
        (["make", "ref.wav", "-o", "x.wav"], "must be named .voice"),
        (["make", "ref.wav", "-o", "none/x.voice"], "is not a folder"),
        (["make", "ref.wav", "-o", "x.voice", "--keep-audio"], "--keep-audio needs --name"),
        (["make", "ref.wav", "my-ben", "--name", "x", "--keep-audio"], "my-ben is none"),
        (["make", "ref.wav", "-o", "x.voice", "--description", "x" * 501], "at most 500 characters"),
        (["play", "ref.wav", "-o", "ref.wav"], "ref.wav is a reference itself"),
    ],
)
def test_bad_input_is_one_line(
    inside: Inside, two: VoiceLibrary, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, arguments: list[str], text: str
) -> None:
    soundfile.write(tmp_path / "ref.wav", vowels(1.0), 22050)
    np.savez(tmp_path / "old", about=np.array("{}"))
    (tmp_path / "old.npz").rename(tmp_path / "old.voice")
    before = sorted(tmp_path.rglob("*"))
    monkeypatch.chdir(tmp_path)
    done = inside("voice", *arguments)
    assert done.returncode == 2, done.stdout + done.stderr
    assert text in done.stderr
    assert len(done.stderr.strip().splitlines()) == 1
    assert sorted(tmp_path.rglob("*")) == before


def test_make_replaces_on_request_and_warns(two: VoiceLibrary, tmp_path: Path) -> None:
    soundfile.write(tmp_path / "short.wav", vowels(0.9), 22050)
    done = run("voice", "make", "short.wav", "--name", "my-anna", "--replace", cwd=tmp_path)
    assert done.returncode == 0
    assert "warning: short.wav holds" in done.stderr
    assert two.load("my-anna").sources == ["short.wav"]


def test_a_damaged_voice_is_listed(two: VoiceLibrary) -> None:
    (two.folder / "my-carl.voice").write_text("damaged")
    assert any(line.startswith("my-carl") and "damaged" in line for line in text_of("list").splitlines())
    entries = {entry["name"]: entry for entry in json.loads(text_of("list", "--json"))}
    assert "is damaged" in entries["my-carl"]["problem"]
    assert entries["My-Anna"]["description"] == "high, clear"


def test_no_line_of_the_list_is_cut(two: VoiceLibrary, voice: Voice, monkeypatch: pytest.MonkeyPatch) -> None:
    name, about = "a" * 60, "the voice of " + "a long description " * 9
    two.add(name, voice, description=about)
    monkeypatch.setenv("COLUMNS", "80")
    lines = [line for line in text_of("list").splitlines() if line.startswith(name)]
    assert lines == [f"{name}  own     {voice.pitch:.0f} Hz  {voice.seconds:.0f} s     {about.strip()}"]


def test_a_voice_that_stays_as_it_is_is_not_made_again(
    library: VoiceLibrary, folder: Path, reference_file: Path, tmp_path: Path
) -> None:
    text_of("make", reference_file, "--name", "my-anna", "--keep-audio")
    copy = tmp_path / "copy.voice"
    copy.write_bytes(library.entry("my-anna").path.read_bytes())
    assert "no; make the voice again" in text_of("show", copy, "--bundle", folder)
    presets = [name for name in library.names() if library.entry(name).preset]
    assert presets
    assert "no; presets fit the built-in bundle alone" in text_of("show", presets[0], "--bundle", folder)


def test_another_bundle_makes_a_voice_again(
    library: VoiceLibrary, folder: Path, reference_file: Path, speech_file: Path, tmp_path: Path
) -> None:
    for name, options in (("my-anna", ["--keep-audio"]), ("my-ben", [])):
        text_of("make", reference_file, "--name", name, *options)
    before = library.entry("my-anna").encoder
    assert "no; it is made again when it is used" in text_of("show", "my-anna", "--bundle", folder)
    convert = ["convert", speech_file, "-o", tmp_path / "o.wav", "--bundle", folder]
    done = run(*convert, "--to", "my-anna")
    assert done.returncode == 0, done.stderr
    lines = [line for line in done.stderr.splitlines() if "made again" in line]
    assert lines == ["fastvoicegrad: warning: the voice 'my-anna' is made again, as this bundle has other encoders"]
    assert library.entry("my-anna").encoder == before  # what was made lies beside it
    assert "made again" not in run(*convert, "--to", "my-anna").stderr
    refused = run(*convert, "--to", "my-ben")
    assert refused.returncode == 2
    assert "'fastvoicegrad voice make RECORDINGS --name my-ben --replace'" in refused.stderr
    assert "no; make the voice again" in text_of("show", "my-ben", "--bundle", folder)

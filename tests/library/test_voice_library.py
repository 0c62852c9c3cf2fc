from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
import warnings
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import soundfile

from fastvoicegrad import AudioWarning, InputError, Voice, VoiceConverter
from fastvoicegrad.library import NameTakenError, UnknownVoiceError, VoiceLibrary, entry_of_file, user_folder
from fastvoicegrad.library.folder import VoiceFolder
from fastvoicegrad.library.recordings import keep
from fastvoicegrad.voice_file import Adapter
from tests.conftest import vowels
from tests.library.voices import ANNA, BEN, Encoder
from tests.test_voice import unit

# -- names ----------------------------------------------------------------------------------------------------


def test_what_is_added_is_found_without_case(library: VoiceLibrary) -> None:
    assert library.names() == ["nora", "Ben"]
    assert not library.folder.exists()  # reading makes nothing
    library.add("Zoë", ANNA, description="  low,\twarm ")
    library.add("anna", BEN)
    assert library.names() == ["nora", "Ben", "anna", "Zoë"]
    for name in ("Zoë", "zoë", "ZOË", "zoe\u0308"):
        assert library.load(name).sources == ["a.wav"]
    entry = library.entry("zoë")
    assert (entry.name, entry.preset, entry.description, entry.sources) == ("Zoë", False, "low, warm", ["a.wav"])
    assert (entry.seconds, entry.pitch, entry.encoder, entry.recordings, entry.preview) == (3.0, 300, "e", 0, None)
    assert entry_of_file(entry.path).description == "low, warm"


def test_presets_come_first_in_their_order(library: VoiceLibrary, presets: Path) -> None:
    entry = library.entry("NORA")
    assert (entry.name, entry.preset, entry.description) == ("nora", True, "a preset: nora")
    assert entry.preview == presets / "nora.opus"
    assert library.entry("ben").preview is None
    assert library.load("ben").mel.shape == (80, 10)


def test_presets_cannot_be_changed(library: VoiceLibrary) -> None:
    library.add("anna", ANNA)
    for change in (
        lambda: library.add("BEN", ANNA),
        lambda: library.add("ben", ANNA, replace=True),
        lambda: library.check_free("ben"),
        lambda: library.rename("anna", "Nora"),
        lambda: library.rename("nora", "nora2"),
        lambda: library.remove("nora"),
    ):
        with pytest.raises(NameTakenError, match="preset"):
            change()
    assert library.names() == ["nora", "Ben", "anna"]


def test_a_voice_that_is_older_than_a_preset_of_its_name_is_kept(library: VoiceLibrary) -> None:
    VoiceLibrary(library.folder, library.folder / "none").add("Nora", ANNA)
    assert library.names() == ["Ben", "Nora"]
    assert not library.entry("nora").preset
    library.remove("nora")
    assert library.entry("nora").preset


def test_a_name_is_taken_once(library: VoiceLibrary) -> None:
    library.add("Anna", ANNA)
    with pytest.raises(NameTakenError, match="'Anna' already"):
        library.add("anna", BEN)
    assert library.load("anna").sources == ["a.wav"]
    library.add("anna", BEN, replace=True)
    assert library.load("anna").sources == ["b.wav"]
    assert library.names() == ["nora", "Ben", "Anna"]


def test_rename_and_remove(library: VoiceLibrary) -> None:
    library.add("anna", ANNA)
    library.add("carl", BEN)
    library.rename("ANNA", "Anna")  # case alone
    library.rename("anna", "zoe\u0308")
    assert library.names() == ["nora", "Ben", "carl", "zoë"]
    with pytest.raises(
        NameTakenError, match="there is a voice 'carl' already; choose another name, or remove it first"
    ):
        library.rename("zoë", "CARL")
    with pytest.raises(InputError, match="cannot be the name"):
        library.rename("zoë", "../x")
    library.remove("Zoë")
    assert library.names() == ["nora", "Ben", "carl"]
    for change in (lambda: library.remove("zoë"), lambda: library.rename("zoë", "x"), lambda: library.load("zoë")):
        with pytest.raises(UnknownVoiceError, match="there is no voice 'zoë'"):
            change()


def test_an_unknown_name_is_refused_with_similar_ones(library: VoiceLibrary) -> None:
    library.add("Anna", ANNA)
    with pytest.raises(UnknownVoiceError, match=r"^there is no voice 'ana'; similar names: Anna$"):
        library.load("ana")
    with pytest.raises(UnknownVoiceError, match=r"^there is no voice 'xyzzy'; 'fastvoicegrad voice list' lists"):
        library.load("xyzzy")


@pytest.mark.parametrize("name", ["", "../x", "a/b", "a.b", "con", "x" * 61, "a\x00", "\udcff", "-o"])
def test_names_lead_nowhere_else(library: VoiceLibrary, tmp_path: Path, name: str) -> None:
    with pytest.raises(InputError, match=r"^[^\n]+$"):
        library.add(name, ANNA)
    for call in (library.load, library.entry, library.remove, lambda n: library.voice(Encoder("e"), n)):
        with pytest.raises(UnknownVoiceError, match=r"^[^\n]+$"):
            call(name)
    assert [path.name for path in tmp_path.iterdir()] == ["presets"]


@pytest.mark.parametrize("text", ["x" * 501, "a\x1b[31m", "\u202e"])
def test_a_description_is_one_line(library: VoiceLibrary, text: str) -> None:
    with pytest.raises(InputError, match="one line of at most 500"):
        library.add("anna", ANNA, description=text)


@pytest.mark.parametrize("text", ["\u0645\u06cc\u200c\u062e\u0648", "\U0001f468\u200d\U0001f469"])
def test_a_description_may_join_its_characters(library: VoiceLibrary, text: str) -> None:
    """As Persian does within words, and emoji of families do."""
    library.add("anna", ANNA, description=text)
    assert library.entry("anna").description == text


def test_other_files_in_the_folder_are_no_voices(library: VoiceLibrary) -> None:
    library.add("anna", ANNA)
    for name in ("a b.voice", "x.txt", ".y.voice", "damaged.voice"):
        (library.folder / name).write_text("no voice")
    assert library.names() == ["nora", "Ben", "anna", "damaged"]
    for call in (library.entry, library.load):
        with pytest.raises(InputError, match="is damaged"):
            call("damaged")
    library.add("damaged", BEN, replace=True)
    assert library.load("damaged").sources == ["b.wav"]


def test_a_folder_that_cannot_be_made(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    library = VoiceLibrary(tmp_path / "file" / "voices", tmp_path)
    assert library.names() == []
    with pytest.raises(InputError, match="cannot be changed"):
        library.add("anna", ANNA)


def test_the_users_folder(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("FASTVOICEGRAD_VOICES", str(tmp_path))
    assert VoiceLibrary().folder == tmp_path
    monkeypatch.delenv("FASTVOICEGRAD_VOICES")
    assert user_folder().parts[-2:] == ("fastvoicegrad", "voices")


# -- blends, files and names ----------------------------------------------------------------------------------


def test_blends(library: VoiceLibrary) -> None:
    library.add("anna", ANNA)
    library.add("carl", BEN)
    encoder = Encoder("e")
    np.testing.assert_allclose(library.voice(encoder, "anna(0.75)+CARL(0.25)").embedding, unit(3, 1), atol=1e-6)
    np.testing.assert_allclose(library.voice(encoder, "anna + carl").embedding, unit(1, 1), atol=1e-6)
    np.testing.assert_array_equal(library.voice(encoder, "anna").mel, library.load("anna").mel)
    np.testing.assert_allclose(library.voice(encoder, "anna(1)+nora(0)").embedding, unit(1, 0), atol=1e-6)
    for text, message in (
        ("anna(0.5)+karl", "no voice 'karl'; similar names: carl"),
        ("anna(0;5)+carl", "no name of a voice, and no blend like"),
        ("anna(0)+carl(0)", r"weights in .anna\(0\)\+carl\(0\). are all 0"),
    ):
        with pytest.raises(InputError, match=message):
            library.voice(encoder, text)


def test_changes_come_one_after_another(library: VoiceLibrary) -> None:
    library.add("anna", ANNA)

    def longer(voice: Voice) -> Voice:
        time.sleep(0.01)
        return replace(voice, seconds=voice.seconds + 1)

    threads = [threading.Thread(target=library.change, args=("ANNA", longer)) for _ in range(5)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert library.load("anna").seconds == ANNA.seconds + 5
    with pytest.raises(NameTakenError, match="preset"):
        library.change("nora", longer)


def test_a_preview_belongs_to_the_voice_as_it_is(library: VoiceLibrary) -> None:
    library.add("anna", ANNA)
    before = library.preview_path("anna", "maker")
    before.touch()
    library.change("anna", lambda voice: replace(voice, description="changed"))
    assert library.preview_path("anna", "maker") != before
    assert not before.exists()


def test_at_most_a_thousand_recordings_are_kept(library: VoiceLibrary) -> None:
    with pytest.raises(InputError, match="at most 1000 recordings are kept, got 1001"):
        library.add("anna", ANNA, recordings=[Path("a.wav")] * 1001)
    assert not library.folder.exists()


def test_all_voices_are_removed_or_none(library: VoiceLibrary) -> None:
    library.add("anna", ANNA)
    library.add("bert", ANNA)
    with pytest.raises(UnknownVoiceError, match="'cleo'"):
        library.remove("anna", "cleo")
    assert {"anna", "bert"} <= set(library.names())
    library.remove("anna", "bert", "anna")
    assert not {"anna", "bert"} & set(library.names())


def test_a_voice_never_takes_the_place_of_another_spelling(library: VoiceLibrary) -> None:
    """Two spellings of a name in one folder, as after a copy from another file system."""
    library.add("Anna", ANNA)
    other = library.folder / "anna.voice"
    if other.exists():
        pytest.skip("this file system knows no case")
    ANNA.save(other)
    with pytest.raises(NameTakenError, match="there is a voice 'anna' already"):
        library.rename("Anna", "anna")
    assert other.exists()


def test_the_folder_may_lie_in_the_home_folder(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FASTVOICEGRAD_VOICES", "~nosuchuser/voices")
    with pytest.raises(InputError, match=r"^FASTVOICEGRAD_VOICES=~nosuchuser/voices: there is no such home"):
        user_folder()
    monkeypatch.setenv("FASTVOICEGRAD_VOICES", "~/voices")
    assert user_folder() == Path.home() / "voices"


# -- other encoders -------------------------------------------------------------------------------------------


def test_a_voice_is_made_again_from_kept_recordings(
    library: VoiceLibrary, speech_file: Path, reference_file: Path
) -> None:
    library.add("anna", ANNA, description="low", recordings=[speech_file, reference_file])
    assert library.entry("anna").recordings == 2
    encoder = Encoder("f")
    with pytest.warns(AudioWarning, match="^the voice 'anna' is made again, as this bundle has other encoders$"):
        voice = library.voice(encoder, "ANNA")
    assert [path.suffix for path in encoder.recordings] == [".flac", ".flac"]
    assert (voice.encoder, voice.description, voice.sources) == ("f", "low", ["a.wav"])
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert library.voice(encoder, "anna").encoder == "f"  # it was stored
    assert len(encoder.recordings) == 2
    assert library.entry("anna").recordings == 2
    assert library.load("anna").encoder == ANNA.encoder  # which may have had more recordings than are kept
    library.change("anna", lambda old: replace(old, description="lower"))
    with pytest.warns(AudioWarning, match="made again"):
        assert library.voice(encoder, "anna").description == "lower"
    library.remove("anna")
    assert not list(library.folder.rglob("anna*"))


@pytest.mark.filterwarnings("ignore:the voice:fastvoicegrad.AudioWarning")
def test_requests_that_come_together_make_a_voice_again_once(library: VoiceLibrary, speech_file: Path) -> None:
    library.add("anna", ANNA, recordings=[speech_file])
    encoder, together = Encoder("f"), threading.Barrier(4)

    def request() -> str:
        together.wait(10)
        return library.voice(encoder, "anna").encoder

    with ThreadPoolExecutor(4) as threads:
        found = [threads.submit(request) for _ in range(4)]
    assert [future.result() for future in found] == ["f"] * 4
    assert len(encoder.recordings) == 1


def test_a_kept_recording_gives_the_same_voice(
    library: VoiceLibrary, converter: VoiceConverter, voice: Voice, reference_file: Path
) -> None:
    library.add("anna", replace(voice, encoder="older"), recordings=[reference_file])
    with pytest.warns(AudioWarning, match="made again"):
        again = library.voice(converter, "anna")
    converter.bundle.check_voice(again)
    assert again.embedding @ voice.embedding > 0.999
    assert again.pitch == pytest.approx(voice.pitch, rel=1e-3)
    assert again.sources == ["reference.flac"]


def test_an_adapted_voice_is_never_made_again(library: VoiceLibrary, speech_file: Path) -> None:
    adapted = replace(ANNA, adapter=Adapter(np.ones(3, np.float32), "0123456789abcdef"))
    library.add("anna", adapted, recordings=[speech_file])
    with pytest.raises(InputError, match="adapted for another bundle; adapt it again"):
        library.voice(Encoder("f"), "anna")
    assert library.load("anna").adapter is not None


def test_a_voice_without_recordings_is_refused(library: VoiceLibrary, speech_file: Path) -> None:
    library.add("anna", ANNA)
    library.add("carl", BEN, recordings=[speech_file])
    next((library.folder / "recordings").iterdir()).unlink()
    for name in ("anna", "carl"):
        line = f"^the voice '{name}' was made with another bundle; make it again with .*--name {name} --replace'$"
        with pytest.raises(InputError, match=line):
            library.voice(Encoder("f"), name)
    with pytest.raises(InputError, match="the preset voice 'nora' fits only the built-in bundle"):
        library.voice(Encoder("f"), "nora")


def test_recordings_are_kept_as_long_as_a_voice_needs_them(
    library: VoiceLibrary, speech_file: Path, reference_file: Path
) -> None:
    folder = library.folder / "recordings"

    def kept() -> int:
        return sum(path.is_file() for path in folder.glob("*.flac"))

    library.add("anna", ANNA, recordings=[speech_file])
    library.add("carl", BEN, recordings=[speech_file, reference_file])
    assert kept() == 2  # the same recording is kept once
    info = soundfile.info(next(folder.iterdir()))
    assert (info.format, info.channels) == ("FLAC", 1)
    (folder / f"{'0' * 32}.flac").touch()  # left by a process that was killed
    (folder / f"{'1' * 32}.flac").mkdir()  # cannot be deleted
    library.rename("carl", "karl")
    assert kept() == 2
    library.remove("karl")
    assert kept() == 1
    library.add("anna", ANNA, replace=True)
    assert kept() == 0


def test_a_damaged_voice_keeps_all_recordings(library: VoiceLibrary, speech_file: Path) -> None:
    library.add("anna", ANNA, recordings=[speech_file])
    (library.folder / "anna.voice").write_text("damaged")
    with pytest.warns(AudioWarning, match=r"anna\.voice.*recordings of removed voices stay"):
        library.add("carl", BEN)
    assert len(list((library.folder / "recordings").iterdir())) == 1


def test_a_voice_that_no_command_names_keeps_its_recordings(library: VoiceLibrary, speech_file: Path) -> None:
    library.add("anna", ANNA, recordings=[speech_file])
    (library.folder / "anna.voice").rename(library.folder / "anna (old).voice")
    (library.folder / "._anna.voice").touch()  # as some systems add, or a process that was killed leaves
    library.add("carl", BEN)
    assert len(list((library.folder / "recordings").iterdir())) == 1
    (library.folder / "anna (old).voice").unlink()
    library.remove("carl")
    assert not list((library.folder / "recordings").iterdir())


def test_a_library_that_cannot_be_listed_keeps_all_recordings(
    library: VoiceLibrary, speech_file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def failing(folder: VoiceFolder) -> list[Path]:
        raise OSError(5, "input/output error")

    library.add("anna", ANNA, recordings=[speech_file])
    monkeypatch.setattr(VoiceFolder, "_files", failing)
    with pytest.warns(AudioWarning, match="stay in the library"):
        library.add("carl", BEN)
    assert len(list((library.folder / "recordings").iterdir())) == 1


def test_of_a_long_recording_a_minute_is_kept(library: VoiceLibrary, tmp_path: Path) -> None:
    pause = 0.0003 * np.random.default_rng(0).standard_normal(20 * 8000).astype(np.float32)
    speech = np.tile(vowels(10.0, rate=8000), 5)
    soundfile.write(tmp_path / "long.wav", np.concatenate([pause, speech, pause, speech]), 8000)
    soundfile.write(tmp_path / "minute.wav", np.concatenate([pause[: 5 * 8000], speech]), 8000)
    with pytest.warns(AudioWarning, match=r"long\.wav is longer than 60 s; its first 60 s of sound are kept") as found:
        library.add("anna", ANNA, recordings=[tmp_path / "long.wav", tmp_path / "minute.wav"])
    assert len(found) == 1
    long, minute = (library.folder / "recordings" / name for name in library.load("anna").recordings)
    assert soundfile.info(long).duration == 60
    assert soundfile.info(minute).duration == 55
    wave = soundfile.read(long)[0]
    np.testing.assert_allclose(wave[: 49 * 8000], speech[: 49 * 8000], atol=0.02)  # what follows it is 1 s of a pause
    assert np.abs(wave[50 * 8000 : 51 * 8000]).max() < 0.01
    np.testing.assert_allclose(wave[51 * 8000 + 800 :], speech[800 : 9 * 8000], atol=0.02)


def test_what_cannot_be_kept_changes_nothing(library: VoiceLibrary, tmp_path: Path) -> None:
    library.add("anna", ANNA)
    (tmp_path / "text.wav").write_text("no sound")
    with pytest.raises(InputError, match="is not audio"):
        library.add("anna", BEN, replace=True, recordings=[tmp_path / "text.wav"])
    assert library.load("anna").sources == ["a.wav"]
    assert not list((library.folder / "recordings").iterdir())


# -- several at once, and killed ------------------------------------------------------------------------------


def test_of_several_that_add_one_name_one_succeeds(library: VoiceLibrary) -> None:
    outcomes: list[str] = []

    def add(number: int) -> None:
        try:
            VoiceLibrary(library.folder, library.folder).add("anna", replace(ANNA, sources=[str(number)]))
            outcomes.append("added")
        except NameTakenError:
            outcomes.append("taken")

    threads = [threading.Thread(target=add, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(outcomes) == ["added"] + ["taken"] * 7


CHANGES = """
import itertools, sys
from pathlib import Path
from fastvoicegrad.library import VoiceLibrary
from tests.library.test_voice_library import ANNA, BEN
library, speech = VoiceLibrary(Path(sys.argv[1]), Path(sys.argv[1])), Path(sys.argv[2])
print("ready", flush=True)
for number in itertools.count():
    library.add("anna", ANNA if number % 2 else BEN, replace=True, recordings=[speech] * (number % 3 > 0))
    library.add("carl", BEN, recordings=[speech])
    library.rename("carl", "karl")
    library.remove("karl")
"""


@pytest.mark.skipif(sys.platform == "win32", reason="needs SIGKILL")
def test_changes_survive_a_kill_at_any_moment(tmp_path: Path) -> None:
    folder, speech = tmp_path / "voices", tmp_path / "speech.wav"
    soundfile.write(speech, vowels(0.5), 22050)
    library, random = VoiceLibrary(folder, tmp_path), np.random.default_rng(0)
    library.add("kept", BEN, recordings=[speech])
    for _ in range(5):
        command = [sys.executable, "-c", CHANGES, str(folder), str(speech)]
        with subprocess.Popen(command, stdout=subprocess.PIPE, cwd=Path(__file__).parents[2]) as process:
            assert process.stdout
            assert process.stdout.readline() == b"ready\n"
            time.sleep(random.uniform(0.0, 0.3))
            os.kill(process.pid, signal.SIGKILL)
        for name in library.names():
            assert library.load(name).sources in (["a.wav"], ["b.wav"])
            recordings = library.load(name).recordings
            assert all((folder / "recordings" / recording).is_file() for recording in recordings)
        for name in {"carl", "karl"} & set(library.names()):
            library.remove(name)
    library.add("anna", ANNA, replace=True)
    assert library.names() == ["anna", "kept"]
    assert sorted(path.name for path in folder.iterdir()) == [".lock", "anna.voice", "kept.voice", "recordings"]
    assert len(list((folder / "recordings").glob("*.flac"))) == 1


def test_a_reference_of_any_rate_can_be_kept(tmp_path: Path) -> None:
    soundfile.write(tmp_path / "odd.wav", vowels(1.0), 70001)
    assert (tmp_path / keep(tmp_path / "odd.wav", tmp_path)).exists()

"""What the page does, without its looks."""

from __future__ import annotations

import random
import struct
import threading
import zipfile
import zlib
from pathlib import Path

import numpy as np
import pytest
import soundfile

from fastvoicegrad import InputError, Voice, VoiceConverter, VoiceLibrary
from fastvoicegrad.ui.arena import EQUAL, FIRST, SECOND, Arena, Pair, Side, Votes
from fastvoicegrad.ui.pictures import beginning, mel_picture, palette, png
from fastvoicegrad.ui.studio import Choice, Studio, sentence
from tests.conftest import RATE, vowels

ANNA = Choice("anna")


@pytest.fixture
def studio(converter: VoiceConverter, library: VoiceLibrary, tmp_path: Path) -> Studio:
    folder = tmp_path / "results"
    folder.mkdir()
    return Studio({"built-in": converter}, library, folder)


# -- conversion -----------------------------------------------------------------------------------------------


def test_a_conversion_has_the_length_of_its_source(studio: Studio, speech_file: Path) -> None:
    shares = list[float]()
    result = studio.convert(str(speech_file), ANNA, progress=shares.append)
    source, (wave, rate) = soundfile.read(speech_file)[0], soundfile.read(result.path)
    assert (len(wave), rate) == (len(source), RATE)
    assert np.abs(wave - source).max() > 0.05
    assert shares[-1] == 1.0
    assert result.path.name == "source-converted.wav"
    assert soundfile.SoundFile(result.path).comment.startswith("Converted")


def test_the_pitch_and_the_formants_can_be_moved(studio: Studio, speech_file: Path) -> None:
    waves = [
        soundfile.read(studio.convert(str(speech_file), ANNA, semitones, keep, formant).path)[0]
        for semitones, keep, formant in ((0, False, 0), (5, False, 0), (0, True, 0), (0, False, 3))
    ]
    assert all(np.abs(waves[0] - wave).max() > 0.01 for wave in waves[1:])


def test_pauses_can_be_silent(studio: Studio, tmp_path: Path) -> None:
    room = 0.003 * np.random.default_rng(0).standard_normal(2 * RATE)
    soundfile.write(tmp_path / "talk.wav", np.concatenate([vowels(2.0), room]), RATE)
    source = str(tmp_path / "talk.wav")
    paths = [studio.convert(source, ANNA, pauses=pauses).path for pauses in ("converted", "silence", "source")]
    waves = [soundfile.read(path)[0][-RATE:] for path in paths]
    assert not waves[1].any()
    assert waves[0].any()
    assert np.abs(waves[2] - room[-RATE:]).max() < 1e-3
    archive = studio.convert_files([source], ANNA, pauses="silence").archive
    assert archive is not None
    with zipfile.ZipFile(archive) as file, file.open("talk.wav") as result:
        assert not soundfile.read(result)[0][-RATE:].any()


def test_findings_are_notes_without_folders(studio: Studio, speech_file: Path, tmp_path: Path) -> None:
    short = tmp_path / "upload" / "short one.wav"
    short.parent.mkdir()
    soundfile.write(short, vowels(0.8), RATE)
    notes = studio.convert(str(speech_file), Choice(recording=str(short))).notes
    assert any(note.startswith("short one.wav holds") and note.endswith(".") for note in notes)
    assert not any(str(tmp_path) in note for note in notes)


@pytest.mark.parametrize(
    ("source", "target", "message"),
    [
        (None, ANNA, "The source is missing; drop a recording, or record one."),
        ("source", Choice(), "The target is missing; choose a voice, or drop a recording of one."),
        ("source", Choice("bob"), "There is no voice 'bob'."),
        ("text", ANNA, "text.wav is not audio that can be read"),
        ("source", Choice(recording="text"), "text.wav is not audio that can be read"),
        ("silence", ANNA, "silence.wav is silent"),
    ],
)
def test_errors_are_sentences_that_name_files_as_users_do(
    studio: Studio, speech_file: Path, tmp_path: Path, source: str | None, target: Choice, message: str
) -> None:
    (tmp_path / "text.wav").write_text("no sound at all, only words " * 9)
    soundfile.write(tmp_path / "silence.wav", np.zeros(RATE), RATE)
    files = {"source": str(speech_file), "text": str(tmp_path / "text.wav"), "silence": str(tmp_path / "silence.wav")}
    target = Choice(target.name, files.get(target.recording or ""))
    with pytest.raises(InputError) as caught:
        studio.convert(files.get(source or ""), target)
    assert message in str(caught.value)
    assert str(tmp_path) not in str(caught.value)
    assert str(caught.value).endswith(".")


def test_a_message_has_no_advice_for_the_command_line() -> None:
    assert (
        sentence("there is no voice 'x'; 'fastvoicegrad voice list' lists the voices", []) == "There is no voice 'x'."
    )
    assert sentence("choose another name, or --replace it", []) == "Choose another name."
    assert sentence("/a/b/talk.wav is empty", ["/a/b/talk.wav"]) == "talk.wav is empty."


def test_several_files_become_an_archive(studio: Studio, speech_file: Path, tmp_path: Path) -> None:
    uploads = list[str]()
    for number, name in enumerate(["a.wav", "a.wav", "broken.mp3"]):
        path = tmp_path / str(number) / name
        path.parent.mkdir()
        path.write_bytes(b"no sound" * 99 if "broken" in name else speech_file.read_bytes())
        uploads.append(str(path))
    shares = list[float]()
    results = studio.convert_files([*uploads, uploads[0]], ANNA, progress=shares.append)  # one is dropped twice
    assert shares == sorted(shares)
    assert shares[-1] == 1.0
    assert (results.converted, len(results.errors)) == (2, 1)
    assert results.errors[0].startswith("broken.mp3")
    assert str(tmp_path) not in results.errors[0]
    assert results.archive is not None
    with zipfile.ZipFile(results.archive) as archive:
        assert archive.namelist() == ["a-2.wav", "a.wav"]
        with archive.open("a.wav") as file:
            assert soundfile.info(file).frames == soundfile.info(speech_file).frames
    assert [path.name for path in results.archive.parent.iterdir()] == [results.archive.name]


def test_files_without_a_result_make_no_archive(studio: Studio, tmp_path: Path) -> None:
    (tmp_path / "empty.wav").write_bytes(b"")
    results = studio.convert_files([str(tmp_path / "empty.wav")], ANNA)
    assert results.archive is None
    assert results.errors == ("empty.wav is empty (0 bytes); record or copy it again.",)
    with pytest.raises(InputError, match="sources are missing"):
        studio.convert_files(None, ANNA)


def test_work_in_threads_keeps_its_own_notes(studio: Studio, speech_file: Path, tmp_path: Path) -> None:
    soundfile.write(tmp_path / "short.wav", vowels(0.8), RATE)
    found = dict[str, tuple[str, ...]]()

    def work(name: str, target: Choice) -> None:
        found[name] = studio.convert(str(speech_file), target).notes

    targets = {"short": Choice(recording=str(tmp_path / "short.wav")), "long": ANNA}
    threads = [threading.Thread(target=work, args=item) for item in targets.items()]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert any("short.wav" in note for note in found["short"])
    assert not found["long"]


# -- voices ---------------------------------------------------------------------------------------------------


def test_voices_are_listed_with_descriptions(studio: Studio, library: VoiceLibrary, voice: Voice) -> None:
    library.add("ben", voice)
    (library.folder / "damaged.voice").write_bytes(b"?")
    assert studio.choices() == [("anna: calm", "anna"), ("ben", "ben")]


def test_a_sample_is_made_once_for_each_state_of_a_voice(studio: Studio, library: VoiceLibrary, voice: Voice) -> None:
    first = studio.sample("anna").path
    assert studio.sample("anna").path == first
    library.add("anna", voice, replace=True)
    assert studio.sample("anna").path != first
    with pytest.raises(InputError, match="no voice"):
        studio.sample("bob")


def test_a_blend_lies_between_and_is_kept(studio: Studio, library: VoiceLibrary, speech_file: Path) -> None:
    other = Choice(recording=str(speech_file))
    waves = [soundfile.read(studio.blend(ANNA, other, share).path)[0] for share in (0.0, 0.5)]
    assert np.abs(waves[0] - waves[1]).max() > 0.01
    studio.save_blend(" middle ", ANNA, other, 0.25)
    assert library.entry("middle").description == "blend of anna(0.75)+source(0.25)"
    assert "middle" in dict(map(reversed, studio.choices()))
    with pytest.raises(InputError, match="There is a voice 'middle' already; choose another name."):
        studio.save_blend("middle", ANNA, other, 0.25)
    with pytest.raises(InputError, match="cannot be the name of a voice"):
        studio.save_blend("", ANNA, other, 0.25)


# -- arena ----------------------------------------------------------------------------------------------------


def test_a_round_is_blind(studio: Studio, library: VoiceLibrary, speech_file: Path) -> None:
    library.add("ben", studio.converter.voice(speech_file))
    arena = Arena(studio, Votes(library.folder / "arena.json"), random.Random(0))
    sides = Side(ANNA, "built-in"), Side(Choice("ben"), "built-in")
    expected = soundfile.read(studio.convert(str(speech_file), ANNA).path)[0]
    orders = set()
    for _ in range(3):
        made = arena.play(str(speech_file), sides)
        orders.add(made.labels)
        assert [path.name for path in made.paths] == ["1.wav", "2.wav"]
        played = soundfile.read(made.paths[made.labels.index("anna")])[0]
        assert np.array_equal(played, expected)
    assert orders == {("anna", "ben"), ("ben", "anna")}


def test_votes_are_counted_for_voices_and_not_for_places(tmp_path: Path) -> None:
    votes = Votes(tmp_path / "data" / "arena.json")
    assert votes.pairs() == []
    votes.add("ben", "anna", "anna")
    votes.add("anna", "ben", "anna")
    votes.add("anna", "ben", "ben")
    votes.add("anna", "carl", None)
    assert Votes(votes.path).pairs() == [Pair("anna", "ben", 2, 1, 0), Pair("anna", "carl", 0, 0, 1)]


def test_damaged_votes_are_not_overwritten(tmp_path: Path) -> None:
    votes = Votes(tmp_path / "arena.json")
    votes.path.write_text("[{]")
    with pytest.raises(InputError, match="cannot be read; move it away"):
        votes.add("anna", "ben", None)
    assert votes.path.read_text() == "[{]"


def test_a_vote_is_for_what_was_played(studio: Studio, speech_file: Path, reference_file: Path) -> None:
    arena = Arena(studio, Votes(studio.folder / "arena.json"))
    sides = [Side(Choice(recording=str(path)), "built-in") for path in (speech_file, reference_file)]
    made = arena.play(str(speech_file), (sides[0], sides[1]))
    assert arena.vote(made, FIRST) == arena.votes.pairs()[0]
    with pytest.raises(InputError, match="has a vote already"):
        arena.vote(made, SECOND)
    assert arena.votes.pairs()[0].one_better + arena.votes.pairs()[0].other_better == 1
    arena.votes.path.write_text("[{]")
    again = arena.play(str(speech_file), (sides[0], sides[1]))
    with pytest.raises(InputError, match="cannot be read"):
        arena.vote(again, EQUAL)
    arena.votes.path.unlink()
    assert arena.vote(again, EQUAL) == Pair("reference", "source", 0, 0, 1)
    with pytest.raises(InputError, match="Both sides are the same"):
        arena.play(str(speech_file), (sides[0], sides[0]))


def test_two_bundles_are_compared(
    converter: VoiceConverter, tiny: VoiceConverter, tmp_path: Path, speech_file: Path
) -> None:
    studio = Studio({"large": converter, "tiny": tiny}, VoiceLibrary(tmp_path / "v", tmp_path / "p"), tmp_path)
    sides = [Side(Choice(recording=str(speech_file)), name) for name in ("large", "tiny")]
    made = Arena(studio, Votes(tmp_path / "arena.json")).play(str(speech_file), (sides[0], sides[1]))
    assert set(made.labels) == {"source (large)", "source (tiny)"}
    waves = [soundfile.read(path)[0] for path in made.paths]
    assert waves[0].shape == waves[1].shape
    assert np.abs(waves[0] - waves[1]).max() > 0.01


# -- pictures -------------------------------------------------------------------------------------------------


def chunks(data: bytes) -> dict[bytes, bytes]:
    """The chunks of a PNG, with their checksums verified."""
    assert data[:8] == b"\x89PNG\r\n\x1a\n"
    found, place = dict[bytes, bytes](), 8
    while place < len(data):
        (size,) = struct.unpack(">I", data[place : place + 4])
        kind, content = data[place + 4 : place + 8], data[place + 8 : place + 8 + size]
        assert struct.unpack(">I", data[place + 8 + size : place + 12 + size])[0] == zlib.crc32(kind + content)
        found[kind] = content
        place += 12 + size
    return found


def test_a_picture_holds_its_pixels() -> None:
    pixels = np.arange(12, dtype=np.uint8).reshape(3, 4)
    found = chunks(png(pixels, palette()))
    assert struct.unpack(">II", found[b"IHDR"][:8]) == (4, 3)
    assert len(found[b"PLTE"]) == 3 * 256
    rows = np.frombuffer(zlib.decompress(found[b"IDAT"]), np.uint8).reshape(3, 5)
    assert np.array_equal(rows[:, 1:], pixels)


def test_a_picture_has_a_column_a_frame(speech_file: Path, tmp_path: Path) -> None:
    width, height = struct.unpack(">II", chunks(mel_picture(speech_file))[b"IHDR"][:8])
    assert (height, width) == (80, pytest.approx(2 * RATE / 256, abs=2))
    long = tmp_path / "long.wav"
    soundfile.write(long, np.tile(vowels(2.0), 20), RATE)
    assert len(beginning(long)) == 30 * RATE

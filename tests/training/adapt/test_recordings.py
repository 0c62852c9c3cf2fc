"""Recordings are read, checked and cut."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import soundfile

from fastvoicegrad import InputError, VoiceConverter
from fastvoicegrad.batch.inputs import Found
from fastvoicegrad.training.adapt import recordings
from fastvoicegrad.training.adapt.recordings import CLIP, SHORTEST_CLIP, Clip, read_voice, seconds_of, split
from tests.conftest import RATE, vowels
from tests.sounds import chords


def test_clips_are_whole_and_some_are_held_back(converter: VoiceConverter, speech_folder: Path) -> None:
    warnings = list[str]()
    voice = read_voice(converter.bundle, [speech_folder], "anna", warnings.append)
    for clip in (*voice.train, *voice.held):
        assert SHORTEST_CLIP <= clip.frames <= CLIP
        assert len(clip.wave) == 256 * clip.frames
        assert clip.pitch.shape == (clip.frames,)
        assert clip.content.shape[1] == clip.frames
    assert voice.held
    assert seconds_of(voice.train) == pytest.approx(voice.seconds)
    assert voice.voice.seconds == pytest.approx(voice.seconds)
    assert len(voice.voice.sources) == 6


def test_music_is_named_and_left_out(converter: VoiceConverter, speech_folder: Path, tmp_path: Path) -> None:
    soundfile.write(tmp_path / "organ.wav", chords(6.0, 1.0, 0.0), RATE)
    warnings = list[str]()
    read_voice(converter.bundle, [speech_folder, tmp_path / "organ.wav"], "anna", warnings.append)
    assert any("organ.wav" in line and "no speech was found" in line for line in warnings)
    with pytest.raises(InputError, match=r"organ\.wav: 0\.0 s of usable speech"):
        read_voice(converter.bundle, [tmp_path / "organ.wav"], "anna", warnings.append)


def test_a_folder_that_cannot_be_read_is_named(converter: VoiceConverter, speech_folder: Path, tmp_path: Path) -> None:
    found, warnings = [Found(tmp_path, Path("private"), "the folder cannot be read")], list[str]()
    found += [Found(path, Path(path.name)) for path in sorted(speech_folder.iterdir())]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(recordings, "find_inputs", lambda inputs, folder: found)
        read_voice(converter.bundle, [tmp_path], "anna", warnings.append)
    assert any(line.endswith("the folder cannot be read; it is left out") for line in warnings)


def test_five_seconds_are_too_few(converter: VoiceConverter, tmp_path: Path) -> None:
    soundfile.write(tmp_path / "short.wav", vowels(5.0), RATE)
    with pytest.raises(InputError, match=r"short\.wav: 5\.\d s of usable speech were found; adapting needs 8 s"):
        read_voice(converter.bundle, [tmp_path / "short.wav"], "anna", lambda line: None)


def test_two_speakers_are_refused(
    converter: VoiceConverter, speech_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(recordings, "speakers_apart", lambda turns: len(turns) > 3)
    with pytest.raises(InputError, match="more than one person"):
        read_voice(converter.bundle, [speech_folder], "anna", lambda line: None)


@pytest.mark.parametrize(("count", "held"), [(2, 1), (3, 1), (12, 2), (200, 15)])
def test_a_fifth_is_held_back(count: int, held: int) -> None:
    empty = np.zeros((1, 10), np.float32)
    clips = [Clip(empty[0] + i, empty, empty[0], empty) for i in range(count)]
    train, kept = split(clips)
    assert (len(train), len(kept)) == (count - held, held)
    assert {clip.wave[0] for clip in (*train, *kept)} == set(range(count))


def test_long_recordings_are_used_in_part(
    converter: VoiceConverter, speech_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(recordings, "MOST_SPEECH", 10.0)
    soundfile.write(tmp_path / "a.wav", np.tile(vowels(5.0), 4), RATE)
    soundfile.write(tmp_path / "b.wav", vowels(5.0), RATE)
    warnings = list[str]()
    voice = read_voice(converter.bundle, [tmp_path / "a.wav"], "anna", warnings.append)
    assert seconds_of([*voice.train, *voice.held]) <= 10.0
    assert any("a.wav is long; its first" in line for line in warnings)
    monkeypatch.setattr(recordings, "MOST_SPEECH", 8.5)
    read_voice(converter.bundle, [tmp_path / "a.wav", tmp_path / "b.wav"], "anna", warnings.append)

"""Channels that are converted one by one, and what a result is delivered as."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import soundfile

from fastvoicegrad import AudioWarning, InputError, Voice, VoiceConverter, audio
from fastvoicegrad.audio.programme import ProgrammeMeter
from fastvoicegrad.tracks import Advance, Delivery, first_passes, results
from tests.conftest import vowels

ONE, OTHER = vowels(3.0, pitch=120.0), vowels(3.0, pitch=220.0, seed=5)
SILENCE = np.zeros_like(ONE)


def written(tmp_path: Path, *channels: np.ndarray, subtype: str = "PCM_16") -> Path:
    soundfile.write(tmp_path / "s.wav", np.stack(channels, axis=1), 22050, subtype)
    return tmp_path / "s.wav"


def read(path: Path) -> np.ndarray:
    wave: np.ndarray = soundfile.read(path, dtype="float32", always_2d=True)[0]
    return wave


@pytest.mark.parametrize("subtype", ["PCM_16", "FLOAT"])
def test_each_channel_is_converted_by_itself(
    converter: VoiceConverter, voice: Voice, tmp_path: Path, subtype: str
) -> None:
    source = written(tmp_path, ONE, OTHER, subtype=subtype)
    report = converter.convert_file(source, tmp_path / "each.wav", voice, channel="each")
    both = read(tmp_path / "each.wav")
    assert both.shape == (len(ONE), 2)
    assert report.samples == len(ONE)
    for number, channel in enumerate(("left", "right")):
        converter.convert_file(source, tmp_path / "one.wav", voice, channel=channel)
        np.testing.assert_array_equal(both[:, [number]], read(tmp_path / "one.wav"))


def test_equal_channels_stay_equal(converter: VoiceConverter, voice: Voice, tmp_path: Path) -> None:
    converter.convert_file(written(tmp_path, ONE, ONE), tmp_path / "o.flac", voice, channel="each", rate=44100)
    both = read(tmp_path / "o.flac")
    assert both.shape == (2 * len(ONE), 2)
    np.testing.assert_array_equal(both[:, 0], both[:, 1])


def test_a_silent_channel_stays_silent(converter: VoiceConverter, voice: Voice, tmp_path: Path) -> None:
    source, seen = written(tmp_path, SILENCE, ONE), list[float]()
    converter.convert_file(source, tmp_path / "o.wav", voice, channel="each", progress=seen.append)
    both = read(tmp_path / "o.wav")
    assert not both[:, 0].any()
    assert both[:, 1].any()
    assert seen[-1] == pytest.approx(3.0, abs=0.01)
    with pytest.raises(InputError, match="is silent"):
        converter.convert_file(written(tmp_path, SILENCE, SILENCE), tmp_path / "o.wav", voice, channel="each")


def test_one_channel_gives_one(converter: VoiceConverter, voice: Voice, tmp_path: Path) -> None:
    converter.convert_file(written(tmp_path, ONE), tmp_path / "each.wav", voice, channel="each")
    converter.convert_file(written(tmp_path, ONE), tmp_path / "plain.wav", voice)
    assert (tmp_path / "each.wav").read_bytes() == (tmp_path / "plain.wav").read_bytes()


def test_findings_name_the_channel(converter: VoiceConverter, voice: Voice, tmp_path: Path) -> None:
    noise = np.random.default_rng(0).normal(0, 0.05, len(ONE))
    with pytest.warns(AudioWarning, match=r"^channel 2: no speech was found"):
        report = converter.convert_file(written(tmp_path, ONE, noise), tmp_path / "o.wav", voice, channel="each")
    assert [text for text in report.warnings if text.startswith("channel 1")] == []


def test_equal_findings_are_given_once(converter: VoiceConverter, voice: Voice, tmp_path: Path) -> None:
    noise = np.random.default_rng(0).normal(0, 0.05, len(ONE))
    source = written(tmp_path, noise, ONE, noise)
    with pytest.warns(AudioWarning, match=r"^channels 1, 3: no speech was found"):
        report = converter.convert_file(source, tmp_path / "o.wav", voice, channel="each")
    assert len(report.warnings) == 1


def test_the_loudness_is_that_of_every_channel(converter: VoiceConverter, voice: Voice, tmp_path: Path) -> None:
    source = written(tmp_path, ONE, 0.1 * OTHER)
    converter.convert_file(source, tmp_path / "o.wav", voice, channel="each", loudness=-23.0, subtype="FLOAT")
    for channel in read(tmp_path / "o.wav").T:
        meter = ProgrammeMeter()
        meter.add(channel)
        assert meter.lufs == pytest.approx(-23.0, abs=0.2)


def test_arrays_have_channels_too(converter: VoiceConverter, voice: Voice) -> None:
    stereo = np.stack([ONE, OTHER], axis=1)
    each = converter.convert(stereo, 22050, voice, channel="each")
    assert each.shape == stereo.shape
    for number, name in enumerate(("left", "2")):
        alone = converter.convert(stereo, 22050, voice, channel=name)
        assert alone.shape == ONE.shape
        np.testing.assert_array_equal(each[:, number], alone)
    np.testing.assert_array_equal(each[:, 0], converter.convert(ONE, 22050, voice, channel="each"))
    mean, mix = (converter.convert(stereo, 22050, voice, channel=channel) for channel in (None, "mix"))
    np.testing.assert_array_equal(mean, mix)
    with pytest.raises(InputError, match="the array has 2 channels; there is no channel 3"):
        converter.convert(stereo, 22050, voice, channel="3")


@pytest.mark.parametrize(
    ("name", "channels", "text"),
    [("o.mp3", 3, "MP3 cannot hold 3 channels"), ("o.wav", 9, "has 9 channels, more than 8; choose one by its number")],
)
def test_too_many_channels_are_refused(
    converter: VoiceConverter, voice: Voice, tmp_path: Path, name: str, channels: int, text: str
) -> None:
    source = written(tmp_path, *[ONE] * channels)
    with pytest.raises(InputError, match=text):
        converter.convert_file(source, tmp_path / name, voice, channel="each", rate=44100)
    assert not (tmp_path / name).exists()


def test_a_single_channel_is_needed_elsewhere(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="one channel is needed here"):
        audio.inspect(written(tmp_path, ONE, OTHER), channel="each")


# -- the parts ------------------------------------------------------------------------------------------------


def test_tracks_of_other_block_sizes_come_side_by_side() -> None:
    tracks = [np.arange(200_000, dtype=np.float32), -np.arange(200_000, dtype=np.float32)]
    blocks = audio.side_by_side([np.array_split(tracks[0], 7), np.array_split(tracks[1], 3)])
    np.testing.assert_array_equal(np.concatenate(list(blocks)), np.stack(tracks, axis=1))


def test_silence_comes_in_blocks() -> None:
    blocks = list(audio.fit_length([np.ones(10, np.float32)], 300_000))
    assert sum(map(len, blocks)) == 300_000
    assert max(map(len, blocks)) <= 1 << 16


def test_findings_come_at_the_end() -> None:
    passes = [(lambda: iter([ONE]), lambda: 3.0), (lambda: iter([SILENCE]), lambda: 3.0)]
    sources = first_passes(passes, "x")
    assert sources[0] is not None
    assert sources[1] is None

    def convert(source: object, notes: list[str]) -> object:
        yield ONE
        notes.append("a note")

    found = list[str]()
    blocks = list(results(sources, convert, len(ONE), found))
    np.testing.assert_array_equal(np.concatenate(blocks), np.stack([ONE, SILENCE], axis=1))
    assert found == ["channel 1: a note"]


@pytest.mark.parametrize("factor", [0.01, 1.0])
def test_the_gain_brings_speech_to_one_level(factor: float) -> None:
    wave = np.float32(factor) * ONE
    (source,) = first_passes([(lambda: iter([wave]), lambda: 3.0)], "x")
    assert source is not None
    assert source.gain * audio.speech_level(wave) == pytest.approx(0.056, rel=1e-6)


def test_a_delivery_is_checked_before_any_work() -> None:
    with pytest.raises(InputError, match="loudness must lie"):
        Delivery(22050, loudness=3.0)


def test_progress_counts_all_tracks() -> None:
    seen: list[float] = []
    advance = Advance(seen.append, 2.0, 2)
    for _ in range(2):
        for _ in advance.of([np.zeros(22050, np.float32)] * 2):
            pass
    assert seen == [0.5, 1.0, 1.5, 2.0]

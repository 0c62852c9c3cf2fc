"""What a user chooses: the channel that is read, and how samples are stored."""

from __future__ import annotations

import importlib
from pathlib import Path

import numpy as np
import pytest
import soundfile

from fastvoicegrad import InputError, audio
from tests.conftest import vowels

LEFT, RIGHT = vowels(1.0), vowels(1.0, pitch=220.0, seed=5)


def channel_of(tmp_path: Path, wave: np.ndarray, channel: str | int | None, subtype: str = "PCM_16") -> np.ndarray:
    soundfile.write(tmp_path / "x.wav", wave, 22050, subtype)
    return np.concatenate(list(audio.read_blocks(audio.inspect(tmp_path / "x.wav", channel=channel))))


@pytest.mark.parametrize("subtype", ["PCM_16", "FLOAT"])
@pytest.mark.parametrize(
    ("channel", "expected"),
    [
        ("left", LEFT),
        ("1", LEFT),
        ("right", RIGHT),
        ("2", RIGHT),
        ("mix", (LEFT + RIGHT) / 2),
        (None, (LEFT + RIGHT) / 2),
    ],
)
def test_channels(tmp_path: Path, subtype: str, channel: str | None, expected: np.ndarray) -> None:
    found = channel_of(tmp_path, np.stack([LEFT, RIGHT], axis=1), channel, subtype)
    np.testing.assert_allclose(found, expected, atol=2e-3)


def test_one_channel_has_no_sides(tmp_path: Path) -> None:
    for channel in ("left", "right", "mix", "1", "2", 1, 2):
        np.testing.assert_allclose(channel_of(tmp_path, LEFT, channel), LEFT, atol=2e-3)
    with pytest.raises(InputError, match="has 1 channel; there is no channel 3"):
        channel_of(tmp_path, LEFT, "3")
    with pytest.raises(InputError, match="got '0'"):
        channel_of(tmp_path, LEFT, 0)


def test_a_quiet_channel_can_be_asked_for(tmp_path: Path) -> None:
    found = channel_of(tmp_path, np.stack([LEFT, 0.001 * RIGHT], axis=1), "right", "FLOAT")
    np.testing.assert_allclose(found, 0.001 * RIGHT, atol=2e-5)


@pytest.mark.parametrize(
    ("channel", "text"),
    [
        ("3", "has 2 channels; there is no channel 3"),
        ("0", "must be left"),
        ("middle", "must be left"),
        ("²", "must be"),
    ],
)
def test_other_channels_are_refused(tmp_path: Path, channel: str, text: str) -> None:
    with pytest.raises(InputError, match=text):
        channel_of(tmp_path, np.stack([LEFT, RIGHT], axis=1), channel)


@pytest.mark.parametrize(
    ("name", "subtype", "expected"),
    [
        ("x.wav", None, "PCM_16"),
        ("x.wav", "24", "PCM_24"),
        ("x.wav", "pcm_32", "PCM_32"),
        ("x.wav", "float", "FLOAT"),
        ("x.wav", "8", "PCM_U8"),
        ("x.wav", "ULAW", "ULAW"),
        ("x.flac", "24", "PCM_24"),
        ("x.aiff", "32", "PCM_32"),
        ("x.opus", None, "OPUS"),
        ("x.mp3", None, "MPEG_LAYER_III"),
    ],
)
def test_subtypes(tmp_path: Path, name: str, subtype: str | None, expected: str) -> None:
    wave = vowels(0.5, rate=48000)
    with audio.writing(tmp_path / name, 48000, subtype=subtype) as file:
        file.write(wave)
    info = soundfile.info(tmp_path / name)
    assert (info.subtype, info.frames) == (expected, len(wave))
    if expected in ("PCM_24", "PCM_32", "FLOAT"):
        np.testing.assert_allclose(soundfile.read(tmp_path / name)[0], wave, atol=2e-7)


@pytest.mark.parametrize(
    ("name", "subtype"), [("x.flac", "FLOAT"), ("x.mp3", "24"), ("x.wav", "GSM610"), ("x.ogg", "VORBIS")]
)
def test_other_subtypes_are_refused(tmp_path: Path, name: str, subtype: str) -> None:
    with pytest.raises(InputError, match="has no subtype"):
        audio.check_output(tmp_path / name, 48000, subtype)


def test_wide_samples_count_towards_the_largest_size(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(importlib.import_module("fastvoicegrad.audio.writing"), "LARGEST", 4 * 1000)
    with audio.writing(tmp_path / "x.wav", 8000, subtype="FLOAT") as file:
        file.write(np.zeros(1000, np.float32))
        with pytest.raises(InputError, match="too long for its format"):
            file.write(np.zeros(1, np.float32))


def test_rates_that_formats_know() -> None:
    assert audio.holds_rate("x.wav", 96000)
    assert audio.holds_rate("x.opus", 48000)
    assert not audio.holds_rate("x.opus", 44100)
    assert not audio.holds_rate("x.mp3", 96000)

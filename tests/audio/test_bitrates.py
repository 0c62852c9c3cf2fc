"""Bitrates of MP3 and Opus: what is asked for is what the file has."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import soundfile

from fastvoicegrad import InputError, audio
from tests.conftest import vowels


def kilobits(path: Path, rate: int, channels: int, bitrate: int | None) -> float:
    """Of ten seconds, per second."""
    wave = np.tile(vowels(2.0, rate=rate), 5)
    wave = wave + 0.001 * np.random.default_rng(0).standard_normal(len(wave)).astype(np.float32)
    with audio.writing(path, rate, channels=channels, bitrate=bitrate) as file:
        file.write(wave if channels == 1 else np.stack([wave, -wave[::-1]], axis=1))
    assert soundfile.info(path).frames == len(wave)
    return path.stat().st_size * 8 / 10 / 1000


@pytest.mark.parametrize(
    ("name", "rate", "channels", "bitrate"),
    [
        ("x.mp3", 44100, 1, 64),
        ("x.mp3", 48000, 2, 320),
        ("x.mp3", 22050, 1, 160),
        ("x.mp3", 8000, 1, 24),
        ("x.mp3", 44100, 1, 56),
        ("x.mp3", 24000, 2, 64),
        ("x.opus", 48000, 1, 16),
        ("x.opus", 48000, 1, 96),
        ("x.opus", 16000, 2, 64),
    ],
)
def test_the_file_has_the_bitrate(tmp_path: Path, name: str, rate: int, channels: int, bitrate: int) -> None:
    assert kilobits(tmp_path / name, rate, channels, bitrate) == pytest.approx(bitrate, rel=0.12)


def test_without_a_bitrate_nothing_changes(tmp_path: Path) -> None:
    wave = vowels(1.0, rate=48000)
    for name in ("a.mp3", "a.opus", "a.ogg"):
        with audio.writing(tmp_path / name, 48000, bitrate=None) as file:
            file.write(wave)
        kind = "MP3" if name.endswith("mp3") else "OGG"
        subtype = audio.subtype_of(name)
        soundfile.write(tmp_path / "plain", wave, 48000, subtype, format=kind)
        assert (tmp_path / name).stat().st_size == (tmp_path / "plain").stat().st_size


@pytest.mark.parametrize(
    ("name", "rate", "channels", "bitrate", "text"),
    [
        ("x.wav", 44100, 1, 64, "WAV has no fixed bitrate; write .mp3 or .opus"),
        ("x.flac", 44100, 1, 64, "FLAC has no fixed bitrate"),
        ("x.ogg", 44100, 1, 64, "OGG has no fixed bitrate"),
        ("x.mp3", 22050, 1, 192, "MP3 with 22050 Hz takes a bitrate from 56 to 160 kbit/s, got 192"),
        ("x.mp3", 44100, 1, 48, "from 56 to 320"),
        ("x.opus", 48000, 1, 300, "from 6 to 256"),
        ("x.opus", 48000, 2, 8, "48000 Hz and 2 channels takes a bitrate from 12 to 512"),
    ],
)
def test_other_bitrates_are_refused(
    tmp_path: Path, name: str, rate: int, channels: int, bitrate: int, text: str
) -> None:
    with pytest.raises(InputError, match=text):
        audio.check_output(tmp_path / name, rate, None, channels, bitrate)
    with pytest.raises(InputError), audio.writing(tmp_path / name, rate, channels=channels, bitrate=bitrate):
        pass
    assert list(tmp_path.iterdir()) == []


def test_which_formats_have_bitrates() -> None:
    assert [suffix for suffix in audio.FORMATS if audio.has_bitrate(f"x{suffix}")] == [".opus", ".mp3"]

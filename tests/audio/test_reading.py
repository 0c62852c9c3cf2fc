from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import soundfile

from fastvoicegrad import InputError
from fastvoicegrad import audio
from tests.conftest import vowels


@pytest.mark.parametrize(
    ("suffix", "rate", "subtype", "format_"),
    [
        (".wav", 8000, "PCM_16", "WAV"),
        (".wav", 96000, "PCM_24", "WAV"),
        (".wav", 44100, "FLOAT", "WAV"),
        (".flac", 48000, "PCM_16", "FLAC"),
        (".ogg", 22050, "VORBIS", "OGG"),
        (".opus", 48000, "OPUS", "OGG"),
        (".mp3", 44100, "MPEG_LAYER_III", "MP3"),
    ],
)
@pytest.mark.parametrize("channels", [1, 2, 6])
def test_reads_what_people_have(
    tmp_path: Path, suffix: str, rate: int, subtype: str, format_: str, channels: int
) -> None:
    if suffix == ".mp3" and channels > 2:
        pytest.skip("MP3 knows two channels")
    wave = vowels(1.0, rate=rate)
    soundfile.write(tmp_path / f"x{suffix}", np.tile(wave[:, None], channels), rate, subtype, format=format_)
    out = audio.read(tmp_path / f"x{suffix}")
    assert out.dtype == np.float32
    assert abs(len(out) / 22050 - 1.0) < 0.06  # lossy formats pad
    assert 0.5 < out.std() / vowels(1.0).std() < 1.5


def test_channels_are_averaged(tmp_path: Path) -> None:
    left = vowels(0.5)
    soundfile.write(tmp_path / "x.wav", np.stack([left, -left], 1), 22050, "FLOAT")
    assert np.abs(audio.read(tmp_path / "x.wav")).max() < 1e-6


def test_blocks_equal_the_whole() -> None:
    import soxr

    wave = vowels(1.0, rate=44100)
    parts = np.concatenate(list(audio.resampled(iter(np.array_split(wave, 23)), 44100, 22050)))
    whole = soxr.resample(wave, 44100, 22050)
    assert len(parts) == len(whole)
    np.testing.assert_allclose(parts, whole, atol=1e-4)


def write(path: Path, data: bytes) -> Path:
    path.write_bytes(data)
    return path


def bad_files(folder: Path) -> dict[str, Path]:
    wave = vowels(1.0)
    soundfile.write(folder / "nan.wav", np.where(np.arange(len(wave)) == 100, np.nan, wave), 22050, "FLOAT")
    soundfile.write(folder / "whole.wav", wave, 22050)
    soundfile.write(folder / "whole.flac", wave, 22050)
    soundfile.write(folder / "slow.wav", wave, 4000)
    soundfile.write(folder / "nothing.wav", wave[:0], 22050)
    return {
        "no such file": folder / "missing.wav",
        "is not a file": folder,
        "is empty": write(folder / "empty.wav", b""),
        "is not audio": write(folder / "text.wav", b"hello, I am not a recording" * 50),
        "not numbers": folder / "nan.wav",
        "resample it": folder / "slow.wav",
        "holds no samples": folder / "nothing.wav",
        "is cut off": write(folder / "cut.wav", (folder / "whole.wav").read_bytes()[:20000]),
        "damaged after|cut off": write(folder / "cut.flac", (folder / "whole.flac").read_bytes()[:20000]),
    }


@pytest.mark.parametrize("index", range(9))
def test_bad_input_says_what_is_wrong(tmp_path: Path, index: int) -> None:
    text, path = list(bad_files(tmp_path).items())[index]
    with pytest.raises(InputError, match=text):
        audio.read(path)


def test_writing_is_all_or_nothing(tmp_path: Path) -> None:
    path = tmp_path / "out.wav"
    path.write_bytes(b"old")

    def fail() -> None:
        with audio.writing(path, 22050) as file:
            file.write(np.zeros(1000))
            raise RuntimeError

    with pytest.raises(RuntimeError):
        fail()
    assert path.read_bytes() == b"old"
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize(
    ("name", "rate", "text"),
    [
        ("x.xyz", 22050, "unknown kind"),
        ("none/x.wav", 22050, "not a folder"),
        ("x.opus", 44100, "cannot hold"),
    ],
)
def test_bad_output_is_refused(tmp_path: Path, name: str, rate: int, text: str) -> None:
    with pytest.raises(InputError, match=text), audio.writing(tmp_path / name, rate):
        pass
    assert list(tmp_path.iterdir()) == []

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import soundfile

from fastvoicegrad import InputError, audio
from fastvoicegrad.audio import spliced
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
    wave = vowels(0.2)
    soundfile.write(folder / "slow.wav", wave, 3000)
    soundfile.write(folder / "fast.wav", wave, 400000)
    soundfile.write(folder / "nothing.wav", wave[:0], 22050)
    soundfile.write(folder / "nothing.flac", wave[:0], 22050)
    return {
        "no such file": folder / "missing.wav",
        "is not a file": folder,
        "is empty": write(folder / "empty.wav", b""),
        "is not audio": write(folder / "text.wav", b"hello, I am not a recording" * 50),
        "has 3000 Hz; resample it": folder / "slow.wav",
        "has 400000 Hz; resample it": folder / "fast.wav",
        "holds no samples": folder / "nothing.wav",
        "nothing.flac": folder / "nothing.flac",
    }


def test_bad_input_gives_what_is_wrong(tmp_path: Path) -> None:
    for text, path in bad_files(tmp_path).items():
        with pytest.raises(InputError, match=text):
            audio.read(path)


@pytest.mark.parametrize("rate", [4000, 8000, 16000, 192000, 384000])
def test_rates(tmp_path: Path, rate: int) -> None:
    soundfile.write(tmp_path / "x.wav", np.sin(2 * np.pi * 440 * np.arange(rate // 2) / rate), rate)
    out = audio.read(tmp_path / "x.wav")
    assert abs(len(out) - 11025) <= 1
    expected = np.sin(2 * np.pi * 440 * np.arange(len(out)) / 22050)
    assert np.abs(out - expected)[3000:-3000].max() < 0.01


def test_an_interrupt_while_reading_is_not_lost(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """libsndfile swallows exceptions of the functions that it calls, so these run where no signal arrives."""
    import threading

    threads = set()
    read_next = spliced.Spliced.read

    def read(self: spliced.Spliced, count: int) -> bytes:
        threads.add(threading.current_thread())
        return read_next(self, count)

    monkeypatch.setattr(spliced.Spliced, "read", read)
    soundfile.write(tmp_path / "x.flac", vowels(0.5), 22050)
    audio.read(tmp_path / "x.flac")
    assert threads
    assert threading.main_thread() not in threads


def test_a_disk_that_fails_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    soundfile.write(tmp_path / "x.flac", vowels(0.5), 22050)
    info = audio.inspect(tmp_path / "x.flac")

    def read(self: spliced.Spliced, count: int) -> bytes:
        self.error = OSError(5, "Input/output error")
        return b""

    monkeypatch.setattr(spliced.Spliced, "_next", read)
    with pytest.raises(InputError, match="cannot be read"):
        list(audio.read_blocks(info))

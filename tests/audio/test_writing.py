"""Writing: whole files only, of any length, and nothing but sound."""

from __future__ import annotations

import importlib
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import soundfile

from fastvoicegrad import InputError, audio
from tests.audio.sounds import speech

RATES = {".wav": 96000, ".flac": 96000, ".ogg": 48000, ".opus": 48000, ".mp3": 44100, ".aiff": 22050}


@pytest.mark.parametrize("suffix", RATES)
@pytest.mark.parametrize("samples", [1, 100, 48000])
def test_length_and_sound(tmp_path: Path, suffix: str, samples: int) -> None:
    path, wave = tmp_path / f"x{suffix}", speech(1.0)[:samples]
    with audio.writing(path, RATES[suffix]) as file:
        file.write(wave[: samples // 3])
        file.write(wave[samples // 3 :])
        assert file.samples == samples
    out, rate = soundfile.read(path, dtype="float32")
    assert rate == RATES[suffix]
    assert len(out) == samples
    if samples > 100:
        assert np.corrcoef(out, wave)[0, 1] > 0.95
    assert list(tmp_path.iterdir()) == [path]


def test_one_long_block_does_not_end_the_process(tmp_path: Path) -> None:
    """libsndfile's Vorbis encoder puts what it gets on the stack; 2,100,000 samples once were too many."""
    code = (
        "import sys, numpy, threading; from fastvoicegrad import audio\n"
        "threading.stack_size(512 * 1024)\n"  # as on macOS
        "def work():\n"
        "    with audio.writing(sys.argv[1], 48000) as file: file.write(numpy.zeros(2_500_000, numpy.float32))\n"
        "thread = threading.Thread(target=work); thread.start(); thread.join()\n"
    )
    subprocess.run([sys.executable, "-c", code, str(tmp_path / "x.ogg")], check=True)
    assert soundfile.info(tmp_path / "x.ogg").frames == 2_500_000


@pytest.mark.parametrize("channels", range(1, 9))
@pytest.mark.parametrize("suffix", RATES)
def test_every_channel_keeps_its_sound(tmp_path: Path, suffix: str, channels: int) -> None:
    """Some encoders take one of many channels for a subwoofer's, or keep the band of a telephone."""
    path, rate = tmp_path / f"x{suffix}", 44100 if suffix == ".mp3" else 48000
    try:
        audio.check_output(path, rate, channels=channels)
    except InputError as error:
        assert f"{suffix[1:].upper()} cannot hold {channels} channels" in str(error)  # noqa: PT017
        return
    wave = 0.1 * np.random.default_rng(0).standard_normal((rate, channels)).astype(np.float32)
    with audio.writing(path, rate, channels=channels) as file:
        file.write(wave)
    out = soundfile.read(path, dtype="float32")[0].reshape(rate, channels)

    def power(samples: np.ndarray, low: int, high: int) -> np.ndarray:
        return np.square(np.abs(np.fft.rfft(samples, axis=0)[low:high])).mean(0)  # a bin of 1 Hz each

    for low, high in ((1000, 4000), (4000, 8000)):
        assert (power(out, low, high) > 0.25 * power(wave, low, high)).all()


def test_beyond_full_scale_is_clipped(tmp_path: Path) -> None:
    with audio.writing(tmp_path / "x.wav", 22050) as file:
        file.write(np.array([0.5, 1.5, -7.0], np.float32))
    np.testing.assert_allclose(soundfile.read(tmp_path / "x.wav")[0], [0.5, 1.0, -1.0], atol=1e-4)


@pytest.mark.parametrize("suffix", RATES)
@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_what_is_no_number_is_not_written(tmp_path: Path, suffix: str, value: float) -> None:
    wave = speech(0.1).copy()
    wave[-1] = value
    with (
        pytest.raises(InputError, match="not numbers"),
        audio.writing(tmp_path / f"x{suffix}", RATES[suffix]) as file,
    ):
        file.write(wave)
    assert list(tmp_path.iterdir()) == []


def test_writing_is_all_or_nothing(tmp_path: Path) -> None:
    path = tmp_path / "out.wav"
    path.write_bytes(b"old")
    with pytest.raises(RuntimeError), audio.writing(path, 22050) as file:  # noqa: PT012
        file.write(np.zeros(1000, np.float32))
        raise RuntimeError
    assert path.read_bytes() == b"old"
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize(
    ("name", "rate", "text"),
    [
        ("x.xyz", 22050, "unknown kind of file '.xyz'; name it .wav, "),
        ("x", 22050, "x: the name has no suffix; name it x.wav, x.flac, "),
        ("none/x.wav", 22050, "not a folder"),
        (".", 22050, "is a folder"),
        ("x.opus", 44100, "OPUS cannot hold 44100 Hz; choose --rate 48000"),
        ("x.mp3", 96000, "MP3 cannot hold 96000 Hz"),
        ("x.flac", 95904, "FLAC cannot hold 95904 Hz"),
    ],
)
def test_bad_output_is_refused_before_any_work(tmp_path: Path, name: str, rate: int, text: str) -> None:
    with pytest.raises(InputError, match=text):
        audio.check_output(tmp_path / name, rate)
    with pytest.raises(InputError, match=text), audio.writing(tmp_path / name, rate):
        pass
    assert list(tmp_path.iterdir()) == []


def test_a_good_output_is_not_touched_by_the_check(tmp_path: Path) -> None:
    (tmp_path / "old.wav").write_bytes(b"old")
    for name in ("new.wav", "old.wav"):
        audio.check_output(tmp_path / name, 22050)
    assert [path.name for path in tmp_path.iterdir()] == ["old.wav"]
    assert (tmp_path / "old.wav").read_bytes() == b"old"


@pytest.mark.parametrize("name", ["声.flac", "a b'\"$;.ogg", os.fsdecode(b"caf\xe9.wav"), "a" * 250 + ".mp3", "x.WAV"])
def test_odd_names(tmp_path: Path, name: str) -> None:
    path = tmp_path / name
    try:
        path.touch()
    except OSError:
        pytest.skip("this file system has no such names")
    with audio.writing(path, 48000) as file:
        file.write(speech(0.5))
    assert audio.inspect(path).samples == 24000
    assert len(audio.read(path, 48000)) == 24000


def test_wav_beyond_4_gib(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(importlib.import_module("fastvoicegrad.audio.writing"), "LARGEST", 2 * 10000)
    wave = speech(0.5)
    with audio.writing(tmp_path / "x.wav", 48000, seconds=0.5) as file:
        file.write(wave)
    assert soundfile.info(tmp_path / "x.wav").format == "RF64"
    assert len(audio.read(tmp_path / "x.wav", 48000)) == len(wave)
    with pytest.raises(InputError, match="too long for its format"), audio.writing(tmp_path / "y.wav", 48000) as file:
        file.write(wave)
    with pytest.raises(InputError, match="too long for AIFF"), audio.writing(tmp_path / "y.aiff", 48000, seconds=0.5):
        pass
    assert not (tmp_path / "y.wav").exists()


# -- full disks -----------------------------------------------------------------------------------------------

FILL = """
import sys, numpy, soundfile
from fastvoicegrad import audio, InputError
noise = numpy.random.default_rng(0).uniform(-0.5, 0.5, 600_000).astype(numpy.float32)
if len(sys.argv) > 2:
    import resource
    resource.setrlimit(resource.RLIMIT_FSIZE, (int(sys.argv[2]), int(sys.argv[2])))
try:
    with audio.writing(sys.argv[1], 48000) as file:
        for block in numpy.split(noise, 12):
            file.write(block)
except InputError as error:
    print(error)
"""


def outcome(*arguments: object) -> str:
    command = [sys.executable, "-c", FILL, *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no such limit")
@pytest.mark.parametrize("limit", [0, 20_000])
@pytest.mark.parametrize("suffix", [".wav", ".flac", ".ogg", ".opus", ".mp3", ".aiff"])
def test_a_file_that_may_not_grow(tmp_path: Path, suffix: str, limit: int) -> None:
    path = tmp_path / f"x{suffix}"
    path.write_bytes(b"old")
    assert outcome(path, limit).startswith(f"no room left on the disk for {path}")
    assert path.read_bytes() == b"old"
    assert list(tmp_path.iterdir()) == [path]


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    folder = tmp_path / "disk"
    folder.mkdir()
    mount = shutil.which("mount")
    if not mount or subprocess.run([mount, "-t", "tmpfs", "-o", "size=64k", "tmpfs", folder], check=False).returncode:
        pytest.skip("needs root to mount a small file system")
    yield folder
    subprocess.run(["umount", folder], check=True)


@pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() != 0, reason="needs root")
def test_a_full_disk(small_disk: Path) -> None:
    for suffix in (".wav", ".flac", ".ogg", ".opus", ".mp3", ".aiff"):
        assert outcome(small_disk / f"x{suffix}").startswith("no room left on the disk")
        assert list(small_disk.iterdir()) == []
    (small_disk / "fill").write_bytes(bytes(64 << 10))
    assert outcome(small_disk / "x.wav").startswith("no room left on the disk")

"""M4A, WebM, AMR and video: by PyAV, by a program ffmpeg, or one line that names the extra."""

from __future__ import annotations

import os
import shutil
import sys
from pathlib import Path

import numpy as np
import pytest
import soundfile

from fastvoicegrad import InputError, audio
from fastvoicegrad.audio import formats
from tests.audio.sounds import decoded, speech

# name, codec, container, rate, channels, with video
KINDS = [
    ("a.m4a", "aac", "ipod", 44100, 2, False),
    ("a.aac", "aac", "adts", 44100, 1, False),
    ("alac.m4a", "alac", "ipod", 44100, 1, False),
    ("a.3gp", "aac", "3gp", 16000, 1, False),
    ("a.webm", "libopus", "webm", 48000, 1, False),
    ("a.mka", "pcm_f32le", "matroska", 48000, 1, False),
    ("a.amr", "amr_nb", "amr", 8000, 1, False),
    ("a.mp2", "mp2", "mp2", 44100, 1, False),
    ("cv.mp3", "libmp3lame", "mp3", 32000, 1, False),
    ("a71.mka", "flac", "matroska", 48000, 8, False),
    ("v.mp4", "aac", "mp4", 48000, 1, True),
    ("v.mkv", "flac", "matroska", 44100, 1, True),
    ("v.mov", "pcm_s16le", "mov", 44100, 1, True),
    ("v.avi", "libmp3lame", "avi", 44100, 1, True),
    ("v.mpg", "mp2", "mpeg", 44100, 1, True),
    ("v.vob", "mp2", "vob", 48000, 2, True),
]
SECONDS = 2.0


def make(path: Path, codec: str, container: str, rate: int, channels: int, video: bool, first: float = 0.0) -> None:
    """`SECONDS` of speech in a container, encoded by PyAV. The sound begins at `first` seconds."""
    av = pytest.importorskip("av")
    layout, wave = {1: "mono", 2: "stereo", 8: "7.1"}[channels], speech(SECONDS, rate)
    with av.open(str(path), "w", format=container) as file:
        if video:
            pictures = file.add_stream("mpeg2video" if codec == "mp2" else "mpeg4", rate=25 if codec == "mp2" else 5)
            pictures.width, pictures.height, pictures.pix_fmt = 32, 32, "yuv420p"
        try:
            sound = file.add_stream(codec, rate=rate)
        except av.codec.codec.UnknownCodecError:
            pytest.skip(f"this PyAV cannot encode {codec}")
        sound.layout = layout
        if video:
            picture = av.VideoFrame.from_ndarray(np.zeros((32, 32, 3), np.uint8), format="rgb24")
            for _ in range(int(pictures.average_rate * SECONDS)):
                file.mux(pictures.encode(picture))
            file.mux(pictures.encode(None))
        convert = av.AudioResampler(sound.codec_context.format, layout, rate, sound.codec_context.frame_size or 1024)
        frame = av.AudioFrame.from_ndarray(np.repeat(wave, channels)[None], format="flt", layout=layout)
        frame.rate, frame.pts = rate, round(first * rate)
        for part in (*convert.resample(frame), *convert.resample(None)):
            file.mux(sound.encode(part))
        file.mux(sound.encode(None))


def correlation(one: np.ndarray, other: np.ndarray) -> float:
    """The greatest over all shifts: encoders delay by some."""
    size = 2 * max(len(one), len(other))
    product = np.fft.irfft(np.fft.rfft(one, size) * np.fft.rfft(other, size).conj())
    return float(product.max() / np.sqrt((one**2).sum() * (other**2).sum()))


@pytest.mark.parametrize("kind", KINDS, ids=[kind[0] for kind in KINDS])
def test_decodes_by_pyav(tmp_path: Path, kind: tuple[str, str, str, int, int, bool]) -> None:
    name, *rest = kind
    make(tmp_path / name, *rest)
    info, wave = decoded(tmp_path, (tmp_path / name).read_bytes(), name)
    assert (info.rate, info.channels, info.warnings) == (kind[3], kind[4], [])
    assert info.decoded == len(wave)
    assert SECONDS - 0.001 < len(wave) / info.rate < SECONDS + 0.06  # some fill their last frame
    expected = speech(SECONDS, info.rate)
    assert 0.9 < wave.std() / expected.std() < 1.1
    assert correlation(wave.reshape(len(wave), -1)[:, 0], expected) > 0.8
    if name.endswith((".m4a", ".mp4", ".mov", ".3gp", ".mka")):
        assert len(wave) == SECONDS * info.rate


def test_the_length_of_bare_aac_is_no_claim(tmp_path: Path) -> None:
    """FFmpeg estimates it from the bitrate of the first frames, which is low in silence."""
    av = pytest.importorskip("av")
    wave = np.concatenate([np.zeros(5 * 44100, np.float32), speech(SECONDS, 44100)])
    with av.open(str(tmp_path / "x.aac"), "w", format="adts") as file:
        sound = file.add_stream("aac", rate=44100)
        sound.layout = "mono"
        for start in range(0, len(wave) - 1023, 1024):
            frame = av.AudioFrame.from_ndarray(wave[None, start : start + 1024], format="fltp", layout="mono")
            frame.rate, frame.pts = 44100, start
            file.mux(sound.encode(frame))
        file.mux(sound.encode(None))
    info, found = decoded(tmp_path, (tmp_path / "x.aac").read_bytes(), "x.aac")
    assert info.warnings == []
    assert len(found) == pytest.approx(len(wave), abs=4096)


@pytest.mark.parametrize(
    ("name", "codec", "container"),
    [
        ("a.webm", "libopus", "webm"),
        ("a.mka", "flac", "matroska"),
        ("a.asf", "ac3", "asf"),
        ("a.nut", "pcm_s16le", "nut"),
        ("a.avi", "pcm_s16le", "avi"),
    ],
)
def test_sound_may_begin_late(tmp_path: Path, name: str, codec: str, container: str) -> None:
    """As in a part of a live capture: the header's duration holds the time before it, too."""
    make(tmp_path / name, codec, container, 48000, 1, False, first=5.0)
    info, wave = decoded(tmp_path, (tmp_path / name).read_bytes(), name)
    assert info.warnings == []
    assert SECONDS - 0.001 < len(wave) / info.rate < SECONDS + 0.1


@pytest.mark.parametrize(
    ("samples", "given"),
    [
        (10_240, 10_240),
        (9_800, 9_800),  # the last frame's rest is no sound
        (8_300, 8_300),  # two frames' rest
        (5_000, 10_240),  # the header is wrong
        (20_000, 10_240),
    ],
)
def test_the_length_of_a_header_cuts_a_rest_alone(samples: int, given: int) -> None:
    wave = np.arange(10_240, dtype=np.float32)[:, None]
    blocks = list(formats._up_to(iter(np.split(wave, 10)), samples))
    np.testing.assert_array_equal(np.concatenate(blocks), wave[:given])
    assert all(len(block) for block in blocks)


def test_times_of_mpeg_may_jump(tmp_path: Path) -> None:
    """As in joined files: the last time minus the first is no length."""
    for name, first in (("a.mpg", 0.0), ("b.mpg", 60.0)):
        make(tmp_path / name, "mp2", "mpeg", 44100, 1, True, first=first)
    joined = b"".join((tmp_path / name).read_bytes() for name in ("a.mpg", "b.mpg"))
    info, wave = decoded(tmp_path, joined, "c.mpg")
    assert info.warnings == []
    assert 2 * SECONDS - 0.1 < len(wave) / info.rate < 2 * SECONDS + 0.2


@pytest.mark.parametrize("name", ["a.webm", "a.amr", "a.aac"])
def test_cut_off(tmp_path: Path, name: str) -> None:
    make(tmp_path / name, *next(kind[1:] for kind in KINDS if kind[0] == name))
    data = (tmp_path / name).read_bytes()
    info, wave = decoded(tmp_path, data[: int(0.6 * len(data))], name)
    assert 0.4 < len(wave) / info.rate / SECONDS < 0.8
    assert len(info.warnings) == 1


def test_video_without_sound(tmp_path: Path) -> None:
    av = pytest.importorskip("av")
    with av.open(str(tmp_path / "v.mp4"), "w") as file:
        pictures = file.add_stream("mpeg4", rate=5)
        pictures.width, pictures.height, pictures.pix_fmt = 32, 32, "yuv420p"
        picture = av.VideoFrame.from_ndarray(np.zeros((32, 32, 3), np.uint8), format="rgb24")
        file.mux(pictures.encode(picture))
        file.mux(pictures.encode(None))
    with pytest.raises(InputError, match="no sound"):
        audio.inspect(tmp_path / "v.mp4")


def test_playlists_reach_no_other_file(tmp_path: Path) -> None:
    pytest.importorskip("av")
    soundfile.write(tmp_path / "secret.wav", speech(0.5), 48000)
    for name, text in {
        "x.m3u8": "#EXTM3U\n#EXT-X-TARGETDURATION:1\n#EXTINF:1,\nsecret.wav\n#EXT-X-ENDLIST\n",
        "x.ffconcat": "ffconcat version 1.0\nfile secret.wav\n",
    }.items():
        (tmp_path / name).write_text(text)
        with pytest.raises(InputError, match="is not audio"):
            audio.inspect(tmp_path / name)


FAKE = """#!{python}
import struct, sys, numpy
assert sys.argv[-1] == "-" and "-i" in sys.argv and "au" in sys.argv
source = sys.argv[sys.argv.index("-i") + 1]
assert source.startswith("file:/")
if b"good" not in open(source[5:], "rb").read():
    sys.exit("nothing is known")
out = sys.stdout.buffer
out.write(b".snd" + struct.pack(">5I4x", 28, 0xFFFFFFFF, 6, 16000, 2))
out.write(numpy.tile(numpy.linspace(-0.5, 0.5, 20000), (2, 1)).T.astype(">f4").tobytes())
if b"damaged" in open(source[5:], "rb").read():
    sys.exit("some frames are damaged")
"""


@pytest.fixture
def no_pyav(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(formats, "_av", lambda: None)


@pytest.fixture
def fake_ffmpeg(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, no_pyav: None) -> None:
    program = tmp_path / "bin" / "ffmpeg"
    program.parent.mkdir()
    program.write_text(FAKE.format(python=sys.executable))
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{program.parent}{os.pathsep}{os.environ['PATH']}")


@pytest.mark.skipif(sys.platform == "win32", reason="the program is a script")
def test_decodes_by_ffmpeg(tmp_path: Path, fake_ffmpeg: None) -> None:
    info, wave = decoded(tmp_path, b"\0\0\0\x18ftyp good", "x.m4a")
    assert (info.rate, info.channels, info.decoded, len(wave)) == (16000, 2, 20000, 20000)
    assert info.warnings == []
    info, wave = decoded(tmp_path, b"\0\0\0\x18ftyp good damaged", "x.m4a")
    assert len(wave) == 20000
    assert "damaged" in info.warnings[0]
    with pytest.raises(InputError, match="is not audio"):
        decoded(tmp_path, b"\0\0\0\x18ftyp bad", "x.m4a")


@pytest.mark.skipif(shutil.which("ffmpeg") is None, reason="needs ffmpeg")
def test_ffmpeg_equals_pyav(tmp_path: Path, no_pyav: None) -> None:
    make(tmp_path / "a.m4a", *KINDS[0][1:])
    info, wave = decoded(tmp_path, (tmp_path / "a.m4a").read_bytes())
    assert len(wave) == SECONDS * info.rate


def test_without_either_the_extra_is_named(tmp_path: Path, no_pyav: None, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(InputError, match=r'pip install "fastvoicegrad\[formats\]" or install ffmpeg'):
        decoded(tmp_path, b"\0\0\0\x18ftypM4A good", "x.m4a")

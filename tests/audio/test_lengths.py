"""What a decoder gives is what is delivered, whatever lengths headers claim."""

from __future__ import annotations

import os
import struct
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import soundfile

from fastvoicegrad import InputError, audio
from fastvoicegrad.audio.sndfile import stream_facts
from fastvoicegrad.audio.streams import find_streams
from tests.audio.sounds import decoded, encoded, flac_of_unknown_length, length, mp3, speech, split_tag, wav

MP3_RATES = (8000, 11025, 12000, 16000, 22050, 24000, 32000, 44100, 48000)
ID3 = b"ID3\x03\0\0\0\0\x20\0" + bytes(4096)
ID3_AT_END = b"TAG" + bytes(125)


def test_200_mp3_files_without_a_length(tmp_path: Path) -> None:
    """Of every rate, constant and variable, in several qualities, mono and stereo."""
    made = 0
    for rate in MP3_RATES:
        wave = speech(0.2, rate)
        for number in range(26):
            variable, stereo, level = number % 2 == 0, number % 3 == 0, number / 26
            whole = mp3(np.stack([wave, 0.5 * wave], 1) if stereo else wave, rate, variable, level)
            if b"Xing" in whole[:200] or b"Info" in whole[:200]:  # else its frames are too small for a tag
                bare, frames = split_tag(whole)
                assert length(tmp_path, bare) == frames * (1152 if rate >= 32000 else 576)
                made += 1
    assert made >= 200


@pytest.mark.parametrize("rate", [16000, 44100])
def test_mp3_without_a_length_equals_ffmpeg(tmp_path: Path, rate: int) -> None:
    av = pytest.importorskip("av")
    for variable in (False, True):
        bare, _ = split_tag(mp3(speech(2.0, rate), rate, variable))
        _, wave = decoded(tmp_path, bare)
        with av.open(str(tmp_path / "x.bin")) as container:
            theirs = sum(frame.samples for frame in container.decode(audio=0))
        assert len(wave) == theirs


@pytest.mark.parametrize("variable", [False, True])
def test_mp3_with_a_tag_gives_what_was_encoded(tmp_path: Path, variable: bool) -> None:
    wave = speech(1.0, 44100)
    info, out = decoded(tmp_path, mp3(wave, 44100, variable))
    assert info.samples == info.decoded == len(out) == len(wave)
    assert np.corrcoef(out, wave)[0, 1] > 0.98  # not shifted by the encoder's delay


def test_mp3_streams_one_after_the_other(tmp_path: Path) -> None:
    a, b = mp3(speech(0.5), variable=True), mp3(speech(0.7), variable=False)
    bare, frames = split_tag(a)
    assert length(tmp_path, a + b) == 24000 + 33600
    assert length(tmp_path, bare + bare) == 2 * 1152 * frames
    assert length(tmp_path, bare + b) == 1152 * frames + 33600
    assert length(tmp_path, ID3 + a + ID3_AT_END + ID3 + b + ID3_AT_END) == 24000 + 33600


def test_mp3_streams_of_other_rates(tmp_path: Path) -> None:
    """The first stream's rate and number of channels hold for all."""
    stereo = np.tile(speech(0.5, 22050)[:, None], 2)
    assert length(tmp_path, mp3(speech(0.5)) + mp3(stereo, 22050)) == 48000


@pytest.mark.parametrize("kind", ["W64", "AU", "VOC", "NIST", "HTK"])
def test_samples_that_look_like_headers_of_mp3(tmp_path: Path, kind: str) -> None:
    """Quiet noise has many bytes 255; two headers that match by chance make no MP3 file."""
    header, size = bytes([255, 251, 144, 0]), 417
    data = bytearray(np.random.default_rng(0).integers(-20, 20, 20_000, dtype=np.int16).tobytes())
    for frame in range(3):
        data[1001 + frame * size : 1005 + frame * size] = header
    wave = np.frombuffer(bytes(data), "<i2")
    path = tmp_path / f"x.{kind.lower()}"
    soundfile.write(path, wave, 16000, "PCM_16", "BIG" if kind in ("AU", "HTK") else None, kind)
    read = np.concatenate(list(audio.read_blocks(audio.inspect(path), 16000)))
    assert len(read) == len(wave)
    assert audio.inspect(path).rate == 16000


def test_mp3_with_other_data_between_frames(tmp_path: Path) -> None:
    bare, frames = split_tag(mp3(speech(1.0), variable=False))
    size = len(bare) // frames
    middle = size * (frames // 2)
    junk = np.random.default_rng(0).bytes(5000)
    assert length(tmp_path, bare[:middle] + junk + bare[middle:]) == frames * 1152
    assert length(tmp_path, bytes(300) + bare + junk[:700]) == frames * 1152


@pytest.mark.parametrize("tag", [b"Xing", b"Info", b"VBRI"])
def test_mp3_tags_that_break_off_are_refused(tmp_path: Path, tag: bytes) -> None:
    for bitrate in range(1, 4):
        for place in range(4, 40):  # one whole frame of 24, 48 or 72 bytes: MPEG-2, layer III, 24 kHz
            frame = (bytes((0xFF, 0xF3, bitrate << 4 | 4, 0xC0)) + bytes(place - 4) + tag).ljust(24 * bitrate, b"\xff")
            with pytest.raises(InputError):
                length(tmp_path, frame[: 24 * bitrate])


def chained(kind: str, subtype: str) -> Callable[[float], bytes]:
    return lambda seconds: encoded(speech(seconds), 48000, kind, subtype)


@pytest.mark.parametrize(
    "make",
    [
        chained("OGG", "VORBIS"),
        chained("OGG", "OPUS"),
        chained("FLAC", "PCM_16"),
        chained("MP3", "MPEG_LAYER_III"),
        lambda seconds: flac_of_unknown_length(encoded(speech(seconds), 48000, "FLAC", "PCM_24")),
    ],
    ids=["vorbis", "opus", "flac", "mp3", "flac of unknown length"],
)
def test_several_streams_equal_each_alone(tmp_path: Path, make: Callable[[float], bytes]) -> None:
    parts = [make(seconds) for seconds in (0.5, 1.0, 0.3)]
    alone = [length(tmp_path, part) for part in parts]
    assert alone == [24000, 48000, 14400]
    assert length(tmp_path, b"".join(parts)) == sum(alone)


def test_flac_of_unknown_length(tmp_path: Path) -> None:
    whole = encoded(speech(1.0), 48000, "FLAC")
    _, expected = decoded(tmp_path, whole)
    info, out = decoded(tmp_path, flac_of_unknown_length(whole))
    assert info.warnings == []
    np.testing.assert_array_equal(out, expected)
    assert length(tmp_path, ID3 + whole) == len(out)
    assert length(tmp_path, whole + ID3_AT_END) == len(out)
    assert length(tmp_path, flac_of_unknown_length(whole) + ID3_AT_END) == len(out)


SOUND = (speech(1.0) * 32767).astype("<i2").tobytes()
SIZES = {
    "a pipe of sox": 0x7FFFF000,
    "a pipe of ffmpeg": 0xFFFFFFFF,
    "a pipe, header left out": 0xFFFFFFFF - 36,
    "the largest int": 0x7FFFFFFF,
    "a recorder that was stopped": 0,
    "the file's size": len(SOUND) + 44,
    "8 too many": len(SOUND) + 8,
    "right": len(SOUND),
}


@pytest.mark.parametrize("riff", [None, 0, 0xFFFFFFFF])
@pytest.mark.parametrize("size", SIZES.values(), ids=SIZES.keys())
def test_wav_sizes(tmp_path: Path, size: int, riff: int | None) -> None:
    assert length(tmp_path, wav(SOUND, size, riff)) == 48000


def test_wav_with_chunks_behind_the_sound(tmp_path: Path) -> None:
    chunk = b"LIST" + struct.pack("<I", 4) + b"INFO"
    assert length(tmp_path, wav(SOUND + chunk, len(SOUND))) == 48000


@pytest.mark.parametrize("kind", ["AIFF", "AU", "CAF", "W64", "RF64", "WAVEX", "SVX", "NIST", "VOC"])
def test_other_kinds(tmp_path: Path, kind: str) -> None:
    rate = 44100
    assert length(tmp_path, encoded(speech(0.5, rate), rate, kind, "PCM_16")) == rate // 2


@pytest.mark.parametrize("size", [0, 8, 0xFFFFFFFF])
def test_aiff_sizes(tmp_path: Path, size: int) -> None:
    data = encoded(speech(1.0), 48000, "AIFF", "PCM_16")
    at = data.index(b"SSND") + 4
    assert length(tmp_path, data[:at] + struct.pack(">I", size) + data[at + 4 :]) == 48000


def test_rf64_of_unknown_length(tmp_path: Path) -> None:
    data = encoded(speech(1.0), 48000, "RF64", "PCM_16")
    at = data.index(b"ds64") + 8
    assert length(tmp_path, data[:at] + bytes(24) + data[at + 24 :]) == 48000


@pytest.mark.skipif(sys.platform != "linux", reason="needs sparse files")
@pytest.mark.parametrize("size", [0, 0x7FFFF000, 0xFFFFFFFF])
def test_wav_from_a_pipe_beyond_4_gib(tmp_path: Path, size: int) -> None:
    path, header = tmp_path / "x.wav", wav(b"", size)
    with open(path, "wb") as file:
        file.write(header)
        file.truncate(len(header) + (5 << 30))
    (stream,) = find_streams(path)
    facts = stream_facts(path, stream)
    assert facts.samples == 5 << 29
    assert facts.there == 1.0


@pytest.mark.parametrize("size", [0, -1, 1 << 40])
def test_caf_sizes(tmp_path: Path, size: int) -> None:
    data = encoded(speech(0.5), 48000, "CAF", "PCM_16")
    at = data.index(b"data") + 4
    info, wave = decoded(tmp_path, data[:at] + struct.pack(">q", size) + data[at + 8 :])
    assert len(wave) == 24000
    assert len(info.warnings) == (size > 0)


def test_all_passes_are_equal(tmp_path: Path) -> None:
    stereo = np.stack([speech(1.0), 0.3 * speech(1.0)], 1)
    info, first = decoded(tmp_path, encoded(stereo, 48000, "OGG", "VORBIS") * 2)
    np.testing.assert_array_equal(np.concatenate(list(audio.read_blocks(info, 48000))), first)


def test_memory_does_not_grow_with_length(tmp_path: Path) -> None:
    import tracemalloc

    path = tmp_path / "long.wav"
    path.write_bytes(wav(b"", 0xFFFFFFFF))
    os.truncate(path, 44 + 2 * 48000 * 300)  # five minutes of silence
    tracemalloc.start()
    total = sum(len(block) for block in audio.read_blocks(audio.inspect(path)))
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert total == 22050 * 300
    assert peak < 20e6

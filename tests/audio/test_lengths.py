"""What a decoder gives is what is delivered, whatever lengths headers claim."""

from __future__ import annotations

import os
import random
import re
import struct
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import soundfile

from fastvoicegrad import InputError, audio
from fastvoicegrad.audio.sndfile import StreamFacts, stream_facts
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


# -- sizes that are less than what is there -----------------------------------------------------------------------

sparse = pytest.mark.skipif(sys.platform != "linux", reason="needs sparse files")
LONG = (speech(3.0) * 32767).astype("<i2").tobytes()
STALE = 100_000  # bytes of it that the header claims
LIST = b"LIST" + struct.pack("<I", 100_004) + b"INFO" + bytes(range(50, 100)) * 2000


@pytest.mark.parametrize("riff", [None, 0, len(LONG) + 36])
@pytest.mark.parametrize("size", [2, 48_000, STALE, STALE + 1, len(LONG) - (1 << 16)])
def test_wav_whose_size_is_out_of_date(tmp_path: Path, size: int, riff: int | None) -> None:
    """A recorder that was stopped leaves the size of an earlier moment."""
    assert length(tmp_path, wav(LONG, size, riff)) == 144_000


@pytest.mark.parametrize(
    ("kind", "order", "name", "skipped", "form"),
    [
        ("WAVEX", "FILE", b"data", 4, "<I"),
        ("WAV", "BIG", b"data", 4, ">I"),
        ("RF64", "FILE", b"ds64", 16, "<Q"),
    ],
)
def test_wav_of_other_kinds_whose_size_is_out_of_date(
    tmp_path: Path, kind: str, order: str, name: bytes, skipped: int, form: str
) -> None:
    data = bytearray(encoded(speech(3.0), 48000, kind, "PCM_16", endian=order))
    struct.pack_into(form, data, data.index(name) + skipped, STALE)
    assert length(tmp_path, bytes(data)) == 144_000


BEHIND = {
    "list": LIST,
    "cut list": LIST[:90_000],
    "list later": bytes(8) + LIST,
    "list and more": LIST + LONG,
    "wav": b"RIFF" + struct.pack("<I", len(LONG)) + LONG,
    "id3": b"ID3\3\0\0\0\0\x7f\x7f" + LONG,
    "id3v1": ID3_AT_END + LONG,
    "ape": b"APETAGEX" + LONG,
    "zeros": bytes(200_000),
    "random": random.Random(0).randbytes(200_000),
    "short": LONG[: (1 << 16) - 2],
    "nothing": b"",
}


@pytest.mark.parametrize("size", [STALE, STALE - 1])
@pytest.mark.parametrize("name", BEHIND)
def test_what_follows_the_sound_of_a_wav_file_is_no_sound(tmp_path: Path, name: str, size: int) -> None:
    if name == "wav" and size % 2:
        pytest.skip("libsndfile cannot open it, and older versions of FFmpeg leave out its last samples")
    assert length(tmp_path, wav(LONG[:STALE] + BEHIND[name], size)) == size // 2


@pytest.mark.parametrize(
    ("kind", "subtype", "order"),
    [("WAV", "FLOAT", "FILE"), ("WAV", "FLOAT", "BIG"), ("WAV", "DOUBLE", "BIG"), ("WAVEX", "FLOAT", "FILE")],
)
def test_floats_behind_the_claimed_end_are_sound_if_they_may_be_samples(
    tmp_path: Path, kind: str, subtype: str, order: str
) -> None:
    """A single absurd sample would make the whole recording one that is refused."""
    data = bytearray(encoded(speech(3.0), 48000, kind, subtype, endian=order))
    width, at = 8 if subtype == "DOUBLE" else 4, data.index(b"data") + 4
    struct.pack_into("<I" if order == "FILE" else ">I", data, at, width * 48_000)
    assert length(tmp_path, bytes(data)) == 144_000
    sound = bytes(data[: at + 4 + width * 48_000])
    for junk in (b"a text of no use. " * 10_000, random.Random(1).randbytes(300_000), data[-100_000:] + b"\xff" * 99):
        assert length(tmp_path, sound + junk) == 48_000


def facts_of(path: Path, header: bytes, size: int, marks: dict[int, bytes] | None = None) -> StreamFacts:
    """Of a sparse file; marks are bytes behind the header, by their places."""
    with open(path, "wb") as file:
        file.write(header)
        for at, data in (marks or {}).items():
            file.seek(len(header) + at)
            file.write(data)
        file.truncate(len(header) + size)
    (stream,) = find_streams(path)
    return stream_facts(path, stream)


@sparse
@pytest.mark.parametrize("gib", [5, 6, 9])
@pytest.mark.parametrize("behind", [b"", LIST])
def test_wav_beyond_4_gib_whose_size_has_32_bits(tmp_path: Path, gib: int, behind: bytes) -> None:
    size = (gib << 30) + 1000
    claimed = size % (1 << 32)
    facts = facts_of(tmp_path / "x.wav", wav(b"", claimed), size + len(behind), {claimed: LONG, size: behind})
    assert (facts.samples, facts.there) == (size // 2, 1.0)


@sparse
@pytest.mark.parametrize("size", [STALE, 0x7FFFF000, 0x90000000])
@pytest.mark.parametrize("gib", [3, 6])
def test_long_wav_whose_size_is_out_of_date(tmp_path: Path, gib: int, size: int) -> None:
    facts = facts_of(tmp_path / "x.wav", wav(b"", size), gib << 30, {size: LONG})
    assert (facts.samples, facts.there) == (gib << 29, 1.0)


# -- sizes of 2 GiB and more --------------------------------------------------------------------------------------


def claiming(kind: str, size: int) -> bytes:
    """A file of one second whose header claims so many bytes of sound."""
    if kind == "WAV":
        return wav(SOUND, size)
    data, (name, skipped, form) = bytearray(encoded(speech(1.0), 48000, kind, "PCM_16")), CLAIMS[kind]
    struct.pack_into(form, data, data.index(name) + skipped, size)
    return bytes(data)


CLAIMS = {
    "AIFF": (b"SSND", 4, ">I"),
    "SVX": (b"BODY", 4, ">I"),
    "AU": (b".snd", 8, ">I"),
    "RF64": (b"ds64", 16, "<Q"),
    "W64": (b"riff", 16, "<Q"),
    "CAF": (b"data", 4, ">q"),
}
LARGE = [0x7F800000, 0x7FFE0000, 0x80100000, 3 << 30, 0xFFFF0000]


@pytest.mark.parametrize("size", LARGE)
@pytest.mark.parametrize("kind", ["WAV", *CLAIMS])
def test_what_claims_gigabytes_and_is_cut_off(tmp_path: Path, kind: str, size: int) -> None:
    info, wave = decoded(tmp_path, claiming(kind, size))
    assert len(wave) == 48000
    (warning,) = info.warnings
    found = re.search(r"ends after 1\.0 s of the (\S+) s that its header gives", warning)
    assert found
    assert float(found[1]) == pytest.approx(size / 96000, rel=2e-3)
    with pytest.raises(InputError, match="its header gives; copy or export it again"):
        decoded(tmp_path, claiming(kind, size), strict=True)


@pytest.mark.parametrize("kind", ["RF64", "W64", "CAF"])
def test_what_claims_more_than_4_gib_and_is_cut_off(tmp_path: Path, kind: str) -> None:
    for size in (0x7FFFF000, 0xFFFFFFFF, 5 << 30, 1 << 50):
        info, wave = decoded(tmp_path, claiming(kind, size))
        assert (len(wave), len(info.warnings)) == (48000, 1)


PIPES = {
    "sox, 16 bit": ("WAV", 0x7FFFF000),
    "sox, frames of 6 bytes": ("WAV", 0x7FFFF000 // 6 * 6),
    "gstreamer": ("WAV", 0x7FFF0000),
    "arecord": ("WAV", 0x80000000),
    "gstreamer, aiff": ("AIFF", 0x7FFF0008),
    "sox, aiff": ("AIFF", 0x7F000008),
    "sox, aiff, frames of 6 bytes": ("AIFF", 0x7F000000 // 6 * 6 + 8),
    "sox, au": ("AU", 0xFFFFFFFF),
    "another, au": ("AU", 0x7FFFFFFF),
    "the largest number, w64": ("W64", (1 << 63) - 1),
}


@pytest.mark.parametrize("pipe", PIPES.values(), ids=PIPES.keys())
def test_sizes_of_pipes_are_unknown(tmp_path: Path, pipe: tuple[str, int]) -> None:
    assert length(tmp_path, claiming(*pipe)) == 48000


@sparse
@pytest.mark.parametrize("kind", ["WAV", "AIFF", "AU", "W64"])
def test_whole_files_of_3_gib_are_whole(tmp_path: Path, kind: str) -> None:
    size = 3 << 30
    whole = claiming(kind, size + {"AIFF": 8, "W64": 104}.get(kind, 0))
    facts = facts_of(tmp_path / "x", whole[: -len(SOUND)], size)
    assert facts.there == 1.0
    assert facts.samples == size // 2 or kind in ("AIFF", "W64")  # those give their number in a chunk of its own

"""What is cut off or damaged: the sound that is there is delivered, with a warning; with strict it is an error."""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path

import numpy as np
import pytest

from fastvoicegrad import InputError, audio
from tests.audio.sounds import decoded, encoded, flac_of_unknown_length, mp3, speech, split_tag, wav

WAVE = speech(2.0)
WAV = encoded(WAVE, 48000, "WAV", "PCM_16")
FLAC = encoded(WAVE, 48000, "FLAC", "PCM_16")


def cut(data: bytes, share: float = 0.5) -> bytes:
    return data[: int(len(data) * share)]


CUT = {
    "wav": cut(WAV),
    "rf64": cut(encoded(WAVE, 48000, "RF64", "PCM_16")),
    "w64": cut(encoded(WAVE, 48000, "W64", "PCM_16")),
    "aiff": cut(encoded(WAVE, 48000, "AIFF", "PCM_16")),
    "au": cut(encoded(WAVE, 48000, "AU", "PCM_16")),
    "caf": cut(encoded(WAVE, 48000, "CAF", "PCM_16")),
    "flac": cut(FLAC),
    "mp3": cut(mp3(WAVE, variable=False)),
}


@pytest.mark.parametrize("kind", CUT)
def test_cut_off(tmp_path: Path, kind: str) -> None:
    info, wave = decoded(tmp_path, CUT[kind], f"talk.{kind}")
    assert 0.8 * 48000 < len(wave) < 1.1 * 48000
    assert info.decoded == len(wave)
    (warning,) = info.warnings
    assert "talk." in warning
    assert f"{len(wave) / 48000:.1f} s of the 2.0 s that its header gives" in warning
    with pytest.raises(InputError, match=r"of the 2.0 s that its header gives.*; copy or export it again"):
        decoded(tmp_path, CUT[kind], f"talk.{kind}", strict=True)


@pytest.mark.parametrize("subtype", ["VORBIS", "OPUS"])
def test_ogg_that_ends_within_a_page(tmp_path: Path, subtype: str) -> None:
    info, wave = decoded(tmp_path, cut(encoded(WAVE, 48000, "OGG", subtype), 0.6))
    assert 0 < len(wave) < 2 * 48000
    assert "is cut off" in info.warnings[0]


def test_warning_comes_once(tmp_path: Path) -> None:
    info, _ = decoded(tmp_path, cut(WAV))
    list(audio.read_blocks(info))
    assert len(info.warnings) == 1


def test_mp3_without_a_length_may_end_anywhere(tmp_path: Path) -> None:
    bare, frames = split_tag(mp3(WAVE))
    info, wave = decoded(tmp_path, bare[:-10])
    assert len(wave) == (frames - 1) * 1152
    assert info.warnings == []


@pytest.mark.parametrize("unknown", [False, True])
def test_flac_goes_on_after_damage(tmp_path: Path, unknown: bool) -> None:
    data = bytearray(flac_of_unknown_length(FLAC) if unknown else FLAC)
    for at in (len(data) // 4, len(data) // 2):
        data[at : at + 200] = np.random.default_rng(0).bytes(200)
    info, wave = decoded(tmp_path, bytes(data))
    assert len(wave) > 1.3 * 48000
    assert "damaged" in info.warnings[0]
    with pytest.raises(InputError, match="damaged"):
        decoded(tmp_path, bytes(data), strict=True)


@pytest.mark.parametrize("subtype", ["VORBIS", "OPUS"])
def test_ogg_goes_on_after_damage(tmp_path: Path, subtype: str) -> None:
    data = bytearray(encoded(WAVE, 48000, "OGG", subtype))
    data[len(data) * 3 // 4] ^= 255
    info, wave = decoded(tmp_path, bytes(data))
    assert 48000 < len(wave) < 2 * 48000
    assert "header gives" in info.warnings[0]


def test_second_stream_damaged(tmp_path: Path) -> None:
    ogg = encoded(WAVE, 48000, "OGG", "VORBIS")
    broken = bytearray(ogg)
    broken[30:2000] = bytes(1970)
    info, wave = decoded(tmp_path, ogg + bytes(broken) + ogg)
    assert len(wave) >= 2 * 48000
    assert info.warnings


@pytest.mark.parametrize(
    ("name", "data"),
    [
        ("x.raw", bytes(1000)),
        ("x.raw", np.random.default_rng(1).bytes(5000)),
        ("x.wav", b"I am not a recording. " * 50),
        ("x.wav", WAV[:30]),
        ("x.flac", FLAC[:60]),
        ("x.mp3", mp3(WAVE)[:100]),
        ("x.ogg", encoded(WAVE, 48000, "OGG", "VORBIS")[:100]),
        ("x.m4a", b"\0\0\0\x18ftypM4A " + bytes(100)),
        ("x.wav", wav(b"", 0)),
        ("x.bin", b"\xff"),
    ],
    ids=["zeros", "noise", "text", "wav", "flac", "mp3", "ogg", "m4a", "wav-empty", "byte"],
)
def test_nothing_decodes(tmp_path: Path, name: str, data: bytes) -> None:
    with pytest.raises(InputError) as caught:
        decoded(tmp_path, data, name)
    assert "\n" not in str(caught.value)
    assert name in str(caught.value)


def test_random_damage_ends_in_sound_or_one_line(tmp_path: Path) -> None:
    random = np.random.default_rng(5)
    wave = speech(0.4)
    whole = [encoded(wave, 48000, kind) for kind in ("WAV", "FLAC", "OGG", "AIFF", "CAF")]
    whole += [encoded(wave, 48000, "OGG", "OPUS"), split_tag(mp3(wave))[0], encoded(wave, 48000, "WAV", "FLOAT")]
    for number in range(120):
        data = bytearray(whole[number % len(whole)])
        at = int(random.integers(len(data) if number % 3 else 60))
        size = int(random.integers(1, 400))
        data[at : at + size] = random.bytes(size) if number % 2 else b""
        with suppress(InputError):
            _, out = decoded(tmp_path, bytes(data))
            assert np.isfinite(out).all()

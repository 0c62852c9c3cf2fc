"""The same samples and tags give the same bytes, whatever the clock and the process."""

from __future__ import annotations

import struct
import time
from pathlib import Path

import numpy as np
import pytest
import soundfile

from fastvoicegrad import audio
from fastvoicegrad.audio.repeatable import ogg_checksum
from tests.conftest import vowels

KINDS = [
    (".wav", None),
    (".wav", "FLOAT"),
    (".flac", "24"),
    (".ogg", None),
    (".opus", None),
    (".mp3", None),
    (".aiff", None),
]


def write(path: Path, wave: np.ndarray, subtype: str | None) -> bytes:
    with audio.writing(path, 48000, subtype=subtype, tags={"title": "Títle", "comment": "one"}) as file:
        file.write(wave)
    return path.read_bytes()


@pytest.mark.parametrize(("suffix", "subtype"), KINDS)
def test_bytes_depend_on_the_samples_alone(tmp_path: Path, suffix: str, subtype: str | None) -> None:
    wave = vowels(3.0, rate=48000)
    first = write(tmp_path / f"a{suffix}", wave, subtype)
    time.sleep(1.1)  # the clock in a file counts seconds
    assert write(tmp_path / f"b{suffix}", wave, subtype) == first
    found, rate = soundfile.read(tmp_path / f"a{suffix}")
    assert (len(found), rate) == (len(wave), 48000)
    assert np.corrcoef(found, wave)[0, 1] > 0.9
    assert audio.read_tags(tmp_path / f"a{suffix}")["title"] == "Títle"


@pytest.mark.parametrize("suffix", [".ogg", ".opus"])
def test_checksums_of_pages_are_right(tmp_path: Path, suffix: str) -> None:
    """Decoders skip pages with a wrong one."""
    data = write(tmp_path / f"a{suffix}", vowels(2.0, rate=48000), None)
    at, pages = 0, 0
    while at < len(data):
        assert data[at : at + 4] == b"OggS"
        lengths = data[at + 27 : at + 27 + data[at + 26]]
        end = at + 27 + len(lengths) + sum(lengths)
        page = data[at : at + 22] + bytes(4) + data[at + 26 : end]
        assert struct.unpack("<II", data[at + 14 : at + 18] + data[at + 22 : at + 26]) == (1, ogg_checksum(page))
        at, pages = end, pages + 1
    assert pages > 2


def test_the_checksum_of_ogg() -> None:
    """Bit by bit, as RFC 3533 describes it."""
    data, register = b"some bytes", 0
    for byte in data:
        register ^= byte << 24
        for _ in range(8):
            register = (register << 1 ^ (0x04C11DB7 if register >> 31 else 0)) & 0xFFFFFFFF
    assert ogg_checksum(data) == register

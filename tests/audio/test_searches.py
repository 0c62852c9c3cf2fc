"""A file is read once to find its streams, whatever lies between its frames."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from fastvoicegrad import InputError
from fastvoicegrad.audio import mpeg, streams, window
from fastvoicegrad.audio.mpeg import parse_header
from fastvoicegrad.audio.streams import FLAC_MARK, find_streams
from tests.audio.sounds import encoded, mp3, speech, split_tag

MIB = 1 << 20
FIRST, LATER = (b"OggS\0" + bytes((flags,)) + bytes(21) for flags in (2, 0))  # pages without sound
JUNK = {  # repeated to a MiB
    "erased flash": b"\xff",
    "zeros": b"\0",
    "noise": np.random.default_rng(0).bytes(MIB),
    "headers of MP3": b"\xff\xfb\x92",
    "headers of MP3, several": b"\xff\xfb\x92\xff\xf3\x20\xff\xfd\x50\xff\xfa\x32",
    "parts of headers": b"\xff\xfb\xff\xf3\xff\xff",
    "parts of marks": b"OggfLaC\0\0\0",
    "empty pages": LATER + b"x",
}


class Counted(io.BytesIO):
    """A file that counts what is read of it."""

    reads = count = 0

    def read(self, size: int | None = -1, /) -> bytes:
        data = super().read(size)
        self.reads, self.count = self.reads + 1, self.count + len(data)
        return data


@pytest.fixture
def counted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    """Finds the streams of these bytes; gives the streams, or None where they are refused, and the file."""

    def find(data: bytes) -> tuple[list[streams.Stream] | None, Counted]:
        path, file = tmp_path / "x.bin", Counted(data)
        path.write_bytes(data)
        monkeypatch.setattr(streams, "open", lambda *_: file, raising=False)
        try:
            return find_streams(path), file
        except InputError:
            return None, file

    return find


def repeated(junk: bytes, size: int = MIB) -> bytes:
    return (junk * (size // len(junk) + 1))[:size]


@pytest.mark.parametrize("junk", JUNK.values(), ids=JUNK.keys())
@pytest.mark.parametrize("kind", ["MP3", "OGG", "FLAC"])
def test_junk_is_read_once(counted: Any, kind: str, junk: bytes) -> None:
    whole = split_tag(mp3(speech()))[0] if kind == "MP3" else encoded(speech(), 48000, kind)
    data = whole + repeated(junk) + whole
    before = sum(parse_header.cache_info()[:2])
    found, file = counted(data)
    assert found[-1].pieces[-1].stop == len(data)
    assert file.count < 2 * len(data)
    assert file.reads < len(data) / 1024
    assert sum(parse_header.cache_info()[:2]) - before < len(data)


def test_a_hole_of_erased_flash_takes_no_steps(counted: Any) -> None:
    bare, frames = split_tag(mp3(speech()))
    before = sum(parse_header.cache_info()[:2])
    (stream,), _ = counted(bare + repeated(b"\xff") + bare)
    assert stream.samples == 2 * 1152 * frames
    assert sum(parse_header.cache_info()[:2]) - before < 10 * frames


@pytest.mark.parametrize("junk", JUNK.values(), ids=JUNK.keys())
def test_what_does_not_begin_with_sound_is_not_searched(counted: Any, junk: bytes) -> None:
    found, file = counted(b"?" + repeated(junk, 4 * MIB))
    assert len(found) == 1
    assert file.count < MIB // 2


def test_headers_are_searched_for_as_they_are_parsed() -> None:
    for first in (0xFF, 0xFE):
        for code in range(1 << 16):
            header = bytes((first, code >> 8, code & 255, 0))
            assert (mpeg.HEADER.match(header) is not None) == (parse_header(header) is not None)


def test_a_window_finds_what_lies_across_the_ends_of_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(window, "BLOCK", 16)
    monkeypatch.setattr(window, "BEHIND", 4)
    random = np.random.default_rng(0)
    for _ in range(300):
        data = bytes(random.choice([65, 66], size=int(random.integers(100))).astype(np.uint8))
        mark = bytes(random.choice([65, 66], size=int(random.integers(1, window.LONGEST + 1))).astype(np.uint8))
        seen = window.Window(io.BytesIO(data), len(data))
        at, expected = 0, data.find(mark)
        while expected >= 0:
            at = seen.find(streams._searcher(mark), at, len(data))
            assert at == expected
            there = int(random.integers(len(data)))
            assert seen.read(there, 20) == data[there : there + 20]
            at, expected = at + 1, data.find(mark, at + 1)
        assert seen.find(streams._searcher(mark), at, len(data)) == len(data)


CHAINS = {
    "FLAC": lambda: encoded(speech(0.3), 48000, "FLAC"),
    "Vorbis": lambda: encoded(speech(0.3), 48000, "OGG", "VORBIS"),
    "MP3": lambda: mp3(speech(0.3)),
}


@pytest.mark.parametrize("kind", CHAINS)
def test_chains_have_a_bound(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: str) -> None:
    monkeypatch.setattr(streams, "MOST_STREAMS", 3)
    path, one = tmp_path / f"x.{kind.lower()}", CHAINS[kind]()
    path.write_bytes(one * 3)
    assert len(find_streams(path)) == 3
    path.write_bytes(one * 4)
    with pytest.raises(InputError, match=rf"x\.{kind.lower()} is a chain of more than 3 recordings; split it"):
        find_streams(path)


TAGGED = (bytes((0xFF, 0xF3, 0x14, 0xC0)) + bytes(9) + b"Xing").ljust(24, b"\0")  # frames of 24 bytes: with a tag,
PLAIN = TAGGED[:13].ljust(24, b"\0")  # and with sound
ENDLESS = {"FLAC": FLAC_MARK, "Ogg": FIRST + LATER, "MP3": TAGGED + PLAIN}


@pytest.mark.parametrize("headers", ENDLESS.values(), ids=ENDLESS.keys())
def test_a_file_of_headers_alone_is_not_read_to_its_end(counted: Any, headers: bytes) -> None:
    """Else the list of its streams would need forty times as much memory as the file."""
    found, file = counted(repeated(headers, 8 * MIB))
    assert found is None
    assert file.count < 64 * streams.MOST_STREAMS + MIB


def test_tags_without_sound_are_no_streams(counted: Any) -> None:
    found, _ = counted(TAGGED * 2 * streams.MOST_STREAMS)
    assert len(found) == 1
    assert found[0].claim is None  # not taken for an MP3

"""Text fields: what is read, what is written, and what no text field may hold."""

from __future__ import annotations

import struct
from pathlib import Path

import numpy as np
import pytest
import soundfile

from fastvoicegrad import InputError, audio
from fastvoicegrad.audio.tags import LONGEST, plain_text
from tests.conftest import vowels

TAGS = {"title": "Ein Lied", "artist": "Jürgen", "comment": "live"}
LONG_TAGS = {
    "title": "Grüße 日本",
    "artist": "Jürgen",
    "date": "2020",
    "album": "Ä" * 200,
    "comment": "live " * 20 + "ë",
}


@pytest.mark.parametrize("suffix", audio.FORMATS)
def test_fields_pass_through_every_format(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"x{suffix}"
    with audio.writing(path, 48000, tags=TAGS) as file:
        file.write(vowels(0.5, rate=48000))
    assert audio.read_tags(path) == TAGS


@pytest.mark.parametrize("suffix", audio.FORMATS)
def test_other_programs_read_long_fields(tmp_path: Path, suffix: str) -> None:
    """Long ones make LAME write ID3v2 beside ID3v1."""
    av = pytest.importorskip("av")
    path = tmp_path / f"x{suffix}"
    with audio.writing(path, 48000, tags=LONG_TAGS) as file:
        file.write(vowels(0.5, rate=48000))
    assert audio.read_tags(path).items() >= {"title": LONG_TAGS["title"], "artist": "Jürgen"}.items()
    with av.open(str(path)) as container:
        found = container.metadata | container.streams[0].metadata
    found = {name.lower().replace("author", "artist"): text for name, text in found.items()}
    assert (found["title"], found["artist"]) == (LONG_TAGS["title"], "Jürgen")
    if suffix == ".mp3":
        assert found.items() >= LONG_TAGS.items()
        assert audio.read_tags(path).items() >= LONG_TAGS.items()


def test_fields_of_other_containers(tmp_path: Path) -> None:
    av = pytest.importorskip("av")
    path = tmp_path / "x.m4a"
    with av.open(str(path), "w") as container:
        container.metadata.update({"title": "Ein Lied", "track": "3"})
        stream = container.add_stream("aac", rate=44100)
        frame = av.AudioFrame.from_ndarray(vowels(0.5, rate=44100)[None], format="fltp", layout="mono")
        frame.rate = 44100
        for packet in [*stream.encode(frame), *stream.encode(None)]:
            container.mux(packet)
    found = audio.read_tags(path)
    assert (found["title"], found["tracknumber"]) == ("Ein Lied", "3")


def test_fields_of_older_programs_of_windows(tmp_path: Path) -> None:
    pytest.importorskip("av")
    name = "Björn Müller".encode("cp1252") + bytes(2)
    title = "Müller 日本".encode() + b"\0"
    title += b"\0" * (len(title) % 2)
    field = b"INFOIART" + struct.pack("<I", len(name)) + name + b"INAM" + struct.pack("<I", len(title)) + title
    soundfile.write(tmp_path / "x.wav", vowels(0.5), 22050)
    data = (tmp_path / "x.wav").read_bytes() + b"LIST" + struct.pack("<I", len(field)) + field
    (tmp_path / "x.wav").write_bytes(data[:4] + struct.pack("<I", len(data) - 8) + data[8:])
    assert audio.read_tags(tmp_path / "x.wav") == {"artist": "Björn Müller", "title": "Müller 日本"}


@pytest.mark.parametrize("letter", ["声", "é", "x"])
@pytest.mark.parametrize("suffix", audio.FORMATS)
def test_a_long_field_keeps_the_mark(tmp_path: Path, suffix: str, letter: str) -> None:
    tags = audio.conversion_tags({"comment": letter * 2000}, letter * 200, "b", "nora")
    with audio.writing(tmp_path / f"x{suffix}", 48000, tags=tags | {"title": letter * 2000}) as file:
        file.write(vowels(0.5, rate=48000))
    found = audio.read_tags(tmp_path / f"x{suffix}")
    assert found["comment"].startswith("Converted speech: ")
    assert found["title"].startswith(letter * 10)
    assert not any("\ufffd" in text for text in found.values())


def test_what_has_no_fields(tmp_path: Path) -> None:
    (tmp_path / "text.wav").write_text("none")
    soundfile.write(tmp_path / "plain.wav", vowels(0.5), 22050)
    assert audio.read_tags(tmp_path / "text.wav") == audio.read_tags(tmp_path / "plain.wav") == {}
    assert audio.read_tags(tmp_path / "missing.wav") == {}


def test_a_name_that_stands_for_raw_samples(tmp_path: Path) -> None:
    soundfile.write(tmp_path / "x.wav", np.zeros(1000), 16000)
    (tmp_path / "x.wav").rename(tmp_path / "x.raw")
    assert audio.read_tags(tmp_path / "x.raw") == {}


def test_a_conversion_is_marked() -> None:
    marked = audio.conversion_tags(TAGS, "tool 1", "bundle 2", "nora")
    assert marked["comment"] == "Converted speech: voice of nora, made by tool 1, bundle bundle 2. live"
    assert (marked["title"], marked["software"]) == ("Ein Lied", "tool 1")
    assert audio.conversion_tags(marked, "tool 1", "bundle 2", "nora") == marked  # converted once more
    assert audio.conversion_tags({}, "t", "b", "v")["comment"] == "Converted speech: voice of v, made by t, bundle b"


@pytest.mark.parametrize(
    ("text", "plain"),
    [
        ("a\0b\nc\x1b[2J", "a b c [2J"),
        ("\udcff x", "? x"),
        ("  ", ""),
        ("y" * 5000, "y" * LONGEST),
        ("x" + "é" * 5000, "x" + "é" * ((LONGEST - 1) // 2)),
        ("Ü 日本", "Ü 日本"),
    ],
)
def test_fields_are_one_plain_line(tmp_path: Path, text: str, plain: str) -> None:
    assert plain_text(text) == plain
    with audio.writing(tmp_path / "x.flac", 22050, tags={"title": text}) as file:
        file.write(vowels(0.2))
    assert audio.read_tags(tmp_path / "x.flac").get("title", "") == plain


def test_other_fields_are_a_mistake(tmp_path: Path) -> None:
    with (
        pytest.raises(InputError, match="a text field is one of"),
        audio.writing(tmp_path / "x.wav", 22050, tags={"mood": "x"}),
    ):
        pass
    assert list(tmp_path.iterdir()) == []

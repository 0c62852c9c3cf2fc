"""Text fields of sound files: title, artist and so on are copied, and a conversion is marked as one."""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path

import soundfile

from ..errors import InputError
from .formats import foreign_tags
from .streams import after_id3

FIELDS = ("title", "artist", "album", "date", "genre", "tracknumber", "copyright", "license", "comment", "software")
MARK = "Converted speech"
LONGEST = 1000  # bytes of a field in UTF-8: libsndfile reads no field of WAV from about 2,000 on
LONGEST_PROGRAM = 100  # bytes of "software", to which libsndfile adds its own name
UNKNOWN = "\ufffd"  # stands where text is not UTF-8: older programs of Windows write Windows-1252
UTF8 = 3  # an encoding of ID3v2.4


def read_tags(path: str | Path) -> dict[str, str]:
    """The text fields of a recording, by the names in `FIELDS`; empty where there are none or nothing reads them."""
    native = str(path) if sys.platform == "win32" else os.fsencode(path)
    try:
        with soundfile.SoundFile(native) as file:
            found = file.copy_metadata()
    except (soundfile.SoundFileError, OSError, ValueError, TypeError):  # TypeError: by the name it is raw samples
        found = foreign_tags(Path(path))
    if any(UNKNOWN in str(text) for text in found.values()):
        others = foreign_tags(Path(path), "cp1252")
        found = found | {name: text for name, text in others.items() if UNKNOWN in str(found.get(name))}
    texts = {name: plain_text(str(found[name])) for name in FIELDS if found.get(name)}
    return {name: text for name, text in texts.items() if text}


def check_tags(tags: Mapping[str, str]) -> None:
    """Raises InputError where a field has another name than those in `FIELDS`, or is no text."""
    for name, text in tags.items():
        if name not in FIELDS or not isinstance(text, str):
            raise InputError(f"a text field is one of {', '.join(FIELDS)}, with a text; got {name!r}: {text!r}")


def set_tags(file: soundfile.SoundFile, tags: Mapping[str, str]) -> None:
    """Sets text fields of a file that is being written; those that its format does not have are left out.

    Args:
        tags: text by the names in `FIELDS`.
    Raises:
        InputError: see `check_tags`.
    """
    check_tags(tags)
    for name, text in tags.items():
        with suppress(soundfile.SoundFileError):
            setattr(file, name, plain_text(text, LONGEST_PROGRAM if name == "software" else LONGEST))


def declare_utf8(path: Path) -> None:
    """Makes the ID3v2.3 tag of a new MP3 file an ID3v2.4 tag in UTF-8, in place.

    libsndfile passes UTF-8 to LAME, which declares the fields as Latin-1. ID3v2.3 knows no UTF-8.
    """
    with open(path, "r+b") as file:
        end = after_id3(file, path.stat().st_size)
        file.seek(0)
        head = file.read(10)
        if head[:4] != b"ID3\x03":
            return
        fields, at = bytearray(file.read(end - len(head))), 0
        while at < len(fields) - 10 and fields[at]:
            length = int.from_bytes(fields[at + 4 : at + 8], "big")
            if fields[at : at + 4] == b"TYER":
                fields[at : at + 4] = b"TDRC"
            fields[at + 4 : at + 8] = _seven_bits(length)
            fields[at + 10] = UTF8
            at += 10 + length
        file.seek(3)
        file.write(b"\x04" + head[4:] + fields)


def _seven_bits(number: int) -> bytes:
    """A number as ID3v2.4 writes it: four bytes of seven bits."""
    return bytes(number >> 7 * place & 127 for place in (3, 2, 1, 0))


def conversion_tags(source: Mapping[str, str], tool: str, bundle: str, target: str) -> dict[str, str]:
    """The fields of a conversion: those of its source, and a comment that marks it as converted speech.

    Args:
        source: fields of the recording that is converted.
        tool: name and version of the program.
        bundle, target: names of the bundle and of the target voice.
    """
    mark = f"{MARK}: voice of {target}, made by {tool}, bundle {bundle}"
    comment = source.get("comment", "").removeprefix(mark).removeprefix(". ")  # of an earlier conversion
    return {**source, "comment": f"{mark}. {comment}" if comment else mark, "software": tool}


def plain_text(text: str, longest: int = LONGEST) -> str:
    """One line that any encoder takes: no control characters, no half characters, so many bytes in UTF-8 at most."""
    whole = text.encode("utf-8", "replace").decode("utf-8")
    line = " ".join("".join(c if c.isprintable() else " " for c in whole).split())
    return line.encode()[:longest].decode(errors="ignore")

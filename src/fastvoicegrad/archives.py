"""Bytes of files and of members of a .zip, read only where their kind and size are right."""

from __future__ import annotations

import errno
import io
import os
import stat
import zipfile
import zlib
from pathlib import Path

PIECE = 1 << 20  # bytes that are read at once
METHODS = (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED)  # others unpack without a limit
ZIP_ERRORS = (OSError, ValueError, RuntimeError, EOFError, IndexError, zlib.error, zipfile.BadZipFile)


class TooLargeError(ValueError):
    """A file is larger than anything of its kind can be."""


def is_file(path: Path) -> bool:
    """Whether `path` leads to a regular file: no folder, pipe or device. A name that cannot exist leads nowhere."""
    try:
        return stat.S_ISREG(path.stat().st_mode)
    except (OSError, ValueError, RuntimeError):  # too long, a loop of links, a zero byte
        return False


def read_from_folder(folder: Path, name: str, most: int) -> bytes:
    """The bytes of a regular file.

    Raises:
        FileNotFoundError: there is none.
        TooLargeError: it holds more than `most` bytes.
    """
    path = folder / name
    if not is_file(path):
        raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), str(path))
    with path.open("rb") as file:
        data = file.read(most + 1)
    if len(data) > most:
        raise TooLargeError(name)
    return data


def read_from_zip(path: Path, name: str, most: int) -> bytes:
    """The bytes of one member of a .zip, stored or deflated.

    Raises:
        FileNotFoundError: it has no such member.
        TooLargeError: the member holds more than `most` bytes.
        zipfile.BadZipFile: the archive is damaged, encrypted, ambiguous or packed by another method.
    """
    try:
        with _Archive(path) as file, zipfile.ZipFile(file) as archive:
            return _member(archive, name, most)
    except (FileNotFoundError, PermissionError, TooLargeError):
        raise
    except ZIP_ERRORS as error:
        raise zipfile.BadZipFile(str(error)) from error


class _Archive(io.FileIO):
    """A .zip that is read in small pieces only, so that a directory of a million names is refused."""

    def read(self, size: int | None = -1) -> bytes:
        everything = size is None or size < 0
        data = super().read(PIECE if everything else min(size or 0, PIECE)) or b""
        if len(data) == PIECE and (everything or (size or 0) > PIECE):
            raise zipfile.BadZipFile("a part of the archive is too large")
        return data


def _member(archive: zipfile.ZipFile, name: str, most: int) -> bytes:
    found = [info for info in archive.infolist() if info.filename == name]
    if not found:
        raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), name)
    encrypted = found[0].flag_bits & 1
    if len(found) > 1 or encrypted or found[0].compress_type not in METHODS:
        raise zipfile.BadZipFile(f"{name} is encrypted, there twice, or packed by another method")
    if found[0].file_size > most:
        raise TooLargeError(name)
    with archive.open(found[0]) as member:
        return b"".join(iter(lambda: member.read(PIECE), b""))

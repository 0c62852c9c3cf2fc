"""The log of an output folder: one JSON object a line for each recording that was finished, converted or not."""

from __future__ import annotations

import hashlib
import json
import os
import threading
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path

import msgspec

from ..errors import InputError
from ..files import lock, no_room, regular_file, shown

NAME = "fastvoicegrad.jsonl"
BLOCK = 1 << 20


class Entry(msgspec.Struct, frozen=True):
    """A line of the log.

    Attributes:
        source: absolute path of the recording.
        sha256: of its bytes; empty where they could not be read.
        settings: fingerprint of everything else that the result depends on; see `tasks.fingerprint`.
        output: place of the result below the output folder.
        output_sha256: of its bytes; empty where there is none.
        seconds: length of the recording; elapsed: seconds of work.
        warnings: findings about the recording, a sentence each.
        error: why there is no result, a sentence; empty where all went well.
    """

    source: str
    sha256: str
    settings: str
    output: str
    output_sha256: str = ""
    seconds: float = 0.0
    elapsed: float = 0.0
    warnings: tuple[str, ...] = ()
    error: str = ""


class Journal:
    """The log of a folder, locked: two runs do not convert into the same folder at once.

    A process that is killed while it writes leaves at most half a line, which the next run leaves aside.

    Raises:
        InputError: the folder or its log cannot be written, or another run uses it.
    """

    def __init__(self, folder: Path) -> None:
        self.folder, self.path = folder, folder / NAME
        try:
            folder.mkdir(parents=True, exist_ok=True)
            self._file = open(self.path, "ab", buffering=0)  # noqa: SIM115
        except FileExistsError as error:
            raise InputError(f"{shown(folder)} is not a folder; choose another name") from error
        except (OSError, ValueError) as error:
            reason = error.strerror if isinstance(error, OSError) else "its name is not valid"
            raise InputError(f"{shown(folder)}: no results can be written there ({reason})") from error
        if lock(self._file.fileno()) is False:
            self._file.close()
            raise InputError(f"{shown(folder)}: another run converts into this folder; wait for its end")
        self._adding = threading.Lock()
        self._entries, self._results = dict[str, Entry](), dict[str, Entry]()
        entries, self._torn = _read(self.path)
        for entry in entries:
            self._take(entry)

    def close(self) -> None:
        self._file.close()

    def add(self, entry: Entry) -> None:
        """Appends an entry; it replaces an earlier one of the same output. Several threads may do so.

        Raises:
            InputError: the disk is full, or the log cannot be written.
        """
        with self._adding:
            self._write(entry)

    def _write(self, entry: Entry) -> None:
        line = json.dumps(msgspec.to_builtins(entry)).encode() + b"\n"
        line, self._torn = (b"\n" + line if self._torn else line), True
        try:
            written = self._file.write(line)
        except OSError as error:
            raise InputError(f"{shown(self.path)} cannot be written ({error.strerror})") from error
        if written != len(line):
            raise no_room(self.path)
        with suppress(OSError):  # some file systems cannot
            os.fsync(self._file.fileno())  # as the result itself is
        self._torn = False
        self._take(entry)

    def _take(self, entry: Entry) -> None:
        self._entries[entry.output] = entry
        if not entry.error:
            self._results[entry.output] = entry

    @property
    def results(self) -> Mapping[str, Entry]:
        """The last result of each output. A conversion that fails later leaves it there."""
        return self._results

    def is_done(self, source: Path, output: Path, settings: str) -> bool:
        """Whether the result of a recording with these bytes and settings is there, and has the bytes of the log."""
        entry = self._entries.get(str(output))
        if entry is None or entry.error or entry.settings != settings:
            return False
        try:
            return is_as_written(self.folder, entry) and sha256_of_file(source) == entry.sha256
        except (OSError, InputError):
            return False


def is_as_written(folder: Path, entry: Entry) -> bool:
    """Whether a result still has the bytes of the log: no other program has changed it. Raises OSError."""
    return _digest(folder / entry.output) == entry.output_sha256


_digests: dict[Path, tuple[tuple[int, ...], str]] = {}  # the last state of each file, and its digest


def _digest(path: Path) -> str:
    """`sha256_of`, once for each state of a file: a folder that is watched is looked at again and again."""
    found = path.stat()
    state = found.st_ino, found.st_size, found.st_mtime_ns, found.st_ctime_ns
    known, digest = _digests.get(path, ((), ""))
    if known != state:
        digest = sha256_of(path)
        _digests[path] = state, digest
    return digest


def results_of(path: Path) -> Mapping[str, Entry]:
    """`Journal.results` of a log, which may be missing. Nothing is locked."""
    with suppress(OSError, ValueError):
        return {entry.output: entry for entry in _read(path)[0] if not entry.error}
    return {}


def _read(path: Path) -> tuple[list[Entry], bool]:
    """All entries, and whether the last line is torn. Lines that are no entries are left aside."""
    entries, line = list[Entry](), b"\n"
    with open(path, "rb") as file:
        for line in file:
            try:
                entries.append(msgspec.convert(json.loads(line), Entry))
            except (msgspec.MsgspecError, ValueError, RecursionError):
                continue
    return entries, not line.endswith(b"\n")


def sha256_of_file(path: str | os.PathLike[str]) -> str:
    """`sha256_of`, without waiting for a pipe. Raises InputError, too, where it is no file."""
    regular_file(path)
    return sha256_of(path)


def sha256_of(path: str | os.PathLike[str]) -> str:
    """Checksum of a file. Raises OSError where it cannot be read."""
    digest = hashlib.sha256()
    with open(path, "rb", buffering=0) as file:
        while block := file.read(BLOCK):
            digest.update(block)
    return digest.hexdigest()

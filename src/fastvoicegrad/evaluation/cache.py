"""Results stored by a digest of their inputs: nothing is computed twice, and a crash loses one utterance."""

from __future__ import annotations

import hashlib
import json
import os
from functools import cache
from pathlib import Path
from typing import Any

FileState = tuple[str, int, int]


def digest(*parts: str | bytes) -> str:
    """SHA-256 of the parts, each with its length: ("ab", "c") and ("a", "bc") differ."""
    whole = hashlib.sha256()
    for part in parts:
        data = part.encode() if isinstance(part, str) else part
        whole.update(len(data).to_bytes(8, "big") + data)
    return whole.hexdigest()


def file_state(path: str) -> FileState:
    """(path, size in bytes, time of the last change in ns). It changes when the file does."""
    status = os.stat(path)
    return path, status.st_size, status.st_mtime_ns


def fingerprint(path: str) -> str:
    """SHA-256 of a file, or of a folder's files and their names."""
    file = Path(path)
    if file.is_dir():
        return digest(*(part for f in sorted(file.iterdir()) if f.is_file() for part in (f.name, fingerprint(str(f)))))
    return _file_digest(file_state(path))


@cache
def _file_digest(state: FileState) -> str:
    return digest(Path(state[0]).read_bytes())


class Cache:
    """A folder of small JSON files named by a digest. Several processes may write at once."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def path(self, key: str, suffix: str = ".json") -> Path:
        """The file of a key; its folder is created."""
        path = self.folder / key[:2] / (key[2:] + suffix)
        path.parent.mkdir(parents=True, exist_ok=True)
        return path

    def get(self, key: str) -> Any:
        """The stored value; None if there is none."""
        path = self.path(key)
        return json.loads(path.read_text()) if path.exists() else None

    def put(self, key: str, value: Any) -> None:
        """Store a JSON value. A reader sees the whole file or none."""
        path = self.path(key)
        part = path.with_suffix(f".{os.getpid()}.part")
        part.write_text(json.dumps(value))
        part.replace(path)

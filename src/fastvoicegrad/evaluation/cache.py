"""Results that are kept by what they were made of: nothing is computed twice, and a crash loses one utterance."""

from __future__ import annotations

import hashlib
import json
import os
from functools import cache
from pathlib import Path
from typing import Any


def digest(*parts: str | bytes) -> str:
    """SHA-256 of the parts, kept apart from each other."""
    whole = hashlib.sha256()
    for part in parts:
        data = part.encode() if isinstance(part, str) else part
        whole.update(len(data).to_bytes(8, "big") + data)
    return whole.hexdigest()


@cache
def fingerprint(path: str) -> str:
    """SHA-256 of a file, or of the files of a folder with their names."""
    file = Path(path)
    if file.is_dir():
        return digest(*(part for f in sorted(file.iterdir()) if f.is_file() for part in (f.name, fingerprint(str(f)))))
    return digest(file.read_bytes())


class Cache:
    """A folder of small JSON files named by a digest; several processes may write at once."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def path(self, key: str, suffix: str = ".json") -> Path:
        """Where the result of a key is kept."""
        path = self.folder / key[:2] / (key[2:] + suffix)
        path.parent.mkdir(parents=True, exist_ok=True)
        return path

    def get(self, key: str) -> Any:
        """The result; None if there is none."""
        path = self.path(key)
        return json.loads(path.read_text()) if path.exists() else None

    def put(self, key: str, value: Any) -> None:
        path = self.path(key)
        part = path.with_suffix(f".{os.getpid()}.part")
        part.write_text(json.dumps(value))
        part.replace(path)

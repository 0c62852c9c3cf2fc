"""Copies of references that a library keeps, so that other encoders can make a voice again.

A copy is named after the checksum of its samples. It never changes, and no two voices can take each other's.
"""

from __future__ import annotations

import hashlib
import os
import re
from contextlib import suppress
from pathlib import Path

from .. import audio
from ..voice_file import RECORDING


def keep(recording: Path, folder: Path) -> str:
    """Store a mono FLAC copy of a recording in a folder; gives its file name.

    Raises:
        InputError: the recording cannot be read, or the folder cannot be written.
    """
    info = audio.inspect(recording)
    rate = min(max(info.rate, audio.LOWEST_RATE), audio.HIGHEST_RATE)
    checksum, copy = hashlib.sha256(str(rate).encode()), folder / "copy.flac"
    with audio.writing(copy, rate) as file:
        for block in audio.read_blocks(info, rate):
            file.write(block)
            checksum.update(block.tobytes())
    name = f"{checksum.hexdigest()[:32]}.flac"
    os.replace(copy, folder / name)
    return name


def remove_unused(folder: Path, needed: set[str]) -> None:
    """Delete all copies in a folder but the needed ones; what cannot be deleted stays."""
    with suppress(OSError):
        for path in folder.iterdir():
            if re.match(RECORDING, path.name) and path.name not in needed:
                path.unlink()

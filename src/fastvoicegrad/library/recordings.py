"""Copies of references that a library keeps, so that other encoders can make a voice again.

A copy is named after the checksum of its samples. It never changes, and no two voices can take each other's.
"""

from __future__ import annotations

import hashlib
import os
import re
import warnings
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import numpy as np

from .. import audio
from ..audio.level import ACTIVE_RANGE
from ..audio.offset import regrouped
from ..errors import AudioWarning
from ..mel import Array
from ..voice_file import RECORDING

LONGEST = 60  # seconds of a copy: more of them make no other voice
PAUSE = 10  # tenths of a second that are kept of a pause in a longer recording


def keep(recording: Path, folder: Path) -> str:
    """Store a mono FLAC copy of a recording in a folder; gives its file name.

    Of a recording longer than a minute it has the first minute, without long pauses. A warning tells so.

    Raises:
        InputError: the recording cannot be read, or the folder cannot be written.
    """
    info = audio.inspect(recording)
    copy = folder / "copy.flac"
    rate = audio.output_rate(info.rate, None, copy)
    checksum = hashlib.sha256(str(rate).encode())
    with audio.writing(copy, rate) as file:
        for block in _first_minute(info, rate):
            file.write(block)
            checksum.update(block.tobytes())
    name = f"{checksum.hexdigest()[:32]}.flac"
    if (folder / name).exists():  # on Windows, another process may be reading it
        copy.unlink()
    else:
        copy.rename(folder / name)
    return name


def _first_minute(info: audio.AudioInfo, rate: int) -> Iterator[Array]:
    """A recording up to a minute; of a longer one its first minute without what is quiet for over a second."""
    level = audio.level_of_blocks(audio.read_blocks(info))
    if info.seconds is None or info.seconds <= LONGEST:
        yield from audio.read_blocks(info, rate)
        return
    warnings.warn(f"{info.name} is longer than {LONGEST} s; its first {LONGEST} s of sound are kept", AudioWarning, 5)
    kept, quiet = 0, PAUSE
    for block in regrouped(audio.read_blocks(info, rate), rate // 10):
        quiet = 0 if np.sqrt(np.square(block).mean()) > ACTIVE_RANGE * level else quiet + 1
        if quiet <= PAUSE:
            yield block
            kept += 1
        if kept == 10 * LONGEST:
            return


def remove_unused(folder: Path, needed: set[str]) -> None:
    """Delete all copies in a folder but the needed ones; what cannot be deleted stays."""
    with suppress(OSError):
        for name in set(os.listdir(folder)) - needed:
            if re.match(RECORDING, name):
                with suppress(OSError):
                    (folder / name).unlink()

"""Recordings in folders, known by their suffixes."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from pathlib import Path

from ..files import same_file

# Suffixes of recordings and videos in folders. Files that are named themselves may have any.
_SUFFIXES = (
    "wav wave w64 rf64 flac mp3 mp2 mp1 ogg oga opus aiff aif aifc au snd caf m4a m4b mp4 m4v mov aac ac3 eac3 amr 3gp "
    "3g2 webm mka mkv wma wmv asf avi flv mpg mpeg ts mts m2ts vob ogv spx ape wv tta mpc dts dsf rm gsm voc mxf"
)
REPORT = ".adapt"  # suffix of the folders that 'fastvoicegrad adapt' fills with examples of other voices
SOUNDS = frozenset(f".{suffix}" for suffix in _SUFFIXES.split())


def recordings_below(top: Path, unreadable: Callable[[OSError], None], left_out: Path | None = None) -> Iterator[Path]:
    """Recordings in a folder and the folders in it, by name.

    Hidden ones, links to folders, and the reports of adapted voices are left out.

    Args:
        unreadable: called for each folder that cannot be read.
        left_out: a folder in which nothing is taken for a recording.
    """
    for parent, names, files in os.walk(top, onerror=unreadable):
        names[:] = sorted(name for name in names if not name.startswith(".") and not name.endswith(REPORT))
        if left_out is not None:
            names[:] = [name for name in names if not same_file(os.path.join(parent, name), left_out)]
        for name in sorted(files):
            if not name.startswith(".") and Path(name).suffix.lower() in SOUNDS:
                yield Path(parent, name)

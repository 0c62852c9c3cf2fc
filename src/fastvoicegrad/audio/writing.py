"""Writing sound files: under a temporary name first, so that a failure leaves nothing half-written."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import soundfile

from ..errors import InputError

FORMATS = {".wav": "WAV", ".flac": "FLAC", ".ogg": "OGG", ".opus": "OGG", ".mp3": "MP3", ".aiff": "AIFF"}


@contextmanager
def writing(path: str | Path, rate: int, seconds: float = 0.0) -> Iterator[soundfile.SoundFile]:
    """A mono sound file that appears under its name only when the block ends without an error.

    The suffix names the format (WAV and AIFF 16 bit, FLAC, OGG Vorbis, MP3, Opus). `seconds` is what is going
    to be written, to refuse early what a format cannot hold.

    Raises:
        InputError: unknown suffix, no such folder, not writable, a rate that the format does not know.
    """
    path = Path(path)
    kind = FORMATS.get(path.suffix.lower())
    if kind is None:
        raise InputError(f"{path}: unknown kind of file '{path.suffix}'; name it {', '.join(FORMATS)}")
    if not path.parent.is_dir():
        raise InputError(f"{path.parent} is not a folder; make it first")
    if path.is_dir():
        raise InputError(f"{path} is a folder; name a file in it")
    if kind == "WAV" and seconds * rate * 2 > 2**32 - 2**16:
        raise InputError(f"{path}: too long for WAV (4 GiB); write .flac instead")
    subtype = "OPUS" if path.suffix.lower() == ".opus" else soundfile.default_subtype(kind)
    try:
        handle, part = tempfile.mkstemp(dir=path.parent, prefix=f".{path.stem}.", suffix=path.suffix)
    except OSError as error:
        raise InputError(f"{path} cannot be written ({error.strerror}); choose another folder") from error
    os.close(handle)
    try:
        try:
            file = soundfile.SoundFile(part, "w", rate, 1, subtype, format=kind)
        except soundfile.LibsndfileError as error:
            raise InputError(f"{path}: {kind} cannot hold {rate} Hz; choose --rate 48000 or .wav") from error
        with file:
            yield file
        os.chmod(part, 0o666 & ~_umask())
        os.replace(part, path)
    except BaseException:
        Path(part).unlink(missing_ok=True)
        raise


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask

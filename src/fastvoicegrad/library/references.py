"""What people name as a voice: a recording, a folder of recordings, a ``.voice`` file, a name or a blend."""

from __future__ import annotations

import os
import re
from pathlib import Path

from ..audio.folders import recordings_below
from ..errors import InputError
from ..files import shown
from ..voice import Voice
from .folder import SUFFIX
from .names import BLEND, key, parse_blend
from .voice_library import LIST, Encoder, UnknownVoiceError, VoiceLibrary

Reference = str | os.PathLike[str] | Voice


def resolve(encoder: Encoder, reference: Reference, library: VoiceLibrary | None = None) -> Voice:
    """The voice of a recording, a ``.voice`` file, a name or a blend. A file comes before a voice of the same name.

    Args:
        library: None: the user's.
    Raises:
        UnknownVoiceError: neither a file nor a voice; the message gives similar names.
        InputError: a file cannot be read, or holds no voice. See also `VoiceLibrary.voice`.
    """
    if isinstance(reference, Voice):
        return reference
    path, text = Path(reference), os.fspath(reference)
    if not text.strip():
        raise InputError(f"the voice is empty; name a recording, a .voice file or a voice; {LIST}")
    is_file = _is_file(path)
    if not is_file and parse_blend(text):
        return _named(encoder, text, library or VoiceLibrary())
    if not is_file and re.search(r"\+|\)\s*$", text):
        raise InputError(f"{shown(text)}: no such file, and no blend like {BLEND}")
    return Voice.load(path) if path.suffix.lower() == SUFFIX else encoder.voice_of_recording(path)


def recordings_of(reference: Reference, library: VoiceLibrary | None = None) -> list[Reference]:
    """The recordings in a folder and the folders in it; every other reference stands for itself.

    A voice's name comes before a folder of that name.

    Raises:
        InputError: the folder holds no recordings, or a part of it cannot be read.
    """
    if isinstance(reference, Voice) or not os.path.isdir(reference):
        return [reference]
    if key(os.fspath(reference)) in map(key, (library or VoiceLibrary()).names()):
        return [reference]
    found = list[Reference](recordings_below(Path(reference), _refuse))
    if not found:
        raise InputError(f"the folder {shown(reference)} holds no recordings; name one that does, or a recording")
    return found


def is_recording(reference: Reference) -> bool:
    """Whether `resolve` takes a reference for a recording."""
    return not isinstance(reference, Voice) and _is_file(path := Path(reference)) and path.suffix.lower() != SUFFIX


def _refuse(error: OSError) -> None:
    raise InputError(f"{shown(error.filename)} cannot be read ({error.strerror}); name the recordings themselves")


def _is_file(path: Path) -> bool:
    return os.path.lexists(path) and not os.path.isdir(path)


def _named(encoder: Encoder, text: str, library: VoiceLibrary) -> Voice:
    try:
        return library.voice(encoder, text)
    except UnknownVoiceError as error:
        raise UnknownVoiceError(f"{shown(text)} is no file, and {error}") from error

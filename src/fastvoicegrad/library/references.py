"""What people name as a voice: a recording, a folder of recordings, a ``.voice`` file, a name or a blend."""

from __future__ import annotations

import os
import re
from collections.abc import Iterable
from pathlib import Path
from typing import TypeGuard

from ..audio.folders import recordings_below
from ..errors import InputError
from ..files import is_below, same_file, shown
from ..voice import Voice
from .folder import SUFFIX
from .names import BLEND, key, parse_blend
from .voice_library import LIST, Encoder, UnknownVoiceError, VoiceLibrary

Reference = str | os.PathLike[str] | Voice  # a recording, a folder, a .voice file, a name, a blend or a voice
References = Reference | Iterable[Reference]


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


def listed(references: References) -> list[Reference]:
    """References one by one.

    Raises:
        TypeError: something else than paths, names and voices.
    """
    several = isinstance(references, Iterable) and not isinstance(references, str | os.PathLike | Voice)
    given: list[Reference] = list(references) if several else [references]  # type: ignore[arg-type, list-item]
    for reference in given:
        if not isinstance(reference, str | os.PathLike | Voice):
            raise TypeError(
                f"a reference is a path, a name or a Voice, not {type(reference).__name__}; use voice_of for samples"
            )
    return given


def recordings_of(reference: Reference, library: VoiceLibrary | None = None) -> list[Reference]:
    """The recordings in a folder and the folders in it; every other reference stands for itself.

    Raises:
        InputError: the folder holds no recordings, or a part of it cannot be read.
    """
    if not is_folder(reference, library):
        return [reference]
    found = list[Reference](recordings_below(Path(reference), _refuse))
    if not found:
        raise InputError(f"the folder {shown(reference)} holds no recordings; name one that does, or a recording")
    return found


def is_folder(reference: Reference, library: VoiceLibrary | None = None) -> TypeGuard[str | os.PathLike[str]]:
    """Whether a reference is a folder. As text, a known voice's name or a blend comes before a folder of that name."""
    if isinstance(reference, Voice) or not os.path.isdir(reference):
        return False
    try:
        blend = parse_blend(reference) if isinstance(reference, str) else None
    except InputError:  # such as weights of 0: no voice has such a name
        blend = None
    return not blend or not {key(name) for name, _ in blend} <= set(map(key, (library or VoiceLibrary()).names()))


def check_apart(output: str | os.PathLike[str], references: Iterable[Reference]) -> None:
    """Raises InputError where an output would replace one of the references, or be one of them the next time."""
    for reference in references:
        if is_folder(reference) and is_below(output, reference):
            raise InputError(f"{shown(output)} would lie among the recordings of the voice; choose another folder")
        if not isinstance(reference, Voice) and not os.path.isdir(reference) and same_file(output, reference):
            raise InputError(f"{shown(output)} is a reference itself; choose another name for the output")


def reference_name(reference: Reference) -> str:
    """A reference in one word: the name of a voice or folder, or of a file without its suffix."""
    if isinstance(reference, Voice):
        return "+".join(Path(source).stem for source in reference.sources[:3]) or "a voice"
    if is_folder(reference):
        return Path(os.path.abspath(reference)).name
    return Path(reference).stem if _is_file(Path(reference)) else os.fspath(reference)


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

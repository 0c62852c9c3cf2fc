"""Voices by name: those that a user keeps in a folder, and the presets that ship with the package."""

from __future__ import annotations

from .names import one_line
from .references import (
    Reference,
    References,
    check_apart,
    is_folder,
    is_recording,
    listed,
    recordings_of,
    reference_name,
    resolve,
)
from .voice_library import NameTakenError, UnknownVoiceError, VoiceEntry, VoiceLibrary, entry_of_file, user_folder

__all__ = [
    "NameTakenError",
    "Reference",
    "References",
    "UnknownVoiceError",
    "VoiceEntry",
    "VoiceLibrary",
    "check_apart",
    "entry_of_file",
    "is_folder",
    "is_recording",
    "listed",
    "one_line",
    "recordings_of",
    "reference_name",
    "resolve",
    "user_folder",
]

"""Voices by name: those that a user keeps in a folder, and the presets that ship with the package."""

from __future__ import annotations

from .references import Reference, is_recording, recordings_of, resolve
from .voice_library import NameTakenError, UnknownVoiceError, VoiceEntry, VoiceLibrary, entry_of_file, user_folder

__all__ = [
    "NameTakenError",
    "Reference",
    "UnknownVoiceError",
    "VoiceEntry",
    "VoiceLibrary",
    "entry_of_file",
    "is_recording",
    "recordings_of",
    "resolve",
    "user_folder",
]

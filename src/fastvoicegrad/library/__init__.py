"""Voices by name: those that a user keeps in a folder, and the presets that ship with the package."""

from __future__ import annotations

from .voice_library import (
    NameTakenError,
    UnknownVoiceError,
    VoiceEntry,
    VoiceLibrary,
    entry_of_file,
    is_recording,
    resolve,
    user_folder,
)

__all__ = [
    "NameTakenError",
    "UnknownVoiceError",
    "VoiceEntry",
    "VoiceLibrary",
    "entry_of_file",
    "is_recording",
    "resolve",
    "user_folder",
]

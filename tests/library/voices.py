"""Two small voices, and what makes one of them of every recording."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from fastvoicegrad import InputError, Voice
from tests.test_voice import unit, voice_of

ANNA, BEN = voice_of(unit(1, 0), "e", 3.0, "a.wav", 40), voice_of(unit(0, 1), "e", 1.0, "b.wav", 40)


class Encoder:
    """Makes the same voice of every recording."""

    def __init__(self, fingerprint: str) -> None:
        self.bundle = self  # type: ignore[assignment]
        self.fingerprint = fingerprint
        self.recordings: list[Path] = []

    def voice_of_recording(self, path: Path, *, quiet: bool = False) -> Voice:
        if not path.is_file():
            raise InputError(f"{path}: no such file")
        self.recordings.append(path)
        return replace(ANNA, encoder=self.fingerprint, sources=[path.name])

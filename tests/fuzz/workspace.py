"""The good files that all cases start from, and what a case is."""

from __future__ import annotations

import io
import json
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import soundfile
from safetensors import numpy as safetensors

from fastvoicegrad import Bundle, Voice, VoiceConverter
from tests.conftest import vowels

Action = Callable[[], Any]  # the calls under test; gives the arrays that must be finite

# Suffix, libsndfile's format and subtype, rate, channels.
SOUNDS = [
    ("wav", "WAV", "PCM_16", 22050, 1),
    ("wav", "WAV", "PCM_U8", 8000, 1),
    ("wav", "WAV", "PCM_24", 44100, 2),
    ("wav", "WAV", "FLOAT", 16000, 1),
    ("wav", "WAV", "DOUBLE", 16000, 2),
    ("wav", "WAV", "ULAW", 8000, 1),
    ("wav", "WAV", "IMA_ADPCM", 16000, 1),
    ("wav", "WAVEX", "PCM_16", 16000, 6),
    ("wav", "RF64", "PCM_16", 16000, 1),
    ("w64", "W64", "PCM_16", 16000, 1),
    ("flac", "FLAC", "PCM_16", 22050, 1),
    ("flac", "FLAC", "PCM_24", 48000, 2),
    ("ogg", "OGG", "VORBIS", 22050, 1),
    ("ogg", "OGG", "VORBIS", 44100, 2),
    ("opus", "OGG", "OPUS", 48000, 1),
    ("mp3", "MP3", "MPEG_LAYER_III", 22050, 1),
    ("mp3", "MP3", "MPEG_LAYER_III", 44100, 2),
    ("aiff", "AIFF", "PCM_16", 22050, 1),
    ("au", "AU", "PCM_16", 16000, 1),
    ("caf", "CAF", "PCM_16", 16000, 1),
]


def encoded(sound: tuple[str, str, str, int, int], wave: np.ndarray) -> bytes:
    """A sound file in memory."""
    _, kind, subtype, rate, channels = sound
    buffer = io.BytesIO()
    soundfile.write(buffer, np.repeat(wave[:, None], channels, 1), rate, format=kind, subtype=subtype)
    return buffer.getvalue()


class Workspace:
    """Good inputs, made once for all cases of a process."""

    def __init__(self, bundle: Path) -> None:
        self.folder = bundle
        self.converter = VoiceConverter.load(bundle, threads=1)
        self.files = {file.name: file.read_bytes() for file in bundle.iterdir()}
        self.wave = vowels(0.6)
        self.reference = vowels(1.2, pitch=210, seed=3)
        self.voice: Voice = self.converter.voice_of(self.reference, 22050)

    @cached_property
    def sounds(self) -> list[bytes]:
        """One for each entry of `SOUNDS`."""
        return [encoded(sound, vowels(0.6, rate=sound[3])) for sound in SOUNDS]

    @cached_property
    def voice_file(self) -> bytes:
        return safetensors.save(self.voice_arrays(), {"voice": self.voice_text()})

    def voice_text(self) -> str:
        """The description in a .voice file."""
        v = self.voice
        return json.dumps(
            {"format": 3, "pitch": v.pitch, "encoder": v.encoder, "seconds": v.seconds, "sources": v.sources}
        )

    def voice_arrays(self) -> dict[str, np.ndarray]:
        """The arrays in a .voice file."""
        v = self.voice
        arrays = {"embedding": v.embedding, "keys": v.keys.astype(np.float16), "mel": v.mel.astype(np.float16)}
        return {name: np.ascontiguousarray(array) for name, array in arrays.items()}

    def opened(self, path: Path, damaged: str | None = None) -> VoiceConverter:
        """A converter of another bundle; it shares the loaded networks of this one, but for the `damaged` one."""
        bundle = Bundle.open(path, threads=1)
        same = {name: network.sha256 for name, network in self.converter.bundle.config.networks.items()}
        for name, session in self.converter.bundle._sessions.items():
            if name != damaged and bundle.config.networks[name].sha256 == same[name]:
                bundle._sessions[name] = session
        return VoiceConverter(bundle)

    def use(self, converter: VoiceConverter) -> Action:
        """A voice and a conversion."""

        def action() -> list[np.ndarray]:
            voice = converter.voice_of(self.reference, 22050)
            return [voice.embedding, voice.keys, converter.convert(self.wave[:7000], 22050, voice)]

        return action


@dataclass
class Case:
    """One case while it is made."""

    number: int
    folder: Path  # empty; whatever is left in it but `expected` is reported
    good: Workspace
    random: np.random.Generator
    expected: set[str] = field(default_factory=set)
    wrong_type: bool = False  # a TypeError is the right answer

    def write(self, name: str, data: bytes) -> Path:
        """An input file."""
        self.expected.add(name)
        path = self.folder / name
        path.parent.mkdir(exist_ok=True, parents=True)
        path.write_bytes(data)
        return path

"""What can be evaluated: bundles with a number of steps, anchors, and files that another tool converted."""

from __future__ import annotations

import os
from abc import ABC, abstractmethod
from functools import cache, cached_property
from pathlib import Path

import numpy as np
import soundfile

from .. import audio
from ..audio.folders import SOUNDS
from ..audio.level import TARGET_LEVEL, speech_level
from ..bundle import Bundle
from ..converter import VoiceConverter
from ..errors import InputError
from ..files import shown
from ..mel import MEL, log_mel
from ..training.data.corpus import Recording
from ..voice import Voice
from .cache import digest, fingerprint
from .pairs import Pair

THREADS = 1  # of a system while it renders; several processes render at once
# Of this process, by the encoders and the recording; the one that was used last is at the end.
_VOICES: dict[tuple[str, ...], Voice] = {}
MOST_VOICES = 300  # about a third of a megabyte each


class System(ABC):
    """A source of speech for a pair."""

    key: str  # identifies the system's output for a pair in the cache
    rate = MEL.sample_rate  # Hz

    @abstractmethod
    def __call__(self, pair: Pair) -> np.ndarray:
        """(N,) samples at `rate`."""

    def spoken(self, pair: Pair) -> Recording:
        """The recording whose words the output has."""
        return pair.source

    def depends(self, pair: Pair) -> tuple[str, ...]:
        """Digests of the recordings that the output depends on."""
        return tuple(fingerprint(r.path) for r in (pair.source, *pair.references))


class Natural(System):
    """The target's own recording of another sentence."""

    key = "natural"

    def __call__(self, pair: Pair) -> np.ndarray:
        return audio.read(pair.natural.path)

    def spoken(self, pair: Pair) -> Recording:
        return pair.natural

    def depends(self, pair: Pair) -> tuple[str, ...]:
        return (fingerprint(pair.natural.path),)


class Source(System):
    """The source, unchanged."""

    key = "source"

    def __call__(self, pair: Pair) -> np.ndarray:
        return audio.read(pair.source.path)

    def depends(self, pair: Pair) -> tuple[str, ...]:
        return (fingerprint(pair.source.path),)


class CopySynthesis(Source):
    """The source's mel through a bundle's vocoder: the upper bound of every system with that vocoder."""

    def __init__(self, bundle: str | None) -> None:
        self.bundle = bundle
        self.key = f"copy-synthesis {bundle_key(bundle)}"

    @cached_property
    def converter(self) -> VoiceConverter:
        return VoiceConverter.load(self.bundle, THREADS)

    def render(self, mel: np.ndarray) -> np.ndarray:
        """(80, T), natural log -> (256 T,)."""
        return self.converter.copy_synthesis(mel)

    def __call__(self, pair: Pair) -> np.ndarray:
        wave = super().__call__(pair)
        gain = np.float32(TARGET_LEVEL / speech_level(wave))
        return self.render(log_mel(wave * gain)) / gain


class HifiGanCopySynthesis(CopySynthesis):
    """The source's mel through HiFi-GAN V1."""

    def __init__(self, weights: str) -> None:
        if not Path(weights).is_file():
            raise InputError(f"{shown(weights)}: no such file; name HiFi-GAN's checkpoint, hifigan:FILE")
        self.weights = weights
        self.key = f"hifigan {fingerprint(weights)} {program_key('training/models/vocoder.py')}"

    def render(self, mel: np.ndarray) -> np.ndarray:
        import torch

        with torch.inference_mode():
            return np.asarray(self.model(torch.from_numpy(mel)[None])[0].numpy())

    @cached_property
    def model(self):  # type: ignore[no-untyped-def]
        from ..training.models.vocoder import HiFiGAN

        return HiFiGAN.from_checkpoint(self.weights)


class Conversion(System):
    """A bundle with a number of steps; None is the default bundle."""

    def __init__(self, bundle: str | None, steps: int = 1) -> None:
        self.bundle, self.steps = bundle, steps
        self.key = f"bundle {bundle_key(bundle)} steps {steps}"

    @cached_property
    def converter(self) -> VoiceConverter:
        return VoiceConverter.load(self.bundle, THREADS)

    def __call__(self, pair: Pair) -> np.ndarray:
        wave = audio.read(pair.source.path)
        return self.converter.convert(wave, self.rate, self.voice(pair), steps=self.steps)

    def voice(self, pair: Pair) -> Voice:
        """The voice of the pair's references."""
        return self.converter.voice([self._voice_of(r.path) for r in pair.references])

    def _voice_of(self, path: str) -> Voice:
        bundle = self.converter.bundle
        key = (bundle.encoders, bundle.fingerprint, fingerprint(path))
        _VOICES[key] = _VOICES.pop(key) if key in _VOICES else self.converter.voice([path])
        if len(_VOICES) > MOST_VOICES:
            del _VOICES[next(iter(_VOICES))]
        return _VOICES[key]


class LimitedReference(Conversion):
    """A bundle that is given the first seconds of a pair's references, joined."""

    def __init__(self, bundle: str | None, seconds: float) -> None:
        super().__init__(bundle)
        self.seconds = seconds
        self.key = digest(self.key, "seconds", str(seconds))

    def check(self, pair: Pair) -> None:
        """Raises InputError where the pair's references are shorter."""
        total = sum(recording.duration for recording in pair.references)
        if total < self.seconds:
            raise InputError(
                f"{pair.id}: the references have {total:.1f} s and {self.seconds:g} s are asked for; make pairs with "
                "more --references, or ask for fewer --seconds"
            )

    def voice(self, pair: Pair) -> Voice:
        """The voice of the first `seconds` of the references."""
        self.check(pair)
        wave = np.concatenate([audio.read(recording.path) for recording in pair.references])
        return self.converter.voice_of(wave[: round(self.seconds * MEL.sample_rate)], MEL.sample_rate, pair.target)


class Folder(System):
    """Files that another tool converted, named by the pairs' ids: SOURCE--TARGET.wav."""

    def __init__(self, folder: str) -> None:
        self.folder = Path(folder)
        self.key = "folder"

    def _file(self, pair: Pair) -> Path:
        wanted = self.folder / pair.id  # an id may hold "/"
        files = wanted.parent.iterdir() if wanted.parent.is_dir() else ()
        found = sorted(file for file in files if file.stem == wanted.name and file.suffix.lower() in SOUNDS)
        if not found:
            raise InputError(f"{self.folder} has no file for the pair {pair.id}; convert it, or leave the pair out")
        return found[0]

    def __call__(self, pair: Pair) -> np.ndarray:
        return audio.read(self._file(pair))

    def depends(self, pair: Pair) -> tuple[str, ...]:
        return (fingerprint(str(self._file(pair))),)


def bundle_key(path: str | None) -> str:
    """A digest of a bundle's settings, which include the checksums of its networks, and of the code that runs them."""
    return digest(repr(Bundle.open(path).config), program_key())


@cache
def program_key(*patterns: str) -> str:
    """A digest of the code that converts: an output of other code is no longer the system's.

    Args:
        patterns: of files below the package; without one, those that convert with a bundle.
    """
    top = Path(audio.__file__).parents[1]
    modules = sorted(path for one in patterns or ("*.py", "audio/*.py", "stream/*.py") for path in top.glob(one))
    return digest(*(fingerprint(str(path)) for path in modules))


def write(path: Path, wave: np.ndarray, rate: int) -> None:
    """Write an output as it is evaluated: FLAC, 16 bits. A reader sees the whole file or none."""
    part = path.with_suffix(f".{os.getpid()}.part")  # several processes may write at once
    soundfile.write(part, np.clip(wave, -1.0, 1.0), rate, format="FLAC", subtype="PCM_16")
    part.replace(path)

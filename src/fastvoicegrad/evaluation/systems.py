"""What can be judged: bundles, checkpoints with a number of steps, anchors, and files that another tool converted."""

from __future__ import annotations

import os
from abc import ABC, abstractmethod
from functools import cached_property
from pathlib import Path

import numpy as np
import soundfile

from ..audio import files as audio
from ..audio.level import TARGET_LEVEL, speech_level
from ..bundle import Bundle
from ..converter import VoiceConverter
from ..errors import InputError
from ..mel import MEL, log_mel
from ..training.data.corpus import Recording
from ..voice import Voice
from .cache import digest, fingerprint
from .pairs import Pair

THREADS = 1  # of a system while it renders; several pairs are rendered at once
_VOICES: dict[tuple[str, str], Voice] = {}  # of this process, by the encoders that made them and the recording


class System(ABC):
    """Speech for a pair."""

    key: str  # what its output hangs on, beside the pair

    @abstractmethod
    def __call__(self, pair: Pair) -> np.ndarray:
        """(N,) samples at `rate`."""

    rate = MEL.sample_rate

    def says(self, pair: Pair) -> Recording:
        """The recording whose words it says."""
        return pair.source

    def depends(self, pair: Pair) -> tuple[str, ...]:
        """Digests of the recordings that it reads."""
        return tuple(fingerprint(r.path) for r in (pair.source, *pair.references))


class Natural(System):
    """The target's own recording of another sentence."""

    key = "natural"

    def __call__(self, pair: Pair) -> np.ndarray:
        return audio.read(pair.natural.path)

    def says(self, pair: Pair) -> Recording:
        return pair.natural

    def depends(self, pair: Pair) -> tuple[str, ...]:
        return (fingerprint(pair.natural.path),)


class Source(System):
    """The source as it is."""

    key = "source"

    def __call__(self, pair: Pair) -> np.ndarray:
        return audio.read(pair.source.path)

    def depends(self, pair: Pair) -> tuple[str, ...]:
        return (fingerprint(pair.source.path),)


class CopySynthesis(Source):
    """The source's mel through a bundle's vocoder: the ceiling of every system with that vocoder."""

    def __init__(self, bundle: str | None) -> None:
        self.bundle = bundle
        self.key = f"copy-synthesis {bundle_key(bundle)}"

    @cached_property
    def converter(self) -> VoiceConverter:
        return VoiceConverter.load(self.bundle, THREADS)

    def render(self, mel: np.ndarray) -> np.ndarray:
        return self.converter.render(mel, 0, slice(0, mel.shape[1]), 0.0, seed=0)[0]

    def __call__(self, pair: Pair) -> np.ndarray:
        wave = super().__call__(pair)
        gain = np.float32(TARGET_LEVEL / speech_level(wave))
        return self.render(log_mel(wave * gain)) / gain


class HifiGanCopySynthesis(CopySynthesis):
    """The same with HiFi-GAN V1."""

    def __init__(self, weights: str) -> None:
        self.weights = weights
        self.key = f"hifigan {fingerprint(weights)}"

    def render(self, mel: np.ndarray) -> np.ndarray:
        import torch

        with torch.inference_mode():
            return np.asarray(self.model(torch.from_numpy(mel)[None])[0].numpy())

    @cached_property
    def model(self):  # type: ignore[no-untyped-def]
        from ..training.models.vocoder import HiFiGAN

        return HiFiGAN.from_checkpoint(self.weights)


class Conversion(System):
    """A bundle with a number of steps."""

    def __init__(self, bundle: str | None, steps: int) -> None:
        self.bundle, self.steps = bundle, steps
        self.key = f"bundle {bundle_key(bundle)} steps {steps}"

    @cached_property
    def converter(self) -> VoiceConverter:
        return VoiceConverter.load(self.bundle, THREADS)

    def __call__(self, pair: Pair) -> np.ndarray:
        voice = self.converter.voice([self._known(r.path) for r in pair.references])
        return self.converter.convert(audio.read(pair.source.path), self.rate, voice, steps=self.steps)

    def _known(self, path: str) -> Voice:
        key = (self.converter.bundle.fingerprint, path)
        if key not in _VOICES:
            _VOICES[key] = self.converter.voice([path])
        return _VOICES[key]


class Folder(System):
    """Files that another tool converted, named by the pairs' ids, e.g. SOURCE--TARGET.wav."""

    def __init__(self, folder: str) -> None:
        self.folder = Path(folder)
        self.key = "folder"

    def _file(self, pair: Pair) -> Path:
        found = sorted(self.folder.glob(f"{pair.id}.*"))
        if not found:
            raise InputError(f"{self.folder} has no file for the pair {pair.id}; convert it, or leave the pair out")
        return found[0]

    def __call__(self, pair: Pair) -> np.ndarray:
        return audio.read(self._file(pair))

    def depends(self, pair: Pair) -> tuple[str, ...]:
        return (fingerprint(str(self._file(pair))),)


def bundle_key(path: str | None) -> str:
    """A digest of all networks of a bundle and of its settings."""
    config = Bundle.open(path).config
    return digest(repr(config))


def make_system(spec: str, work: Path, base: str | None = None) -> System:
    """A system by its name.

    Args:
        spec: ``natural``, ``source``, ``copy-synthesis[:BUNDLE]``, ``hifigan:WEIGHTS``, ``folder:PATH``,
            ``BUNDLE[@STEPS]`` with a bundle's folder or zip or ``default``, or ``CHECKPOINT.safetensors[@STEPS]`` of
            a teacher or student.
        work: folder for what has to be made first: a bundle, from a checkpoint.
        base: the bundle whose other networks a checkpoint is used with; None: the default one.
    Raises:
        InputError: there is no such system.
    """
    kind, _, path = spec.partition(":")
    match kind:
        case "natural":
            return Natural()
        case "source":
            return Source()
        case "copy-synthesis":
            return CopySynthesis(path if path not in ("", "default") else None)
        case "hifigan":
            return HifiGanCopySynthesis(path)
        case "folder":
            return Folder(path)
    name, _, steps = spec.partition("@")
    if steps and not steps.isdecimal():
        raise InputError(f"{spec}: what follows '@' is a number of steps, e.g. {name}@6")
    if name.endswith(".safetensors"):
        name = str(bundle_of_checkpoint(Path(name), work, base))
    return Conversion(None if name == "default" else name, int(steps or 1))


def bundle_of_checkpoint(path: Path, work: Path, base: str | None) -> Path:
    """A bundle of a teacher's or student's checkpoint and the other networks of `base`; made once."""
    from ..training.checkpoint import read_meta
    from ..training.export import with_converter

    if not path.is_file():
        raise InputError(f"{path}: no such checkpoint")
    folder = work / digest(fingerprint(str(path)), bundle_key(base))[:16]
    if not (folder / "config.json").exists():
        with_converter(folder, Bundle.open(base), path, teacher=read_meta(path)["task"] == "teacher", name=path.stem)
    return folder


def write(path: Path, wave: np.ndarray, rate: int) -> None:
    """A rendering as it is judged: 16 bits, whole or not at all."""
    part = path.with_suffix(f".{os.getpid()}.part")  # several processes may write at once
    soundfile.write(part, np.clip(wave, -1.0, 1.0), rate, format="FLAC", subtype="PCM_16")
    part.replace(path)

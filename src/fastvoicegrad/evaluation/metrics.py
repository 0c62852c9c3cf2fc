"""What a metric is, and which there are. To add one: a class like those below in a file of its own, and its line in
`METRICS`."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Literal, TypeVar

import numpy as np

from ..audio import files as audio
from ..training.data.corpus import Recording
from .cache import digest, fingerprint
from .pairs import Pair

RATE = 16000  # Hz, of all that metrics hear
Figures = dict[str, float | str]
Result = TypeVar("Result")


@dataclass(frozen=True)
class Column:
    """One figure of an utterance."""

    name: str
    better: Literal["higher", "lower", ""] = ""
    weight: str = ""  # the figure that says how much an utterance counts in the mean; "": all alike
    digits: int = 2


@dataclass(frozen=True)
class Case:
    """One utterance of a system: what was asked for, and samples (N,) at 16 kHz."""

    pair: Pair
    wave: np.ndarray
    text: str | None  # what is said in it, where that is known


class Metric(ABC):
    """Something that measures utterances. Weights are loaded when the first one is measured."""

    version: str  # model and version: printed, and part of the cache's key
    columns: tuple[Column, ...]

    @abstractmethod
    def __call__(self, case: Case) -> Figures:
        """The figures of `columns`, and texts for the record; {} where this utterance has none."""

    def depends(self, case: Case) -> tuple[str, ...]:
        """What else than the wave the figures hang on."""
        return ()


@lru_cache(maxsize=64)
def heard(path: str) -> np.ndarray:
    """A recording, (N,) at 16 kHz."""
    return audio.read(path, RATE)


def once(function: Callable[[np.ndarray], Result]) -> Callable[[np.ndarray], Result]:
    """A function of a wave that remembers what it made of each: the same recordings are in many pairs."""
    known: dict[str, Result] = {}

    def remembering(wave: np.ndarray) -> Result:
        key = digest(wave.tobytes())
        if key not in known:
            known[key] = function(wave)
        return known[key]

    return remembering


def prints(*recordings: Recording) -> tuple[str, ...]:
    return tuple(fingerprint(r.path) for r in recordings)


@dataclass(frozen=True)
class Ruler:
    """How a metric is made: its class in a module of this package, the weights and the packages that it needs."""

    module: str
    make: Callable[[Any, str], Metric]  # the module, and the weights' path
    weights: str = ""  # file or folder among the metric_weights
    packages: tuple[str, ...] = ()

    def lacks(self, metric_weights: Path) -> str:
        """A line that says what is missing; "" if nothing is."""
        for package in self.packages:
            if find_spec(package) is None:
                return f"{self.weights or self.module}: left out, it needs the package {package}"
        if self.weights and not (metric_weights / self.weights).exists():
            return f"{self.weights}: left out, it is not in {metric_weights}"
        return ""


METRICS = (
    Ruler("quality", lambda m, _: m.Dnsmos(), packages=("speechmos",)),
    Ruler("quality", lambda m, _: m.DnsmosP808(), packages=("speechmos",)),
    Ruler("quality", lambda m, _: m.DistillMos(), packages=("distillmos",)),
    Ruler("quality", lambda m, path: m.Utmos(path), "utmos.jit"),
    Ruler("distortion", lambda m, _: m.MelCepstralDistortion(), packages=("librosa",)),
    Ruler("asr", lambda m, path: m.Words(m.Moonshine(path)), "moonshine", ("jiwer", "tokenizers")),
    Ruler("asr", lambda m, path: m.Words(m.WhisperAsr(path)), "whisper.pt", ("jiwer", "tokenizers", "whisper")),
    Ruler("speaker", lambda m, path: m.Likeness(m.CamPlus(path)), "campplus.pt", ("speakerlab", "torchaudio")),
    Ruler("speaker", lambda m, path: m.Likeness(m.Ecapa(path)), "ecapa.ckpt", ("speechbrain",)),
    Ruler("speaker", lambda m, path: m.Likeness(m.Ge2e(path)), "ge2e.pt", ("librosa",)),
    Ruler("pitch", lambda m, _: m.Melody(), packages=("swift_f0",)),
)


def available(metric_weights: Path) -> tuple[list[Metric], list[str]]:
    """The metrics whose weights and packages are there, and a line for each that is left out."""
    metrics, missing = [], []
    for ruler in METRICS:
        if lack := ruler.lacks(metric_weights):
            missing.append(lack)
        else:
            module = import_module(f".{ruler.module}", __package__)
            metrics.append(ruler.make(module, str(metric_weights / ruler.weights)))
    return metrics, missing

"""The interface of a metric, and what metrics share."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import lru_cache
from typing import Literal, TypeVar

import numpy as np

from .. import audio
from ..errors import InputError
from ..training.data.corpus import Recording
from .cache import FileState, digest, file_state, fingerprint
from .pairs import Pair

RATE = 16000  # Hz, of every wave that a metric measures
REASON = 200  # characters of an error that a message quotes
Figures = dict[str, float | str]
Result = TypeVar("Result")


@dataclass(frozen=True)
class Column:
    """One figure of an utterance.

    Attributes:
        better: which direction is better; "" if neither.
        weight: name of the figure that weights the utterances in the mean; "" weights all equally.
        digits: decimals in tables.
    """

    name: str
    better: Literal["higher", "lower", ""] = ""
    weight: str = ""
    digits: int = 2


@contextmanager
def in_one_line(what: str, advice: str) -> Iterator[None]:
    """Turns whatever goes wrong into one line: packages and weights raise many kinds of errors.

    Args:
        what: goes wrong, and `advice`: what to do about it; the message's first and last words.
    Raises:
        InputError: in place of any other error but MemoryError.
    """
    try:
        yield
    except (InputError, MemoryError):
        raise
    except Exception as error:
        reason = " ".join(str(error).split())[:REASON] or type(error).__name__
        raise InputError(f"{what} ({reason}); {advice}") from error


def is_english(language: str | None) -> bool:
    """Whether a recording's language is English, such as "en-GB"; it counts as English where none is named."""
    return (language or "en").lower().split("-")[0] == "en"


def english_text(recording: Recording) -> str | None:
    """The words of a recording, where they are known and English."""
    return recording.text if is_english(recording.language) else None


@dataclass(frozen=True)
class Utterance:
    """One output of a system.

    Attributes:
        pair: the conversion that it belongs to.
        wave: (N,) at 16 kHz.
        text: its words, where they are known and English: so are the recognisers that compare with them.
        of_source: whether it was made of the source; a natural recording of the target was not.
    """

    pair: Pair
    wave: np.ndarray
    text: str | None
    of_source: bool = True

    @property
    def repeats_source(self) -> bool:
        """Whether it has the words of the pair's source."""
        return self.of_source or (self.text is not None and self.text == self.pair.source.text)


class Metric(ABC):
    """A measurement of utterances. It loads its weights at the first call."""

    version: str  # model and version: printed, and part of the cache's key
    columns: tuple[Column, ...]

    @abstractmethod
    def __call__(self, utterance: Utterance) -> Figures:
        """The figures of `columns` by name, and texts for the record; {} where the metric does not apply."""

    def depends(self, utterance: Utterance) -> tuple[str, ...]:
        """The inputs beside the wave on which the figures depend."""
        return ()


def load_16k(path: str) -> np.ndarray:
    """A recording, (N,) at 16 kHz."""
    return _load_16k(file_state(path))


@lru_cache(maxsize=64)
def _load_16k(state: FileState) -> np.ndarray:
    return audio.read(state[0], RATE)


def memoised(function: Callable[[np.ndarray], Result]) -> Callable[[np.ndarray], Result]:
    """A function of a wave that keeps its results: many pairs share recordings."""
    results: dict[str, Result] = {}

    def remembering(wave: np.ndarray) -> Result:
        key = digest(wave.tobytes())
        if key not in results:
            results[key] = function(wave)
        return results[key]

    return remembering


def fingerprints(*recordings: Recording) -> tuple[str, ...]:
    """Digests of the recordings' files."""
    return tuple(fingerprint(r.path) for r in recordings)

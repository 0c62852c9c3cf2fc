"""The paper's protocol: every ordered pair of unseen voices, the same number of sentences for each."""

from __future__ import annotations

import itertools
from collections import defaultdict
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from ..data.corpus import Recording


@dataclass(frozen=True)
class Pair:
    """One conversion: `source` to the voice of `references`, which say other sentences than the source."""

    source: Recording
    target: str
    references: tuple[Recording, ...]
    natural: Recording  # another recording of the target, the yardstick of "natural speech"

    @property
    def id(self) -> str:
        return f"{self.source.id}--{self.target}"


def make_pairs(
    recordings: list[Recording],
    sentences: int,
    references: int = 3,
    seed: int = 0,
    keep: Callable[[Recording], bool] = lambda r: True,
) -> list[Pair]:
    """All ordered pairs of the voices of `recordings`, the same `sentences` of a voice for every target, seeded.

    Raises:
        ValueError: a voice has too few recordings.
    """
    by_voice: dict[str, list[Recording]] = defaultdict(list)
    for recording in recordings:
        if keep(recording):
            by_voice[recording.voice].append(recording)
    random = np.random.default_rng(seed)
    for voice, own in by_voice.items():
        if len(own) < sentences + references + 1:
            raise ValueError(f"{voice} has too few recordings for {sentences} sentences and {references} references")
    chosen = {
        voice: [own[i] for i in sorted(random.choice(len(own), sentences, replace=False))]
        for voice, own in sorted(by_voice.items())
    }
    pairs = []
    for voice, target in itertools.permutations(sorted(by_voice), 2):
        for index, source in enumerate(chosen[voice]):
            natural = _saying_something_else(chosen[target], source)[index % (sentences - 1)]
            free = [r for r in _saying_something_else(by_voice[target], source) if r.id != natural.id]
            picks = random.choice(len(free), references, replace=False)
            pairs.append(Pair(source, target, tuple(free[i] for i in picks), natural))
    return pairs


def _saying_something_else(recordings: list[Recording], than: Recording) -> list[Recording]:
    return [r for r in recordings if r.text is None or r.text != than.text]

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
    """All ordered pairs of the voices of `recordings`, `sentences` sources for each, seeded.

    Raises:
        ValueError: a voice has too few recordings.
    """
    by_voice: dict[str, list[Recording]] = defaultdict(list)
    for recording in recordings:
        if keep(recording):
            by_voice[recording.voice].append(recording)
    random = np.random.default_rng(seed)
    pairs = []
    for source, target in itertools.permutations(sorted(by_voice), 2):
        own, other = by_voice[source], by_voice[target]
        if len(own) < sentences or len(other) < references + 2:
            raise ValueError(f"{source} or {target} has too few recordings for {sentences} sentences")
        for index in sorted(random.choice(len(own), sentences, replace=False)):
            free = [r for r in other if r.text is None or r.text != own[index].text]
            *chosen, natural = random.choice(len(free), references + 1, replace=False)
            pairs.append(Pair(own[index], target, tuple(free[i] for i in chosen), free[natural]))
    return pairs

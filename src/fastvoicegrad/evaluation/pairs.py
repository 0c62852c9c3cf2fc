"""The paper's protocol: every ordered pair of unseen voices, the same number of sentences for each."""

from __future__ import annotations

import itertools
import json
import os
from collections import defaultdict
from collections.abc import Callable, Iterable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from ..errors import InputError
from ..training.data.corpus import Recording, read_manifest

HOW = "make one with 'fastvoicegrad evaluate --make-pairs MANIFEST'"


@dataclass(frozen=True)
class Pair:
    """One conversion: `source` to the voice of `references`, which say other sentences than the source."""

    source: Recording
    target: str
    references: tuple[Recording, ...]
    natural: Recording  # another recording of the target, the yardstick of "natural speech"
    parallel: Recording | None = None  # the target saying what the source says, where there is such a recording

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

    Args:
        keep: whether a recording may be converted, or stand for natural speech; any may be a reference.
    Raises:
        ValueError: a voice has too few recordings, or there are not two voices.
    """
    by_voice: dict[str, list[Recording]] = defaultdict(list)
    for recording in recordings:
        by_voice[recording.voice].append(recording)
    if len(by_voice) < 2:
        raise ValueError("fewer than two voices are left")
    random = np.random.default_rng(seed)
    sources = {voice: [r for r in own if keep(r)] for voice, own in by_voice.items()}
    for voice, own in by_voice.items():
        if len(sources[voice]) < sentences or len(own) < sentences + references + 1:
            raise ValueError(f"{voice} has too few recordings for {sentences} sentences and {references} references")
    chosen = {
        voice: [own[i] for i in sorted(random.choice(len(own), sentences, replace=False))]
        for voice, own in sorted(sources.items())
    }
    pairs = []
    for voice, target in itertools.permutations(sorted(by_voice), 2):
        for index, source in enumerate(chosen[voice]):
            natural = _saying_something_else(chosen[target], source)[index % (sentences - 1)]
            free = [r for r in _saying_something_else(by_voice[target], source) if r.id != natural.id]
            picks = random.choice(len(free), references, replace=False)
            same = [r for r in by_voice[target] if r.text is not None and r.text == source.text]
            pairs.append(Pair(source, target, tuple(free[i] for i in picks), natural, same[0] if same else None))
    return pairs


def pairs_of_manifest(
    manifest: Path, corpora: list[str], split: str, sentences: int, references: int, seed: int, longest: float
) -> list[Pair]:
    """`make_pairs` within each corpus (of all that the manifest's split has, if none is named), with sources of up to
    `longest` seconds.

    Raises:
        InputError: there is nothing to make pairs of.
    """
    recordings = [r for r in read_manifest(manifest) if r.split == split]
    known = sorted({r.corpus for r in recordings})
    if unknown := set(corpora) - set(known):
        raise InputError(
            f"{manifest} has no split '{split}' of {', '.join(sorted(unknown))}; it has {', '.join(known)}"
        )
    try:
        return [
            pair
            for corpus in corpora or known
            for pair in make_pairs(
                [r for r in recordings if r.corpus == corpus],
                sentences,
                references,
                seed,
                lambda r: r.duration <= longest,
            )
        ]
    except ValueError as error:
        raise InputError(f"{error}; ask for fewer --sentences or --references, or a greater --longest") from error


def _saying_something_else(recordings: list[Recording], than: Recording) -> list[Recording]:
    return [r for r in recordings if r.text is None or r.text != than.text]


def write_pairs(path: Path, pairs: Iterable[Pair]) -> None:
    """A protocol file: a JSON object a line, recordings by their paths relative to its folder."""
    folder = path.resolve().parent

    def relative(value: Any) -> Any:
        if isinstance(value, dict):
            return {k: os.path.relpath(v, folder) if k == "path" else relative(v) for k, v in value.items()}
        return [relative(v) for v in value] if isinstance(value, (list, tuple)) else value

    folder.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(json.dumps(relative(asdict(pair))) + "\n" for pair in pairs))


def read_pairs(path: Path) -> list[Pair]:
    """Raises InputError: there is no such protocol, or a line of it is not a pair."""
    folder = path.resolve().parent

    def recording(row: dict[str, Any]) -> Recording:
        return Recording(**row | {"path": os.path.normpath(folder / row["path"])})

    if not path.is_file():
        raise InputError(f"{path}: no such file; {HOW}")
    pairs = []
    for number, line in enumerate(path.read_text().splitlines(), 1):
        try:
            row = json.loads(line)
            references = tuple(recording(r) for r in row["references"])
            parallel = recording(row["parallel"]) if row.get("parallel") else None
            pairs.append(Pair(recording(row["source"]), row["target"], references, recording(row["natural"]), parallel))
        except (ValueError, KeyError, TypeError) as error:
            raise InputError(f"{path}, line {number} is not a pair ({error}); {HOW}") from error
    if not pairs:
        raise InputError(f"{path} holds no pair; {HOW}")
    return pairs

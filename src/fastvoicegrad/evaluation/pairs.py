"""The paper's protocol: every ordered pair of unseen voices, the same number of sentences for each."""

from __future__ import annotations

import itertools
import json
import os
from collections import defaultdict
from collections.abc import Callable, Iterable
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from ..errors import InputError
from ..files import new_folder, replacing, text_lines
from ..training.data.corpus import Recording, read_manifest

ADVICE = "make one with 'fastvoicegrad dev pairs'"


@dataclass(frozen=True)
class Pair:
    """One conversion.

    Attributes:
        source: the recording to convert.
        target: the voice to convert it to.
        references: recordings of the target with other sentences than the source.
        natural: one more recording of the target, for comparison with natural speech.
        parallel: the target's recording of the source's sentence, where there is one.
    """

    source: Recording
    target: str
    references: tuple[Recording, ...]
    natural: Recording
    parallel: Recording | None = None

    @property
    def id(self) -> str:
        return f"{self.source.id}--{self.target}"

    @property
    def recordings(self) -> tuple[Recording, ...]:
        """All recordings of the pair."""
        return (self.source, *self.references, self.natural, *((self.parallel,) if self.parallel else ()))

    @property
    def is_self(self) -> bool:
        """Whether source and target are the same voice."""
        return self.source.voice == self.target


def make_pairs(
    recordings: list[Recording],
    sentences: int,
    references: int = 3,
    seed: int = 0,
    keep: Callable[[Recording], bool] = lambda r: True,
    self_pairs: bool = False,
) -> list[Pair]:
    """All ordered pairs of the voices of `recordings`; a voice has the same source sentences for every target.

    Args:
        sentences: sources of each voice, drawn with `seed`.
        references: recordings of the target in each pair.
        keep: whether a recording may be a source or natural speech. Any recording may be a reference.
        self_pairs: pair every voice with itself instead.
    Raises:
        ValueError: a voice has too few recordings, or there are too few voices.
    """
    by_voice: dict[str, list[Recording]] = defaultdict(list)
    for recording in recordings:
        by_voice[recording.voice].append(recording)
    if len(by_voice) < (1 if self_pairs else 2):
        raise ValueError("fewer than two voices are left")
    random = np.random.default_rng(seed)
    eligible = {voice: [r for r in of_voice if keep(r)] for voice, of_voice in by_voice.items()}
    for voice, of_voice in by_voice.items():
        if len(eligible[voice]) < sentences or len(of_voice) < sentences + references + 1:
            raise ValueError(f"{voice} has too few recordings for {sentences} sentences and {references} references")
    chosen = {
        voice: [of_voice[i] for i in sorted(random.choice(len(of_voice), sentences, replace=False))]
        for voice, of_voice in sorted(eligible.items())
    }
    voices = sorted(by_voice)
    couples = [(v, v) for v in voices] if self_pairs else list(itertools.permutations(voices, 2))
    return [
        _make_pair(source, index, chosen[target], by_voice[target], references, random)
        for voice, target in couples
        for index, source in enumerate(chosen[voice])
    ]


def _make_pair(
    source: Recording,
    index: int,
    natural: list[Recording],
    of_target: list[Recording],
    references: int,
    random: np.random.Generator,
) -> Pair:
    """A pair of the `index`-th source; `natural` are the target's chosen recordings, one of which is compared."""
    target = of_target[0].voice
    others = _other_sentences(natural, source)
    if not others:
        raise ValueError(f"{target} has too few recordings of other sentences than '{source.text}'")
    compared = others[index % max(1, min(len(natural) - 1, len(others)))]
    free = [r for r in _other_sentences(of_target, source) if r.id != compared.id]
    if len(free) < references:
        raise ValueError(f"{target} has too few recordings of other sentences for {references} references")
    picks = random.choice(len(free), references, replace=False)
    parallel = [r for r in of_target if r.text is not None and r.text == source.text]
    if source.voice == target:
        parallel = [source]
    return Pair(source, target, tuple(free[i] for i in picks), compared, parallel[0] if parallel else None)


def _other_sentences(recordings: list[Recording], than: Recording) -> list[Recording]:
    """Without the recording itself and its sentence. Where a text is unknown, only the recording itself is left out."""
    return [r for r in recordings if r.id != than.id and (r.text is None or r.text != than.text)]


def pairs_of_manifest(
    manifest: Path,
    corpora: list[str],
    split: str,
    sentences: int,
    references: int,
    seed: int,
    longest: float,
    self_pairs: bool = False,
) -> list[Pair]:
    """`make_pairs` within each corpus of a split of a manifest.

    Args:
        corpora: names of the corpora; [] for all that the split has.
        longest: seconds of a source at most.
    Raises:
        InputError: the manifest does not exist, or it has too little for these pairs.
    """
    recordings = [r for r in read_manifest(manifest) if r.split == split]
    known = sorted({r.corpus for r in recordings})
    if unknown := set(corpora) - set(known):
        raise InputError(
            f"{manifest} has no split '{split}' of {', '.join(sorted(unknown))}; it has {', '.join(known)}"
        )
    if not known:
        raise InputError(f"{manifest} has no split '{split}'")

    def short(recording: Recording) -> bool:
        return recording.duration <= longest

    try:
        return [
            pair
            for corpus in dict.fromkeys(corpora or known)
            for pair in make_pairs(
                [r for r in recordings if r.corpus == corpus], sentences, references, seed, short, self_pairs
            )
        ]
    except ValueError as error:
        raise InputError(f"{error}; ask for fewer --sentences or --references, or a greater --longest") from error


def to_self_pairs(pairs: Iterable[Pair]) -> list[Pair]:
    """Each target's natural recordings, to be converted to the target itself; the references are other sentences.

    A pair of a voice with itself keeps its source, which is then the natural recording too. Every source is there once.
    """
    found: dict[str, Pair] = {}
    for pair in pairs:
        if not pair.is_self:
            references = tuple(_other_sentences(list(pair.references), pair.natural))
            pair = replace(pair, source=pair.natural, parallel=pair.natural, references=references)
        else:
            pair = replace(pair, natural=pair.source, parallel=pair.source)
        if pair.references:
            found.setdefault(pair.id, pair)
    return list(found.values())


def write_pairs(path: Path, pairs: Iterable[Pair]) -> None:
    """A protocol file: a JSON object a line, with paths of recordings relative to the file's folder."""
    folder = path.resolve().parent

    def relative(value: Any) -> Any:
        if isinstance(value, dict):
            return {k: os.path.relpath(v, folder) if k == "path" else relative(v) for k, v in value.items()}
        return [relative(v) for v in value] if isinstance(value, (list, tuple)) else value

    new_folder(folder)
    with replacing(path) as part:
        part.write_text("".join(json.dumps(relative(asdict(pair))) + "\n" for pair in pairs))


def read_pairs(path: Path) -> list[Pair]:
    """The pairs of a protocol file.

    Raises:
        InputError: there is no such file, or a line of it is not a pair.
    """
    folder = path.resolve().parent

    def recording(row: dict[str, Any]) -> Recording:
        return Recording(**row | {"path": os.path.normpath(folder / row["path"])})

    if not path.is_file():
        raise InputError(f"{path}: no such file; {ADVICE}")
    pairs, ids = list[Pair](), set[str]()
    try:
        lines = text_lines(path)
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"{path} cannot be read as text; {ADVICE}") from error
    for number, line in enumerate(lines, 1):
        if not line.strip():
            continue
        try:
            row = json.loads(line)
            references = tuple(recording(r) for r in row["references"])
            parallel = recording(row["parallel"]) if row.get("parallel") else None
            source, natural = recording(row["source"]), recording(row["natural"])
            pairs.append(Pair(source, str(row["target"]), references, natural, parallel))  # voices may be numbers
        except (ValueError, KeyError, TypeError) as error:
            raise InputError(f"{path}, line {number} is not a pair ({error}); {ADVICE}") from error
        if os.path.isabs(pairs[-1].id) or ".." in Path(pairs[-1].id).parts:
            raise InputError(f"{path}, line {number}: the id {pairs[-1].id} leads out of a report's folder; rename it")
        if pairs[-1].id in ids:
            raise InputError(f"{path}, line {number}: the pair {pairs[-1].id} is there twice; leave one out")
        ids.add(pairs[-1].id)
    if not pairs:
        raise InputError(f"{path} holds no pair; {ADVICE}")
    return pairs

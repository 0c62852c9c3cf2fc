"""Pairs whose sources speak many languages, or English with an accent; the targets are test voices."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import replace
from pathlib import Path

import numpy as np

from ..errors import InputError
from ..training.data.corpus import Recording, read_manifest
from .pairs import Pair

LANGUAGES = ("fr", "de", "es", "it", "nl", "pl", "pt", "ru", "tr", "ja")  # that Whisper base transcribes well
ACCENTED = "speechocean762"  # English by speakers of Mandarin
SENTENCES = 10  # sources of each group
REFERENCES = 3
SHORTEST, LONGEST = 2.0, 12.0  # seconds of a source


def group_of(pair: Pair) -> str:
    """The language of a pair's source; of accented English its corpus too."""
    language = _language(pair.source) or "unknown"
    return f"{language}, {ACCENTED}" if pair.source.corpus == ACCENTED else language


def _language(recording: Recording) -> str:
    """Of a tag such as "de-DE", without its region."""
    return (recording.language or "").lower().split("-")[0]


def language_pairs(
    manifest: Path, languages: tuple[str, ...] = LANGUAGES, sentences: int = SENTENCES, seed: int = 0
) -> list[Pair]:
    """For each language, sources of as many voices as there are, each to another test voice.

    English has a group of test recordings and a group of accented ones. The sources lose their texts: what a recogniser
    transcribes in them stands for these.

    Raises:
        InputError: the manifest does not exist, or has no test voice or fewer than two languages.
    """
    recordings = read_manifest(manifest)
    random = np.random.default_rng(seed)
    targets = _targets(recordings)
    groups = {language: _unseen([r for r in recordings if _language(r) == language]) for language in languages}
    groups["en"] = [r for r in recordings if _language(r) == "en" and r.split == "test" and r.corpus != ACCENTED]
    groups["en, accented"] = [r for r in recordings if r.corpus == ACCENTED and r.split != "train"]
    chosen = {name: _sources(of_group, sentences, random) for name, of_group in groups.items()}
    pairs = [
        [
            _pair(source, others[number % len(others)], targets)
            for number, source in enumerate(sources)
            if (others := [voice for voice in sorted(targets) if voice != source.voice])
        ]
        for sources in chosen.values()
    ]
    if sum(map(bool, pairs)) < 2:
        raise InputError(f"{manifest} needs test voices with {REFERENCES + 1} recordings, and sources of two languages")
    return [pair for of_group in pairs for pair in of_group]


def _unseen(recordings: list[Recording]) -> list[Recording]:
    """Those of the test split; else those of the valid split; else all."""
    for split in ("test", "valid"):
        if found := [recording for recording in recordings if recording.split == split]:
            return found
    return recordings


def _targets(recordings: list[Recording]) -> dict[str, list[Recording]]:
    """Test voices with enough recordings for references and a natural one."""
    by_voice: dict[str, list[Recording]] = defaultdict(list)
    for recording in recordings:
        if recording.split == "test":
            by_voice[recording.voice].append(recording)
    return {voice: found for voice, found in by_voice.items() if len(found) > REFERENCES}


def _sources(recordings: list[Recording], count: int, random: np.random.Generator) -> list[Recording]:
    """Recordings of different voices while there are any, without their texts."""
    usable = [r for r in recordings if SHORTEST <= r.duration <= LONGEST]
    by_voice: dict[str, list[Recording]] = defaultdict(list)
    for index in random.permutation(len(usable)):
        by_voice[usable[index].voice].append(usable[index])
    rounds = max(map(len, by_voice.values()), default=0)
    ordered = [of_voice[i] for i in range(rounds) for of_voice in by_voice.values() if i < len(of_voice)]
    return [replace(recording, text=None) for recording in ordered[:count]]


def _pair(source: Recording, target: str, targets: dict[str, list[Recording]]) -> Pair:
    return Pair(source, target, tuple(targets[target][:REFERENCES]), targets[target][REFERENCES])

"""Blind comparison: two conversions of one recording in a random order, and the votes in a local JSON file."""

from __future__ import annotations

import random
import shutil
from dataclasses import dataclass
from pathlib import Path

import msgspec

from ..errors import InputError
from ..files import replacing, shown
from ..library.folder import made
from ..library.locks import locked
from .studio import Choice, Progress, Studio

FIRST, SECOND, EQUAL = "first", "second", "equal"
FILE = "arena.json"
LONGEST_LABEL = 300


class Pair(msgspec.Struct):
    """The votes on two sides, whose labels are in alphabetical order."""

    one: str
    other: str
    one_better: int = 0
    other_better: int = 0
    equal: int = 0


class Votes:
    """Counts of votes in a JSON file. Several processes may use it; a kill leaves the old or the new one."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def pairs(self) -> list[Pair]:
        """All pairs, the last one that got a new entry at the end.

        Raises:
            InputError: the file is damaged.
        """
        try:
            return msgspec.json.decode(self.path.read_bytes(), type=list[Pair])
        except FileNotFoundError:
            return []
        except (OSError, msgspec.MsgspecError, UnicodeDecodeError) as error:
            raise InputError(f"{shown(self.path)} cannot be read; move it away and vote again") from error

    def add(self, one: str, other: str, better: str | None) -> Pair:
        """Count a vote.

        Args:
            better: one of both labels; None: they are equal.
        Raises:
            InputError: the file is damaged or cannot be written.
        """
        made(self.path.parent)
        one, other = sorted((one, other))
        with locked(self.path.with_suffix(".lock")):
            pairs = self.pairs()
            pair = next((p for p in pairs if (p.one, p.other) == (one, other)), None)
            if pair is None:
                pairs.append(pair := Pair(one, other))
            pair.one_better += better == one
            pair.other_better += better == other
            pair.equal += better is None
            with replacing(self.path) as part:
                part.write_bytes(msgspec.json.format(msgspec.json.encode(pairs), indent=2))
        return pair


@dataclass(frozen=True)
class Side:
    """One of the two that are compared."""

    choice: Choice
    bundle: str

    def label(self, several: bool) -> str:
        """For people; with the bundle's name where there are several bundles."""
        return f"{self.choice.label} ({self.bundle})"[:LONGEST_LABEL] if several else self.choice.label


@dataclass(frozen=True)
class Round:
    """Two conversions in the order in which they are played, and whose they are."""

    paths: tuple[Path, Path]
    labels: tuple[str, str]
    notes: tuple[str, ...] = ()

    def better(self, vote: str) -> str | None:
        """The label that a vote prefers; None: neither."""
        return dict(zip((FIRST, SECOND), self.labels, strict=True)).get(vote)


class Arena:
    """Makes rounds, and counts votes on them."""

    def __init__(self, studio: Studio, votes: Votes, order: random.Random | None = None) -> None:
        self.studio, self.votes, self._order = studio, votes, order or random.SystemRandom()
        self._open = set[tuple[Path, Path]]()  # rounds without a vote

    def play(self, source: str | None, sides: tuple[Side, Side], progress: Progress = lambda share: None) -> Round:
        """Convert a recording for both sides. Neither the order nor the files' names tell which is which.

        Raises:
            InputError: both sides are the same. See also `Studio.convert`.
        """
        if sides[0] == sides[1]:
            raise InputError("Both sides are the same; choose two voices, recordings or bundles.")
        one, other = (side.label(len(self.studio.converters) > 1) for side in sides)
        if one == other:  # two recordings of one name
            one, other = f"{one} (A)", f"{other} (B)"
        sounds = [
            self.studio.convert(source, side.choice, bundle=side.bundle, progress=_half(progress, number))
            for number, side in enumerate(sides)
        ]
        entries = list(zip((one, other), sounds, strict=True))
        self._order.shuffle(entries)
        folder = self.studio.place("round")
        folder.mkdir()
        paths = [folder / "1.wav", folder / "2.wav"]
        for path, (_, sound) in zip(paths, entries, strict=True):
            shutil.move(sound.path, path)
        notes = dict.fromkeys(note for sound in sounds for note in sound.notes)
        self._open.add((paths[0], paths[1]))
        return Round((paths[0], paths[1]), (entries[0][0], entries[1][0]), tuple(notes))

    def vote(self, played: Round, vote: str) -> Pair:
        """Count a vote on a round: FIRST, SECOND or EQUAL.

        Raises:
            InputError: the round has a vote already. See also `Votes.add`.
        """
        try:
            self._open.remove(played.paths)
        except KeyError:
            raise InputError("This round has a vote already; play another one.") from None
        try:
            return self.votes.add(*played.labels, played.better(vote))
        except InputError:
            self._open.add(played.paths)
            raise


def _half(progress: Progress, number: int) -> Progress:
    return lambda share: progress((number + share) / 2)

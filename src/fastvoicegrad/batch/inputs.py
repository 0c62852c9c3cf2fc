"""The recordings that files, folders and patterns name, and the names of their results."""

from __future__ import annotations

import glob
import os
import re
import unicodedata
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from ..audio import FORMATS
from ..audio.folders import REPORT, recordings_below
from ..errors import InputError
from ..files import ADDRESSES, same_file, shown
from .journal import NAME, results_of, sha256_of_file

NUMBERED = re.compile(r"(.+)-\d+", re.DOTALL)

Inputs = str | os.PathLike[str] | Sequence[str | os.PathLike[str]]


@dataclass(frozen=True)
class Earlier:
    """A result of an earlier run that is still there.

    Attributes:
        source: absolute path of its recording.
        sha256: of the recording's bytes.
        name: as `output_names` gave it.
    """

    source: str
    sha256: str
    name: Path


@dataclass(frozen=True)
class Found:
    """A recording.

    Attributes:
        path: as it is reached from the arguments.
        below: its place below the folder or pattern that led to it: the part of the tree that results keep.
        problem: why it cannot be converted, a sentence; empty where nothing is known against it.
    """

    path: Path
    below: Path
    problem: str = ""


def find_inputs(inputs: Inputs, folder: Path, may_be_missing: bool = False) -> list[Found]:
    """All recordings, each path once, in an order that depends on their names alone.

    Args:
        inputs: one or several: files, folders (with all that lies below them) and patterns such as ``talks/**/*.wav``.
        folder: of the results; nothing in it is taken for an input.
        may_be_missing: whether inputs may appear later.
    Raises:
        InputError: an input that is not there, or a pattern that matches nothing.
    """
    found: dict[str, Found] = {}
    for text in [inputs] if isinstance(inputs, str | os.PathLike) else inputs:
        one = list(_find(os.fspath(text), folder))
        if not one and not may_be_missing and not os.path.isdir(text):
            raise InputError(f"{shown(text)}: {_missing(os.fspath(text))}")
        for recording in one:
            found.setdefault(os.path.abspath(recording.path), recording)
    return sorted(found.values(), key=lambda item: (item.below.parts, os.path.abspath(item.path)))


def _missing(text: str) -> str:
    """What is wrong with an input that is not there."""
    if text.startswith(ADDRESSES):
        return "addresses are not read; download the file first"
    return ("nothing matches it" if glob.has_magic(text) else "no such file or folder") + "; check its name"


def _find(text: str, folder: Path) -> Iterator[Found]:
    """The recordings of one input."""
    if os.path.isdir(text):
        if same_file(text, folder):
            raise InputError(f"{shown(text)}: the results would lie among the sources; choose another folder")
        yield from _below(Path(text), Path(), folder)
    elif os.path.lexists(text):
        yield Found(Path(text), Path(os.path.basename(text)))
    elif glob.has_magic(text):
        yield from _matches(text, folder)


def _matches(pattern: str, folder: Path) -> Iterator[Found]:
    """What a pattern matches; the tree below its first part without wildcards is kept."""
    base = Path(pattern)
    while glob.has_magic(str(base)):
        base = base.parent
    inside = _contains(base, folder) and not same_file(base, folder)
    own: set[str] | None = None  # results, read where a match may be one of them
    try:
        matches = [Path(match) for match in sorted(glob.glob(pattern, recursive=True))]
    except ValueError:  # a NUL in a name
        return
    for path in matches:
        if (inside and _contains(folder, path)) or same_file(path, base) or _left_out(path, base):
            continue
        if _contains(folder, path):
            own = own or {os.path.abspath(folder / output) for output in (NAME, *results_of(folder / NAME))}
            if os.path.abspath(path) in own:
                continue
        place = _place_below(path, base)
        if os.path.isdir(path):  # `Path.is_dir` raises where a folder may be listed, but not entered
            yield from _below(path, place, folder)
        else:
            yield Found(path, place)


def _place_below(path: Path, base: Path) -> Path:
    """Where a match lies below a pattern's base. With ".." behind a wildcard this is its name alone."""
    place = path.relative_to(base)
    return Path(_own_name(path)) if ".." in place.parts else place


def _own_name(path: Path) -> str:
    """The last part of a path, also of "." and of one that ends with ".."."""
    return os.path.basename(os.path.abspath(path))


def _left_out(path: Path, base: Path) -> bool:
    """Whether a link to a folder lies between, such as one that leads back to where it stands, or a report's folder."""
    between = [parent for parent in (path, *path.parents) if parent != base and parent.is_relative_to(base)]
    return any(os.path.isdir(one) and (os.path.islink(one) or one.suffix == REPORT) for one in between)


def _below(top: Path, place: Path, folder: Path) -> Iterator[Found]:
    """Recordings in a folder and the folders in it, then the folders that cannot be read."""
    problems: list[OSError] = []
    for path in recordings_below(top, problems.append, folder):
        yield Found(path, place / path.relative_to(top))
    for error in problems:
        path = Path(os.fsdecode(error.filename))
        below = place / path.relative_to(top)
        if not below.name:  # an input itself, whose result still needs a name
            below = Path(_own_name(path) or "folder")
        yield Found(path, below, f"the folder cannot be read ({error.strerror})")


def _contains(folder: Path, path: Path) -> bool:
    return Path(os.path.abspath(path)).is_relative_to(os.path.abspath(folder))


# -- names of results ---------------------------------------------------------------------------------------


def output_names(
    found: Sequence[Found],
    kind: str | None,
    earlier: Sequence[Earlier] = (),
    is_foreign: Callable[[Path], bool] = lambda name: False,
) -> list[Path]:
    """The place of each result below the output folder; no two are alike, even where case does not count.

    ``a.wav`` and ``a.mp3`` as WAV become ``a.wav`` and ``a.mp3.wav``. Two that are called ``a.wav`` become ``a.wav``
    and ``a-2.wav``. A recording keeps the name of its earlier result, and no other recording gets that name. One that
    was moved is known by its bytes.

    Args:
        kind: a suffix without its dot; None: each recording's own where it can be written, else "wav".
        is_foreign: whether a file that is no result has a name; no recording gets that name either.
    """
    wanted = [_with_suffix(item.below, kind) for item in found]
    crowded = {key for key, count in Counter(map(_key, wanted)).items() if count > 1}
    for index, item in enumerate(found):
        name = wanted[index]
        if _key(name) in crowded and item.below.suffix.lower() != name.suffix.lower():
            wanted[index] = item.below.with_name(item.below.name + name.suffix)
    holders = defaultdict[str, list[Earlier]](list)
    for one in earlier:
        holders[_key(one.name)].append(one)
    kept = _kept_names(found, wanted, holders, is_foreign)
    used = {_key(name) for name in kept if name is not None}
    taken, names = {*map(_key, wanted), *holders, *used}, list[Path]()
    numbered, digest = _without_numbers(holders), cache(_digest_if_any)
    for item, own, name in zip(found, kept, wanted, strict=True):
        if own is None:
            free = (one for one in (name, *numbered[_key(name)]) if _key(one) not in used and not is_foreign(one))
            own = next((one for one in free if _may_take(item, holders[_key(one)], digest)), None)
            own = own or _numbered(name, taken, is_foreign)
        names.append(own)
        taken.add(_key(names[-1]))
        used.add(_key(names[-1]))
    return names


def _kept_names(
    found: Sequence[Found],
    wanted: Sequence[Path],
    holders: Mapping[str, Sequence[Earlier]],
    is_foreign: Callable[[Path], bool],
) -> list[Path | None]:
    """Names of the recordings' earlier results, where they would be stored in the same folder and format now.

    A name that unlike recordings have, each in another target's folder, belongs to none of them. Neither does one that
    is foreign in another target's folder. Of like recordings, the first keeps a name.
    """
    by_source = defaultdict[str, list[Path]](list)
    for same in holders.values():
        for one in same:
            if all(other.source == one.source or other.sha256 == one.sha256 for other in same):
                by_source[one.source].append(one.name)
    kept, used = list[Path | None](), set[str]()
    for item, name in zip(found, wanted, strict=True):
        own = [old for old in by_source[os.path.abspath(item.path)] if _place(old) == _place(name)]
        own = [old for old in own if _key(old) not in used and not is_foreign(old)]
        chosen = name if name in own else own[-1] if own else None
        kept.append(chosen)
        if chosen is not None:
            used.add(_key(chosen))
    return kept


def _place(name: Path) -> tuple[Path, str]:
    return name.parent, name.suffix.lower()


def _without_numbers(holders: Mapping[str, Sequence[Earlier]]) -> Mapping[str, Sequence[Path]]:
    """Names of earlier results that `_numbered` may have made, by the keys of what they were made from."""
    found = defaultdict[str, list[Path]](list)
    for name in (same[0].name for same in holders.values()):
        if match := NUMBERED.fullmatch(name.stem):
            found[_key(name.parent / f"{match[1]}{name.suffix}")].append(name)
    return found


def _may_take(item: Found, holders: Sequence[Earlier], digest: Callable[[Path], str | None]) -> bool:
    """Whether a recording may get the name of earlier results: they are of the same one, which was moved."""
    return not holders or {digest(item.path)} == {holder.sha256 for holder in holders}


def _digest_if_any(path: Path) -> str | None:
    """None: the recording cannot be read, so that its conversion will fail."""
    try:
        return sha256_of_file(path)
    except (OSError, InputError):
        return None


def _with_suffix(below: Path, kind: str | None) -> Path:
    suffix = f".{kind}" if kind else ".wav"
    own = below.suffix.lower()
    return below if own == suffix or (kind is None and own in FORMATS) else below.with_name(below.stem + suffix)


def _numbered(name: Path, taken: set[str], is_foreign: Callable[[Path], bool]) -> Path:
    number = 2
    while _key(numbered := name.with_name(f"{name.stem}-{number}{name.suffix}")) in taken or is_foreign(numbered):
        number += 1
    return numbered


def _key(name: Path) -> str:
    """Equal for names that some file system takes for one."""
    return unicodedata.normalize("NFC", str(name)).casefold()

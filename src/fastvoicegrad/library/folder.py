"""Folders of ``.voice`` files, whose names are compared without case."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import msgspec

from ..archives import is_file
from ..errors import AudioWarning, InputError
from ..files import shown
from ..voice_file import read_about
from .locks import locked
from .names import is_name, key
from .recordings import remove_unused

SUFFIX, PREVIEW = ".voice", ".opus"
INDEX = "index.json"  # of presets: a list of their names


class VoiceFolder:
    """The voices of a user, with copies of recordings in ``recordings/`` and previews in ``previews/``.

    What other bundles made of these copies lies in ``versions/``.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.recordings, self.previews, self._versions = (folder / n for n in ("recordings", "previews", "versions"))

    def names(self) -> list[str]:
        """In alphabetical order."""
        with suppress(OSError):
            return sorted(filter(is_name, (path.stem for path in self._files())), key=key)
        return []

    def _files(self) -> list[Path]:
        """All voice files, those included whose names no command takes. Hidden ones are unfinished, or no voices."""
        return [path for path in self.folder.iterdir() if path.suffix == SUFFIX and not path.name.startswith(".")]

    def path(self, name: str) -> Path:
        """Of a voice that may not be there yet."""
        return self.folder / f"{name}{SUFFIX}"

    def find(self, name: str) -> Path | None:
        """The file of a voice, if there is one."""
        if is_name(name) and is_file(self.path(name)):
            return self.path(name)
        return next((self.path(own) for own in self.names() if key(own) == key(name)), None)

    @contextmanager
    def changing(self) -> Iterator[None]:
        """One change at a time. At its end, copies of recordings that no voice needs are deleted.

        Raises:
            InputError: the folder cannot be made or written.
        """
        with locked(made(self.folder) / ".lock"):
            try:
                yield
            finally:
                self._remove_unused_recordings()

    def _remove_unused_recordings(self) -> None:
        if not self.recordings.is_dir():
            return
        try:
            abouts = [read_about(path) for path in self._files()]
        except (InputError, OSError) as error:  # what this voice needs is unknown
            warnings.warn(f"{error}; until then, recordings of removed voices stay in the library", AudioWarning, 5)
        else:
            remove_unused(self.recordings, {r for about in abouts for r in about.recordings})

    def preview_path(self, name: str) -> Path:
        """Where a preview of a voice may be written; its folder exists then.

        Raises:
            InputError: the folder cannot be made.
        """
        return made(self.previews) / f"{name}.wav"

    def version(self, path: Path, encoder: str) -> Path:
        """Where a voice lies that other encoders make; a voice that changes gets another file."""
        with blamed_on(path):
            return self._versions / f"{path.stem}.{path.stat().st_mtime_ns}.{encoder}{SUFFIX}"

    def remove_made(self, name: str) -> None:
        """Delete what was made of a voice that changes: previews, and its versions for other encoders."""
        for path in [*self.previews.glob("*.wav"), *self._versions.glob(f"*{SUFFIX}")]:
            if key(path.name.split(".")[0]) == key(name):
                with suppress(OSError):
                    path.unlink()


class PresetFolder:
    """Voices that ship: ``index.json`` lists their names in order, and each may have a preview ``NAME.opus``."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def names(self) -> list[str]:
        """In the order of ``index.json``; none where it is missing."""
        with suppress(OSError):
            return msgspec.json.decode((self.folder / INDEX).read_bytes(), type=list[str])
        return []

    def find(self, name: str) -> Path | None:
        """The file of a voice, if there is one."""
        return next((self.folder / f"{n}{SUFFIX}" for n in self.names() if key(n) == key(name)), None)

    def holds(self, path: Path) -> bool:
        """Whether a file is one of these voices."""
        return path.parent == self.folder

    def preview(self, path: Path) -> Path | None:
        """The preview of a voice file, if there is one."""
        preview = path.with_suffix(PREVIEW)
        return preview if self.holds(path) and is_file(preview) else None


def made(folder: Path) -> Path:
    """A folder, which exists then.

    Raises:
        InputError: it cannot be made.
    """
    with blamed_on(folder):
        folder.mkdir(parents=True, exist_ok=True)
    return folder


@contextmanager
def blamed_on(path: Path) -> Iterator[None]:
    """Errors of the system become one line."""
    try:
        yield
    except OSError as error:
        raise InputError(f"{shown(path)} cannot be changed ({error.strerror}); choose another folder") from error

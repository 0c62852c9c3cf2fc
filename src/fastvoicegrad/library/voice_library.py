"""Voices by name: those that a user keeps in a folder, and the presets that ship with the package.

A library is a folder of ``.voice`` files. Every change writes, renames or removes one of them, so that a process may
be killed at any moment. Kept recordings lie beside them, in ``recordings/``.
"""

from __future__ import annotations

import dataclasses
import os
import threading
import warnings
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import platformdirs

from ..archives import is_file
from ..bundle import Bundle
from ..errors import AudioWarning, InputError
from ..files import same_file, shown
from ..voice import Voice, blend, pool
from ..voice_file import MOST_SOURCES, read_about
from .folder import PresetFolder, VoiceFolder, blamed_on, made
from .names import BLEND, checked_name, key, nearest, one_line, parse_blend
from .recordings import keep

PRESETS = Path(__file__).parents[1] / "voices"
VARIABLE = "FASTVOICEGRAD_VOICES"  # environment variable: the folder of the user's voices
LIST = "'fastvoicegrad voice list' lists the voices"


class UnknownVoiceError(InputError):
    """No voice has this name."""


class NameTakenError(InputError):
    """A voice or a preset has this name already, or a preset was to be changed."""


class Encoder(Protocol):
    """What makes voices of recordings: a `VoiceConverter`."""

    bundle: Bundle

    def voice_of_recording(self, path: Path, *, quiet: bool = False) -> Voice:
        """A voice from one recording, with warnings about it unless `quiet`."""


@dataclass(frozen=True)
class VoiceEntry:
    """What a library knows of a voice without its arrays.

    Attributes:
        preset: whether it ships with the package.
        description, sources, seconds, pitch, encoder: see `Voice`.
        recordings: how many of its references are kept.
        path: of the ``.voice`` file.
        preview: a shipped recording in this voice, for presets.
    """

    name: str
    preset: bool
    description: str
    sources: list[str]
    seconds: float
    pitch: float
    encoder: str
    recordings: int
    path: Path
    preview: Path | None = None


class VoiceLibrary:
    """Named voices. Names are compared without case. Several processes and threads may use one folder.

    Args:
        folder: of the user's voices; it is made at the first change. None: $FASTVOICEGRAD_VOICES, or else ``voices``
            in the user's data folder.
        presets: folder of the voices that ship, with their order in ``index.json``.
    """

    def __init__(self, folder: Path | None = None, presets: Path = PRESETS) -> None:
        self._own, self._presets = VoiceFolder(folder or user_folder()), PresetFolder(presets)
        self._making = threading.Lock()  # of voices that are made again, one at a time

    @property
    def folder(self) -> Path:
        """Of the user's voices."""
        return self._own.folder

    # -- reading --------------------------------------------------------------------------------------------

    def names(self) -> list[str]:
        """All names: the presets in their order, then the user's in alphabetical order."""
        own = self._own.names()
        taken = {key(name) for name in own}
        return [name for name in self._presets.names() if key(name) not in taken] + own

    def entry(self, name: str) -> VoiceEntry:
        """The facts about a voice.

        Raises:
            UnknownVoiceError: no voice has this name; the message gives similar ones.
            InputError: its file is damaged.
        """
        path = self._find(name)
        return _entry(path, self._presets.holds(path), self._presets.preview(path))

    def load(self, name: str) -> Voice:
        """A voice as it is stored.

        Raises:
            UnknownVoiceError, InputError: see `entry`.
        """
        return Voice.load(self._find(name))

    def voice(self, encoder: Encoder, text: str) -> Voice:
        """The voice of a name or of a blend, made with these encoders. The text leads to no file outside the library.

        A voice of other encoders is made again from its kept recordings, with a warning. The stored one stays.

        Raises:
            UnknownVoiceError: no voice has this name, or the text is no name and no blend.
            InputError: a voice was made by other encoders and has no kept recordings.
        """
        terms = parse_blend(text)
        if terms is None:
            raise UnknownVoiceError(f"'{shown(text)}' is no name of a voice, and no blend like {BLEND}; {LIST}")
        paths = [self._find(name) for name, _ in terms]
        voices = [self._fitting(encoder, path) for path in paths]
        return voices[0] if len(voices) == 1 else blend(voices, [weight for _, weight in terms])

    # -- changing -------------------------------------------------------------------------------------------

    def add(
        self,
        name: str,
        voice: Voice,
        *,
        description: str = "",
        replace: bool = False,
        recordings: Sequence[str | os.PathLike[str]] = (),
    ) -> None:
        """Keep a voice under a name.

        Args:
            description: one line; empty: the voice's own.
            replace: whether it may take the place of an older voice.
            recordings: its references, to keep copies of them. Other encoders can make the voice again from these.
        Raises:
            NameTakenError: there is such a voice and `replace` is not set, or a preset has the name.
            InputError: no name, too long a description, or the folder cannot be written.
        """
        name, description = checked_name(name), one_line(description) or voice.description
        if len(recordings) > MOST_SOURCES:
            raise InputError(f"at most {MOST_SOURCES} recordings are kept, got {len(recordings)}; keep fewer, or none")
        with self._own.changing():
            path = self._free_path(name, replace)
            kept = [keep(Path(recording), made(self._own.recordings)) for recording in recordings]
            dataclasses.replace(voice, description=description, recordings=kept).save(path)
            self._own.remove_made(path.stem)

    def change(self, name: str, change: Callable[[Voice], Voice]) -> None:
        """Store what `change` makes of a voice in its place, while no other change happens. Kept recordings stay.

        Raises:
            UnknownVoiceError: there is no such voice.
            NameTakenError: it is a preset.
            InputError: too long a description, or the folder cannot be written.
        """
        self._find_own(name)  # an unknown voice makes no folder
        with self._own.changing():
            path = self._find_own(name)
            old = Voice.load(path)
            new = change(old)
            dataclasses.replace(new, description=one_line(new.description), recordings=old.recordings).save(path)
            self._own.remove_made(path.stem)

    def check_free(self, name: str, replace: bool = False) -> None:
        """Raises what `add` would raise because of the name."""
        self._free_path(checked_name(name), replace)

    def rename(self, old: str, new: str) -> None:
        """Give a voice another name.

        Raises:
            UnknownVoiceError: there is no voice `old`.
            NameTakenError: `new` belongs to another voice, or `old` is a preset.
            InputError: `new` is no name, or the folder cannot be written.
        """
        new = checked_name(new)
        self._find_own(old)  # an unknown voice makes no folder
        with self._own.changing():
            path = self._find_own(old)
            target = self._own.path(new) if key(old) == key(new) else self._free_path(new, advice="remove it first")
            if target.exists() and not same_file(path, target):  # two spellings, on a file system that tells them apart
                raise NameTakenError(f"there is a voice '{target.stem}' already; remove it first")
            with blamed_on(path):
                path.rename(target)
            self._own.remove_made(path.stem)

    def remove(self, *names: str) -> None:
        """Delete voices and their kept recordings: none where one of the names is none of the user's.

        Raises:
            UnknownVoiceError: there is no such voice.
            NameTakenError: it is a preset.
            InputError: the folder cannot be written.
        """
        for name in names:
            self._find_own(name)
        with self._own.changing():
            for path in {key(path.stem): path for path in map(self._find_own, names)}.values():
                with blamed_on(path):
                    path.unlink()
                self._own.remove_made(path.stem)

    def preview_path(self, text: str, maker: str) -> Path:
        """Where a preview of a voice may be written (.wav); its folder exists then. Blends and files share one name.

        A voice that changes gets another name, so a preview is never out of date.

        Args:
            maker: names what renders it, such as a part of a converter's fingerprint.
        Raises:
            InputError: the folder cannot be made.
        """
        path = self._own.find(text) or self._presets.find(text)
        if path is None:
            return self._own.preview_path("preview")
        with blamed_on(path):
            return self._own.preview_path(f"{path.stem}.{path.stat().st_mtime_ns}.{maker}")

    # -- names ----------------------------------------------------------------------------------------------

    def _find(self, name: str) -> Path:
        path = self._own.find(name) or self._presets.find(name)
        if path:
            return path
        similar = nearest(name, self.names())
        advice = f"similar names: {', '.join(similar)}" if similar else LIST
        raise UnknownVoiceError(f"there is no voice '{shown(name)}'; {advice}")

    def _find_own(self, name: str) -> Path:
        path = self._find(name)
        if self._presets.holds(path):
            raise NameTakenError(f"'{path.stem}' is a preset voice, which cannot be changed")
        return path

    def _free_path(self, name: str, replace: bool = False, advice: str = "--replace it") -> Path:
        """The file for a voice of this name: that of an older one, where it may be replaced."""
        old = self._own.find(name)
        if old and not replace:
            raise NameTakenError(f"there is a voice '{old.stem}' already; choose another name, or {advice}")
        if not old and self._presets.find(name):
            raise NameTakenError(f"'{name}' is the name of a preset voice; choose another name")
        return old or self._own.path(name)

    # -- voices of other encoders ---------------------------------------------------------------------------

    def _fitting(self, encoder: Encoder, path: Path) -> Voice:
        """A stored voice, made again where these encoders did not make it."""
        voice, name = Voice.load(path), path.stem
        if voice.encoder == encoder.bundle.fingerprint:
            return voice
        if self._presets.holds(path):
            raise InputError(f"the preset voice '{name}' fits only the built-in bundle; name a recording instead")
        if voice.adapter:  # a voice that is made again would lose it
            raise InputError(f"the voice '{name}' was adapted for another bundle; adapt it again")
        with self._making:  # one thread makes it for all
            version = self._own.version(path, encoder.bundle.fingerprint)  # of the file that is read then, or an older
            return self._made_again(encoder, path.stem, Voice.load(path), version)

    def _made_again(self, encoder: Encoder, name: str, voice: Voice, version: Path) -> Voice:
        """A stored voice from its kept recordings. It lies in `version`: the stored one may have had more of them."""
        if is_file(version):
            with suppress(InputError):  # a damaged one is made again
                return Voice.load(version)
        try:
            kept = [self._own.recordings / recording for recording in voice.recordings]
            made_again = pool([encoder.voice_of_recording(recording, quiet=True) for recording in kept])
        except InputError as error:  # none was kept, or one cannot be read
            raise InputError(
                f"the voice '{name}' was made with another bundle; make it again with "
                f"'fastvoicegrad voice make RECORDINGS --name {name} --replace'"
            ) from error
        warnings.warn(f"the voice '{name}' is made again, as this bundle has other encoders", AudioWarning, 5)
        made_again = dataclasses.replace(
            made_again, sources=voice.sources, description=voice.description, recordings=voice.recordings
        )
        with suppress(InputError), self._own.changing():  # else the library cannot be written
            if is_file(self._own.path(name)) and self._own.version(self._own.path(name), made_again.encoder) == version:
                made(version.parent)
                made_again.save(version)
        return made_again


def user_folder() -> Path:
    """The folder of the user's voices.

    Raises:
        InputError: the variable names the home of a user whom the system does not know.
    """
    chosen = os.environ.get(VARIABLE)
    if chosen:
        try:
            return Path(chosen).expanduser()
        except RuntimeError as error:
            raise InputError(f"{VARIABLE}={shown(chosen)}: there is no such home; name the whole path") from error
    return platformdirs.user_data_path("fastvoicegrad", appauthor=False) / "voices"


def entry_of_file(path: Path) -> VoiceEntry:
    """The facts about a ``.voice`` file outside a library.

    Raises:
        InputError: missing or damaged.
    """
    return _entry(path)


def _entry(path: Path, preset: bool = False, preview: Path | None = None) -> VoiceEntry:
    about = read_about(path)
    return VoiceEntry(
        path.stem,
        preset,
        about.description,
        about.sources,
        about.seconds,
        about.pitch,
        about.encoder,
        len(about.recordings),
        path,
        preview,
    )

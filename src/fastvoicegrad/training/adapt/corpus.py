"""Train a bundle's whole converter on a corpus of voices, such as those of another language, and export a bundle."""

from __future__ import annotations

import glob
import os
import shutil
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

from ...audio.folders import REPORT, SOUNDS
from ...bundle import Bundle
from ...converter import VoiceConverter
from ...errors import InputError
from ...files import shown
from .. import checkpoint
from ..alone import alone
from ..export import settings_of, with_converter
from .recordings import Recordings, Warn, read_voice
from .run import Budget, NoGain, prepared, threads_of, trained
from .task import CONVERTER


def train_on(
    folders: Sequence[str | os.PathLike[str]],
    out: Path,
    budget: Budget,
    *,
    bundle: str | Path | None = None,
    warn: Warn = print,
    note: Callable[[str], None] = print,
) -> None:
    """Write a bundle whose converter has trained on the voices of some folders.

    The folder ``OUT.adapt`` beside the bundle keeps the state; a killed run continues.

    Args:
        folders: each is one voice if recordings lie in it, or holds a folder for each voice; patterns name several.
        out: the bundle; must be new.
    Raises:
        InputError: bad folders, a bundle that cannot be restored, or `out` exists or is being written by another run.
        NoGain: no step was better than the bundle.
    """
    if out.exists():
        raise InputError(f"{shown(out)} exists already; name a new folder")
    parts = folders_of_voices(folders)
    with alone(out.with_name(f"{out.name}{REPORT}")) as work_folder:
        converter = VoiceConverter.load(bundle, threads_of(work_folder, budget))
        base = converter.bundle
        settings = settings_of(base)  # before the training: what the bundle lacks is found out now
        voices = _voices(base, parts, warn)
        note(f"{len(voices)} voices, {sum(voice.seconds for voice in voices):.0f} s of speech to train on")
        trained(prepared(converter, voices, work_folder, CONVERTER), bundle, budget, note)
        best = work_folder / "best.safetensors"
        if not checkpoint.read_meta(best)["step"]:
            raise NoGain("training gained nothing on the held-back recordings; no bundle is written")
        trained_on = [*filter(None, [settings.notes.get("trained_on")]), f"{len(voices)} more voices"]
        settings = replace(settings, notes=settings.notes | {"trained_on": ", then ".join(map(str, trained_on))})
        part = out.with_name(f".{out.name}.part")  # a killed export leaves no half of a bundle
        shutil.rmtree(part, ignore_errors=True)
        with_converter(part, base, best, teacher=False, name=settings.name, settings=settings)
        part.replace(out)
    note(f"{shown(out)}: written")


def _voices(bundle: Bundle, parts: Sequence[Path], warn: Warn) -> list[Recordings]:
    """A voice of each folder that has enough speech."""
    voices = []
    for part in parts:
        try:
            voices.append(read_voice(bundle, [part], part.name, warn))
        except InputError as error:
            warn(f"{part.name} is left out: {error}")
    if not voices:
        raise InputError("no voice with enough speech was found; give folders of recordings, one for each voice")
    return voices


def folders_of_voices(inputs: Sequence[str | os.PathLike[str]]) -> list[Path]:
    """A folder for each voice, once: those in which recordings lie, or else the folders in them.

    Args:
        inputs: folders and patterns.
    Raises:
        InputError: something else, or a folder that cannot be listed.
    """
    try:
        folders = [folder for text in inputs for folder in _folders(os.fspath(text))]
        parts = [part for folder in folders for part in _of_one_voice(folder)]
    except OSError as error:
        raise InputError(f"{shown(error.filename)} cannot be read ({error.strerror}); check its permissions") from error
    return list({os.path.realpath(part): part for part in parts}.values())


def _folders(text: str) -> list[Path]:
    """The folders that a path or a pattern names. Hidden ones and reports of adaptations match no pattern."""
    if os.path.isdir(text):
        return [Path(text)]
    found = sorted(map(Path, glob.glob(text, recursive=True))) if glob.has_magic(text) else []
    folders = [path for path in found if path.is_dir() and path.suffix != REPORT]
    if not folders:
        problem = "matches no folder" if glob.has_magic(text) else "is no folder"
        raise InputError(f"{shown(text)} {problem}; for a bundle, each voice is a folder of recordings")
    return folders


def _of_one_voice(folder: Path) -> list[Path]:
    """The folder itself if recordings lie in it, else the folders in it. Reports of adaptations are no voices."""
    parts = sorted(part for part in folder.iterdir() if not part.name.startswith("."))
    if any(part.suffix.lower() in SOUNDS and part.is_file() for part in parts):
        return [folder]
    return [part for part in parts if part.is_dir() and part.suffix != REPORT] or [folder]

"""Train a bundle's whole converter on a corpus of voices, such as those of another language, and export a bundle."""

from __future__ import annotations

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
        folders: each is one voice if recordings lie in it, or holds a folder for each voice.
        out: the bundle; must be new.
    Raises:
        InputError: bad folders, a bundle that cannot be restored, or `out` exists.
        NoGain: no step was better than the bundle.
    """
    if out.exists():
        raise InputError(f"{shown(out)} exists already; name a new folder")
    work_folder = out.with_name(f"{out.name}{REPORT}")
    converter = VoiceConverter.load(bundle, threads_of(work_folder, budget))
    voices = _voices(converter.bundle, folders, warn)
    note(f"{len(voices)} voices, {sum(voice.seconds for voice in voices):.0f} s of speech to train on")
    work = prepared(converter, voices, work_folder, CONVERTER)
    trained(work, bundle, budget, note)
    best = work_folder / "best.safetensors"
    if not checkpoint.read_meta(best)["step"]:
        raise NoGain("training gained nothing on the held-back recordings; no bundle is written")
    base = converter.bundle
    settings = settings_of(base)
    notes = dict(base.config.notes)
    notes["trained_on"] = ", then ".join([*filter(None, [notes.get("trained_on")]), f"{len(voices)} more voices"])
    part = out.with_name(f".{out.name}.part")  # a killed export leaves no half of a bundle
    shutil.rmtree(part, ignore_errors=True)
    with_converter(part, base, best, teacher=False, name=settings.name, settings=replace(settings, notes=notes))
    part.replace(out)
    note(f"{shown(out)}: written")


def _voices(bundle: Bundle, folders: Sequence[str | os.PathLike[str]], warn: Warn) -> list[Recordings]:
    """A voice for each folder in which recordings lie, or for each folder in it."""
    voices = []
    for path in map(Path, folders):
        if not path.is_dir():
            raise InputError(f"{shown(path)} is no folder; for a bundle, each voice is a folder of recordings")
        for part in _of_one_voice(path):
            try:
                voices.append(read_voice(bundle, [part], part.name, warn))
            except InputError as error:
                warn(f"{part.name} is left out: {error}")
    if not voices:
        raise InputError("no voice with enough speech was found; give folders of recordings, one for each voice")
    return voices


def _of_one_voice(folder: Path) -> list[Path]:
    """The folder itself if recordings lie in it, else the folders in it. Reports of adaptations are no voices."""
    parts = sorted(part for part in folder.iterdir() if not part.name.startswith("."))
    if any(part.suffix.lower() in SOUNDS and part.is_file() for part in parts):
        return [folder]
    return [part for part in parts if part.is_dir() and part.suffix != REPORT] or [folder]

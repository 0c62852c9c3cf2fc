"""What a run is asked for and cannot do, found before it begins."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from pathlib import Path

from .. import audio
from ..errors import AudioWarning, InputError
from ..files import shown
from .tasks import Settings, Target, takes_subtype


def check_targets(targets: Sequence[Target]) -> None:
    """Raises InputError where two targets share a folder."""
    folders = [target.folder.casefold() for target in targets]
    for target in targets:
        if folders.count(target.folder.casefold()) > 1:
            raise InputError(f"two targets have the name '{shown(target.folder)}'; name each once")
    if not targets:
        raise InputError("no target was given; name a voice")


def check_stored(settings: Settings, outputs: Sequence[Path]) -> None:
    """Warns where a bitrate or a subtype is asked for that some results cannot have.

    Raises:
        InputError: none can.
    """
    if settings.bitrate is not None:
        kinds, option = "MP3 or Opus", "--bitrate"
        _check_some([audio.has_bitrate(output) for output in outputs], kinds, "a fixed bitrate", option)
    if settings.subtype is not None:
        kinds = " or ".join(kind for kind in audio.SUBTYPES if takes_subtype(f"x.{kind}", settings.subtype))
        able = [takes_subtype(output, settings.subtype) for output in outputs]
        _check_some(able, kinds, f"the subtype {settings.subtype}", "--subtype")


def _check_some(able: Sequence[bool], kinds: str, what: str, option: str) -> None:
    """See `check_stored`."""
    without = able.count(False)
    if without and without == len(able):
        raise InputError(f"no result is {kinds}, so none has {what}; add --format, or leave {option} out")
    if without:
        message = f"{without} of {len(able)} results are not {kinds}, so they do not have {what}"
        warnings.warn(message, AudioWarning, stacklevel=4)

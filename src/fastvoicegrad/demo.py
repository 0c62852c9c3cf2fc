"""A first conversion: one shipped recording in the voice of another, and a page that shows both."""

from __future__ import annotations

import base64
import json
import shutil
from pathlib import Path

import numpy as np

from . import audio
from .converter import VoiceConverter
from .errors import InputError
from .files import check_target, replacing, shown
from .mel import log_mel
from .version import TOOL

SAMPLES = Path(__file__).parent / "samples"
TEMPLATE = SAMPLES / "page.html"
CAPTIONS = {
    "source.opus": "Source: these words and this melody stay",
    "reference.opus": "Reference: this is the voice to take",
    "converted.wav": "Converted: the source's words in the reference's voice",
}
RECORDINGS = ("source.opus", "reference.opus")  # that ship
DARKEST, BRIGHTEST = -9.0, 1.0  # natural log of the mel magnitude


def make_demo(folder: Path, bundle: str | Path | None = None) -> Path:
    """Convert the shipped source to the shipped reference's voice.

    Args:
        folder: is made; must be new, empty, or of an earlier demo, whose files are replaced. Others stay.
        bundle: see `VoiceConverter.load`.
    Returns:
        the page, ``index.html``, beside the three recordings.
    Raises:
        InputError: the folder cannot be made, or holds something else.
    """
    converter = VoiceConverter.load(bundle)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        if any(folder.iterdir()) and not _is_demo(folder):
            raise InputError(f"{shown(folder)} is not empty; name a new folder: fastvoicegrad demo NEW_FOLDER")
        for name in RECORDINGS:
            shutil.copyfile(SAMPLES / name, folder / name)
    except OSError as error:
        raise InputError(f"{shown(folder)} cannot be made ({error.strerror}); name another folder") from error
    page = check_target(folder / "index.html")
    voice = converter.voice([folder / "reference.opus"])
    tags = audio.conversion_tags({}, TOOL, converter.bundle.config.name, "reference.opus")
    converter.convert_file(folder / "source.opus", folder / "converted.wav", voice, tags=tags)
    with replacing(page) as part:
        part.write_text(page_of(folder), encoding="utf-8")
    return page


def _is_demo(folder: Path) -> bool:
    """Whether an earlier demo, perhaps a stopped one, has made a folder: its recordings are or begin like these."""
    found = [name for name in RECORDINGS if (folder / name).is_file()]
    return bool(found) and all(_begins_like(folder / name, SAMPLES / name) for name in found)


def _begins_like(part: Path, whole: Path) -> bool:
    """Whether a file is another one, or its beginning, which may be empty."""
    if part.stat().st_size > whole.stat().st_size:
        return False
    return whole.read_bytes().startswith(part.read_bytes())


def page_of(folder: Path) -> str:
    """The page, with a player and a mel spectrogram of each recording."""
    items = [{"file": name, "caption": caption, **picture(folder / name)} for name, caption in CAPTIONS.items()]
    return TEMPLATE.read_text(encoding="utf-8").replace("/*RECORDINGS*/[]", json.dumps(items))


def picture(path: Path) -> dict[str, int | str]:
    """A recording's log-mel as bytes, 0 darkest and 255 brightest, row by row from the highest band."""
    mel = log_mel(audio.read(path))
    shade = np.clip((mel - DARKEST) / (BRIGHTEST - DARKEST), 0, 1)[::-1] * 255
    return {
        "width": mel.shape[1],
        "height": mel.shape[0],
        "pixels": base64.b64encode(shade.astype(np.uint8).tobytes()).decode(),
    }

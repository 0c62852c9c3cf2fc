"""Previews of voices: the shipped sample recording in a voice, and programs that play it."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

from . import audio
from .converter import References, VoiceConverter
from .version import TOOL

SAMPLE = Path(__file__).parent / "samples" / "source.opus"
PLAYERS = (
    ("ffplay", "-nodisp", "-autoexit", "-loglevel", "quiet"),
    ("mpv", "--no-video", "--really-quiet"),
    ("pw-play",),
    ("paplay",),
    ("afplay",),
    ("play", "-q"),
    ("aplay", "-q"),
)
PATIENCE = 60.0  # seconds that a player may take; the sample has six


def render_preview(
    converter: VoiceConverter,
    voice: References,
    output: str | Path,
    rate: int | None = None,
    *,
    name: str = "",
    watermark: bool = False,
) -> None:
    """Convert the sample to a voice.

    Args:
        output: sound file to write; its suffix names the format.
        rate: Hz; None: the sample's.
        name: of the voice, for the comment in the file.
        watermark: see `VoiceConverter.convert`.
    Raises:
        InputError: see `VoiceConverter.convert_file`.
    """
    tags = audio.conversion_tags({}, TOOL, converter.bundle.config.name, name or "a voice")
    converter.convert_file(SAMPLE, output, voice, rate=rate, watermark=watermark, tags=tags)


def play(path: Path) -> bool:
    """Play a .wav by the first program that can; False where none can."""
    if sys.platform == "win32":
        import winsound

        try:
            winsound.PlaySound(str(path), winsound.SND_FILENAME | winsound.SND_NODEFAULT)
        except RuntimeError:  # there is no device
            return False
        return True
    found = [(program, *options) for name, *options in PLAYERS if (program := shutil.which(name))]
    return any(_plays([*command, str(path.absolute())]) for command in found)


def _plays(command: list[str]) -> bool:
    quiet = subprocess.DEVNULL
    try:
        return subprocess.run(command, stdin=quiet, stdout=quiet, stderr=quiet, timeout=PATIENCE).returncode == 0
    except (OSError, subprocess.TimeoutExpired):
        return False

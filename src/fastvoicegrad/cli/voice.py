"""``fastvoicegrad voice``: voices as small files."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from ..errors import InputError
from .common import BundleOption, console, friendly

voices = typer.Typer(no_args_is_help=True, help="Keep voices as small files.")


@voices.command("make")
@friendly
def make(
    references: Annotated[list[Path], typer.Argument(help="Recordings of the voice (several speakers blend).")],
    output: Annotated[Path, typer.Option("-o", "--output", help="The .voice file to write.")],
    bundle: BundleOption = None,
) -> None:
    """Make a .voice file, which --to accepts in place of recordings."""
    from ..converter import VoiceConverter

    if output.suffix != ".voice":
        raise InputError(f"{output}: a voice file must be named .voice")
    voice = VoiceConverter.load(bundle).voice(references)
    voice.save(output)
    console.print(f"{output}: {voice.seconds:.1f} s of speech from {', '.join(voice.sources)}")

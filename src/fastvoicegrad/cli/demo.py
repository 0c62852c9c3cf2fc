"""``fastvoicegrad demo``: a first conversion, with nothing to prepare."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from .common import BundleOption, console, friendly, path_of, printable


@friendly
def demo(
    folder: Annotated[
        Path,
        typer.Argument(metavar="FOLDER", parser=path_of, help="Folder of the page: new, or of an earlier demo."),
    ] = Path("fastvoicegrad-demo"),
    bundle: BundleOption = None,
) -> None:
    """Convert a sample recording to another voice and write a page to listen to."""
    from ..demo import make_demo

    page = make_demo(folder, bundle)
    names = [printable(str(folder / name)) for name in ("converted.wav", "source.opus", "reference.opus")]
    console.print("{} is {} in the voice of {}".format(*names))
    console.print(printable(f"Open {page} in a browser to listen and to look."))

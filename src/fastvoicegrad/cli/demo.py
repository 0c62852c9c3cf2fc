"""``fastvoicegrad demo``: a first conversion, with nothing to prepare."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from .common import BundleOption, console, friendly


@friendly
def demo(
    folder: Annotated[
        Path, typer.Argument(help="Folder of the recordings and the page: new, or of an earlier demo.")
    ] = Path("fastvoicegrad-demo"),
    bundle: BundleOption = None,
) -> None:
    """Convert a sample recording to another voice and write a page to listen to."""
    from ..demo import make_demo

    page = make_demo(folder, bundle)
    console.print(f"{folder / 'converted.wav'} is {folder / 'source.opus'} in the voice of {folder / 'reference.opus'}")
    console.print(f"Open {page} in a browser to listen and to look.")

"""``fastvoicegrad ui``: a page for the browser."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from ..errors import InputError
from .common import ThreadsOption, console, errors, friendly

LOOPBACK = ("127.0.0.1", "::1", "localhost")


@friendly
def ui(
    host: Annotated[str, typer.Option(help="Address to listen on; others than loopback have no lock.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(min=0, max=65535, help="Port; 0 is any free one.")] = 7860,
    bundle: Annotated[
        list[Path] | None,
        typer.Option(help="Bundle folder or .zip; default: the built-in. Repeat it to compare bundles in the arena."),
    ] = None,
    threads: ThreadsOption = None,
) -> None:
    """Convert, blend and compare on a page in the browser, until Ctrl-C."""
    from ..converter import VoiceConverter

    try:
        from ..ui.run import serve
    except ModuleNotFoundError as error:
        raise InputError(f"this command needs '{error.name}': run pip install \"fastvoicegrad[ui]\"") from error
    console.print("Loading ...")
    converters = {"built-in": VoiceConverter.load(None, threads)} if not bundle else {}
    for path in bundle or []:
        converters[str(path)] = VoiceConverter.load(path, threads)
    if host not in LOOPBACK:
        errors.print(f"fastvoicegrad: everybody who reaches {host} can use the page and its voices", style="yellow")
    serve(converters, host, port, lambda url: console.print(f"Open {url} in a browser; Ctrl-C ends."))

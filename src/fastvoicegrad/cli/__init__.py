"""Convert a recording into the same words, spoken by another voice, in one diffusion step."""

from __future__ import annotations

from typing import Annotated

import typer

from ..version import __version__
from .adapt import adapt
from .convert import convert
from .demo import demo
from .dev import dev
from .info import info
from .live import live
from .serve import serve
from .ui import ui
from .usage import Commands
from .voice import voices

app = typer.Typer(
    cls=Commands,
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
    help=__doc__,
)


def _print_version(wanted: bool) -> None:
    if wanted:
        print(f"fastvoicegrad {__version__}")
        raise typer.Exit


@app.callback()
def main(
    version: Annotated[
        bool, typer.Option("--version", help="Print the version.", is_eager=True, callback=_print_version)
    ] = False,
) -> None:
    """Convert a recording into the same words, spoken by another voice, in one diffusion step."""


app.command()(demo)
app.command()(convert)
app.command()(live)
app.command()(serve)
app.command()(ui)
app.add_typer(voices, name="voice")
app.command()(adapt)
app.command()(info)
app.add_typer(dev, name="dev")

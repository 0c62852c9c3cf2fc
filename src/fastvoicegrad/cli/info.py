"""``fastvoicegrad info``: what a bundle is."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer
from rich.table import Table

from .common import console, friendly, printable


@friendly
def info(
    bundle: Annotated[Path | None, typer.Argument(help="Bundle folder or .zip; default: the built-in.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print the bundle's config.json fields.")] = False,
) -> None:
    """Describe a bundle, after a check of every file in it."""
    from ..bundle import Bundle

    config = Bundle.open(bundle).config
    if as_json:
        print(json.dumps(asdict(config)))
        return
    rate = config.mel.sample_rate
    table = Table("network", "file", "left context", "look-ahead", title=printable(config.name), title_justify="left")
    for name, network in config.networks.items():
        reach = [f"{frames * config.mel.hop_length / rate * 1000:.0f} ms" for frames in (network.left, network.right)]
        table.add_row(name, network.file, *(["-", "-"] if name == "speaker" else reach))
    console.print(table)
    steps = "one step" if config.max_steps == 1 else f"1 to {config.max_steps} steps"
    console.print(
        f"version {config.version or 'unknown'}, {rate} Hz, {config.mel.n_mels} mels, "
        f"starts at step {config.start} of {config.steps}, {steps}"
    )
    for key, value in config.notes.items():
        console.print(printable(f"{key}: {value if isinstance(value, str) else json.dumps(value)}"))

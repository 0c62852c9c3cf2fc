"""``fastvoicegrad info``: what a bundle or a recording is."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer
from rich.table import Table

from ..errors import InputError
from ..files import shown
from .common import console, friendly, printable


@friendly
def info(
    path: Annotated[
        Path | None,
        typer.Argument(metavar="[BUNDLE]", help="Bundle folder or .zip, or a recording; default: the built-in bundle."),
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON: of a bundle the fields of config.json.")] = False,
) -> None:
    """Describe a bundle, after a check of every file in it. Of a recording: tags and watermark."""
    if path is not None and not path.exists():
        raise InputError(f"{shown(path)}: no such file or folder")
    if path is not None and path.suffix.lower() == ".voice":
        raise InputError(f"{shown(path)} is a voice; 'fastvoicegrad voice show' describes it")
    if path is not None and path.is_file() and path.suffix.lower() != ".zip":
        _describe_recording(path, as_json)
    else:
        _describe_bundle(path, as_json)


def _describe_bundle(path: Path | None, as_json: bool) -> None:
    from ..bundle import Bundle

    config = Bundle.open(path).config
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


def _describe_recording(path: Path, as_json: bool) -> None:
    from .. import audio
    from ..watermark import FOUND

    info, mark = audio.inspect(path), _watermark(path)
    facts = {"rate": info.rate, "channels": info.channels, "seconds": info.seconds, **audio.read_tags(path)}
    if as_json:
        print(json.dumps(facts | {"watermark": mark}))
        return
    for name, fact in facts.items():
        console.print(printable(f"{name}: {'unknown' if fact is None else fact}"))
    if mark is None:
        console.print('watermark: unknown; pip install "fastvoicegrad[watermark]" finds it')
    else:
        console.print(f"watermark: {'found' if mark > FOUND else 'none found'} (score {mark:.2f} of 1)")


def _watermark(path: Path) -> float | None:
    """The score of a recording's first minute; None where nothing can tell."""
    from .. import audio
    from ..audio.offset import regrouped
    from ..watermark import RATE, check_watermark, watermark_score

    try:
        check_watermark()
    except InputError:
        return None
    start = next(regrouped(audio.read_blocks(audio.inspect(path), RATE), 60 * RATE), None)
    return 0.0 if start is None else watermark_score(start, RATE)

"""``fastvoicegrad info``: what a bundle or a recording is."""

from __future__ import annotations

import json
import os
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.table import Table

from ..errors import InputError
from ..files import scratch_folder, shown
from .common import PIPE, STDIN, Names, console, errors, friendly, from_stdin, named, printable, renamed

if TYPE_CHECKING:
    from ..audio import AudioInfo


@friendly
def info(
    path: Annotated[
        Path | None,
        typer.Argument(
            metavar="[BUNDLE]",
            help="Bundle folder or .zip, or a recording (- is standard input); default: the built-in bundle.",
        ),
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON: of a bundle the fields of config.json.")] = False,
) -> None:
    """Describe a bundle, after a check of every file in it. Of a recording: tags and watermark."""
    if path == Path(PIPE):
        with scratch_folder() as folder:
            recording = from_stdin(folder)
            names = {recording: STDIN}
            with named(names):
                _describe_recording(recording, as_json, names)
        return
    if path is not None and not os.path.exists(path):
        raise InputError(f"{shown(path)}: no such file or folder; check its name")
    if path is not None and path.suffix.lower() == ".voice":
        raise InputError(f"{shown(path)} is a voice; 'fastvoicegrad voice show' describes it")
    if path is not None and os.path.isfile(path) and path.suffix.lower() != ".zip":
        _describe_recording(path, as_json, {})
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


def _describe_recording(path: Path, as_json: bool, names: Names) -> None:
    from .. import audio
    from ..watermark import FOUND

    info = audio.inspect(path)
    seconds, mark = _seconds(info), _watermark(path)
    warnings = [printable(renamed(sentence, names)) for sentence in info.warnings]
    facts = {"rate": info.rate, "channels": info.channels, "seconds": round(seconds, 6), **audio.read_tags(path)}
    if as_json:
        print(json.dumps(facts | {"watermark": mark, "warnings": warnings}))
        return
    for sentence in warnings:
        errors.print(f"fastvoicegrad: warning: {sentence}", style="yellow")
    for name, fact in (facts | {"seconds": _rounded(seconds)}).items():
        console.print(printable(f"{name}: {fact}"))
    if mark is None:
        console.print('watermark: unknown; pip install "fastvoicegrad[watermark]" finds it')
    else:
        console.print(f"watermark: {'found' if mark > FOUND else 'none found'} (score {mark:.2f} of 1)")


def _seconds(info: AudioInfo) -> float:
    """Length of what the decoder gives, which may be less than the header's. Its warnings are complete then."""
    from ..audio.reading import decoded_blocks

    samples = sum(map(len, decoded_blocks(info)))
    if not samples:
        info.warn(f"{info.name} holds no samples that can be decoded; record or copy it again")
    return samples / info.rate


def _rounded(seconds: float) -> str:
    """To milliseconds; what is shorter to microseconds."""
    return f"{seconds:.3f}" if seconds >= 0.001 else f"{seconds:.6f}"


def _watermark(path: Path) -> float | None:
    """The score of a recording's first minute; None where nothing can tell."""
    from .. import audio
    from ..audio.offset import regrouped
    from ..watermark import RATE, check_watermark, watermark_score

    try:
        check_watermark()
    except InputError:
        return None
    try:
        start = next(regrouped(audio.read_blocks(audio.inspect(path), RATE), 60 * RATE), None)
    except InputError:  # it has no samples that can be decoded, or some that are not numbers
        return 0.0
    return 0.0 if start is None else watermark_score(start, RATE)

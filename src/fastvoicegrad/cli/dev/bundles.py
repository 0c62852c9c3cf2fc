"""Bundles: from checkpoints to ONNX graphs, and back."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import typer

from ...errors import InputError
from ..common import (
    BundleOption,
    SettingsOption,
    console,
    developer_module,
    errors,
    existing,
    findings,
    friendly,
    printable,
)

OutputOption = Annotated[Path, typer.Option("-o", "--output", help="Bundle folder to write.")]


@friendly
def export(
    output: OutputOption,
    content: Annotated[Path, typer.Option(help="Content encoder's checkpoint.")],
    speaker: Annotated[Path, typer.Option(help="Speaker encoder's checkpoint.")],
    pitch: Annotated[Path, typer.Option(help="Pitch tracker's checkpoint.")],
    vocoder: Annotated[Path, typer.Option(help="Vocoder's checkpoint.")],
    student: Annotated[Path | None, typer.Option(help="Student's checkpoint: a bundle of one step.")] = None,
    teacher: Annotated[Path | None, typer.Option(help="Teacher's checkpoint: a bundle of any number of steps.")] = None,
    recipe: Annotated[
        Path,
        typer.Option(help="YAML of name, notes, post-filter, temperature, guidance, feedback, corrections, storage."),
    ] = Path("recipes/release/export.yaml"),
    settings: SettingsOption = None,
) -> None:
    """Write a bundle from checkpoints: all that the run time needs."""
    exporter, recipes = developer_module("training.export"), developer_module("training.recipe")
    converter = student or teacher
    if (student is None) == (teacher is None) or converter is None:
        raise InputError("give either --student or --teacher")
    parts = {"content": content, "speaker": speaker, "pitch": pitch, "vocoder": vocoder}
    for name, path in {**parts, "student" if student else "teacher": converter}.items():
        existing(path, f"--{name}")
    exporter.export(
        output,
        recipes.build(exporter.ExportSettings, recipes.read_yaml(recipe, settings)),
        **parts,
        converter=converter,
        teacher=teacher is not None,
        warn=_warn,
    )
    _report_size(output)


@friendly
def export_stream(
    output: OutputOption,
    content: Annotated[
        Path, typer.Option(help="Checkpoint of stream-content, or of stream-converter with train_content.")
    ],
    pitch: Annotated[Path, typer.Option(help="Checkpoint of stream-pitch.")],
    converter: Annotated[Path, typer.Option(help="Checkpoint of stream-converter.")],
    renderer: Annotated[Path, typer.Option(help="Checkpoint of stream-renderer.")],
    bundle: Annotated[
        Path | None, typer.Option(help="Full bundle that taught them, whose voices they take; default: the built-in.")
    ] = None,
    recipe: Annotated[Path, typer.Option(help="YAML of name, notes, storage.")] = Path(
        "recipes/release/export-stream.yaml"
    ),
    settings: SettingsOption = None,
) -> None:
    """Write a stream bundle from checkpoints, for 'fastvoicegrad live' and the server's streams."""
    from ...bundle import Bundle

    exporter, recipes = developer_module("training.stream_export"), developer_module("training.recipe")
    parts = {"content": content, "pitch": pitch, "converter": converter, "renderer": renderer}
    for name, path in parts.items():
        existing(path, f"--{name}")
    chosen = recipes.build(exporter.StreamExportSettings, recipes.read_yaml(recipe, settings))
    exporter.export_stream(output, chosen, Bundle.open(bundle), **parts)
    _report_size(output)


@friendly
def store(
    output: OutputOption,
    bundle: BundleOption = None,
    storage: Annotated[
        Literal["byte", "half"], typer.Option(help="Eight bits or half precision per weight; the arithmetic stays.")
    ] = "byte",
) -> None:
    """Write a bundle with its weights stored in another precision."""
    developer_module("training.storage").store_bundle(bundle, output, storage)
    _report_size(output)


@friendly
def quantise(
    speech: Annotated[list[Path], typer.Argument(help="Recordings of two or more voices: calibration data.")],
    output: OutputOption,
    bundle: BundleOption = None,
) -> None:
    """Write a bundle that computes in eight bits: faster, nearly the same. Evaluate it before use."""
    with findings():
        developer_module("training.quantise").quantise(bundle, speech, output)
    _report_size(output)


@friendly
def restore(
    output: Annotated[Path, typer.Option("-o", "--output", help="Folder for the checkpoints.")],
    bundle: BundleOption = None,
) -> None:
    """Write checkpoints from a bundle, to train from (loop.start_from) or to export again."""
    for path in developer_module("training.restore").restore(bundle, output):
        console.print(str(path))


@friendly
def restore_stream(
    output: Annotated[Path, typer.Option("-o", "--output", help="Folder for the checkpoints.")],
    bundle: Annotated[Path | None, typer.Option(help="Stream bundle; default: the built-in one.")] = None,
) -> None:
    """Write checkpoints from a stream bundle, to train from (loop.start_from) or to export again."""
    for path in developer_module("training.restore_stream").restore_stream(bundle, output):
        console.print(str(path))


def _warn(sentence: str) -> None:
    errors.print(f"fastvoicegrad: warning: {printable(sentence)}", style="yellow")


def _report_size(bundle: Path) -> None:
    console.print(f"{bundle}: {sum(f.stat().st_size for f in bundle.iterdir()) / 1e6:.1f} MB")


COMMANDS = (export, export_stream, store, quantise, restore, restore_stream)

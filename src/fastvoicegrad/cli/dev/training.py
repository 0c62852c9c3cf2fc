"""Training of one network at a time, and what is done to checkpoints."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from ...errors import InputError
from ..common import SettingsOption, console, developer_module, existing, friendly


@friendly
def train(
    part: Annotated[
        str,
        typer.Argument(
            help="content, speaker, pitch, vocoder, teacher, student; diffvc-encoder, diffvc; stream-content, "
            "stream-pitch, stream-renderer, stream-converter."
        ),
    ],
    recipe: Annotated[Path, typer.Option(help="YAML recipe; recipes/ has several.")],
    out: Annotated[Path, typer.Option("-o", "--output", help="Folder for checkpoints and curves; resumes there.")],
    settings: SettingsOption = None,
) -> None:
    """Train one part; 'student' is the distillation. A killed run continues exactly from its last checkpoint."""
    tasks, recipes, loop = (developer_module(f"training.{name}") for name in ("tasks.registry", "recipe", "loop"))
    if part not in tasks.PARTS:
        raise InputError(f"'{part}' cannot be trained; choose one of {', '.join(tasks.PARTS)}")
    try:
        task, resolved = tasks.make_task(part, recipes.read_yaml(recipe, settings))
        loop.Trainer(task, out, resolved).run()
    except (FileNotFoundError, loop.NonFiniteLoss) as error:
        raise InputError(str(error)) from error


@friendly
def align(
    checkpoint: Annotated[Path, typer.Argument(help="Checkpoint with a content encoder.")],
    to: Annotated[Path, typer.Option(help="Checkpoint with the encoder that converters were trained on.")],
    store: Annotated[Path, typer.Option(help="Feature store whose recordings both encode.")],
    output: Annotated[Path, typer.Option("-o", "--output", help="Checkpoint to write.")],
    fresh_heads: Annotated[
        bool, typer.Option(help="New heads, to be trained with frozen=encoder, for an encoder that trains on.")
    ] = False,
) -> None:
    """Map a content encoder into another's coordinates, so that converters of the other continue with it."""
    existing(checkpoint, "CHECKPOINT")
    existing(to, "--to")
    explained = developer_module("training.align").align(checkpoint, to, store, output, fresh_heads)
    console.print(f"{output}: {100 * explained:.0f} % of the other's variance explained")


@friendly
def average(
    checkpoints: Annotated[list[Path], typer.Argument(help="Two or more checkpoints of one recipe's network.")],
    output: Annotated[Path, typer.Option("-o", "--output", help="Checkpoint to write.")],
    share: Annotated[
        list[float] | None, typer.Option(help="Weight of a checkpoint in the mean; one for each, or none: equal.")
    ] = None,
) -> None:
    """Write the mean of runs' weights: often better than each of them, and as fast as one."""
    for path in checkpoints:
        existing(path, "CHECKPOINTS")
    developer_module("training.checkpoint").average(checkpoints, output, share or ())


@friendly
def deepen(
    checkpoint: Annotated[
        Path, typer.Argument(help="Checkpoint of stream-content, stream-converter or stream-renderer.")
    ],
    output: Annotated[Path, typer.Option("-o", "--output", help="Checkpoint to write.")],
    settings: SettingsOption = None,
) -> None:
    """Add layers to a trained network that streams (--set layers=12). It computes the same until it is trained on."""
    existing(checkpoint, "CHECKPOINT")
    developer_module("training.deepen").deepen(checkpoint, output, settings or [])


COMMANDS = (train, align, average, deepen)

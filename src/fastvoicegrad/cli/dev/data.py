"""Training data: from a manifest to a feature store."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from ...errors import InputError
from ...threads import available_cores
from ..common import SettingsOption, developer_module, existing, friendly

LATER_STAGES = ("content-embedding", "speaker-embedding", "parallel")  # they need encoders of this project


@friendly
def prepare(
    manifest: Annotated[Path, typer.Argument(help="JSON lines: id, path, corpus, speaker, duration, split ...")],
    store: Annotated[Path, typer.Option("-o", "--output", help="Feature store to make or complete.")],
    recipe: Annotated[Path | None, typer.Option(help="YAML with the fields of PrepareConfig.")] = None,
    stage: Annotated[
        list[str] | None,
        typer.Option(
            help="mel, pitch, content-teacher, units, speaker; content-embedding, speaker-embedding, parallel. "
            "Repeat for several."
        ),
    ] = None,
    content: Annotated[Path | None, typer.Option(help="Content encoder's checkpoint.")] = None,
    speaker: Annotated[Path | None, typer.Option(help="Speaker encoder's checkpoint.")] = None,
    jobs: Annotated[int | None, typer.Option(min=1, help="Processes at once; default: one for each core.")] = None,
    settings: SettingsOption = None,
) -> None:
    """Turn recordings into training arrays. Finished stages are not repeated, except the last three."""
    prepared, recipes = developer_module("training.data.prepare"), developer_module("training.recipe")
    values = recipes.read_yaml(recipe, settings) if recipe else recipes.overridden({}, settings)
    values |= {"jobs": jobs or values.get("jobs", available_cores()), "manifest": str(manifest), "store": str(store)}
    config = recipes.build(prepared.PrepareConfig, values)
    stages = stage or list(prepared.STAGES)
    if unknown := set(stages) - {*prepared.STAGES, *LATER_STAGES}:
        raise InputError(f"unknown stage {', '.join(sorted(unknown))}; see --help")
    opened = prepared.prepare(config, [s for s in stages if s in prepared.STAGES])
    embed = developer_module("training.data.embed")
    if "speaker-embedding" in stages:
        embed.embed_speaker(opened, existing(speaker, "--speaker"), jobs=config.jobs)
    if "content-embedding" in stages:
        perturbation = developer_module("training.data.perturb").PerturbConfig(noise=0.0)
        embed.embed_content(opened, existing(content, "--content"), perturbation, jobs=config.jobs)
    if "parallel" in stages:
        developer_module("training.data.parallel").align_parallel(opened)


COMMANDS = (prepare,)

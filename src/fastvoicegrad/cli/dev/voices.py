"""Preset voices: from a recipe to the folder that ships."""

from __future__ import annotations

import json
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from ...errors import InputError
from ...files import replacing
from ..common import BundleOption, console, developer_module, findings, friendly

if TYPE_CHECKING:
    from ...converter import VoiceConverter

MOST_BYTES = 1_500_000  # of all presets together: the package stays small
PREVIEW_RATE = 24000  # Hz: Opus allows it, and the bundle's 22,050 Hz fit in


@dataclass(frozen=True)
class Preset:
    """One preset voice.

    Attributes:
        name: see `library.names.is_name`.
        description: one line about the sound of the voice.
        origin: where the recordings come from, and their licence.
        references: recordings; relative paths start at the recipe's folder.
    """

    name: str
    description: str
    origin: str
    references: list[str]


@dataclass(frozen=True)
class PresetsRecipe:
    """All preset voices in the order in which they are listed.

    Attributes:
        frames: that each voice keeps for retrieval, 0.45 kB each. With 128 and more, the similarity of conversions to
            the target is that with 2,048; with 64 it is 0.01 lower.
    """

    voices: list[Preset]
    frames: int = 192


@friendly
def voices(
    recipe: Annotated[
        Path, typer.Argument(help="YAML: frames, and voices with name, description, origin, references.")
    ],
    output: Annotated[Path, typer.Option("-o", "--output", help="Folder to write, e.g. src/fastvoicegrad/voices.")],
    bundle: BundleOption = None,
) -> None:
    """Make the preset voices that ship with a bundle, and a preview of each."""
    from ...converter import VoiceConverter

    recipes = developer_module("training.recipe")
    settings: PresetsRecipe = recipes.build(PresetsRecipe, recipes.read_yaml(recipe))
    with findings():
        size = make_presets(VoiceConverter.load(bundle), settings, recipe.parent, output)
    console.print(f"{output}: {len(settings.voices)} voices, {size / 1e6:.2f} MB")


def make_presets(converter: VoiceConverter, recipe: PresetsRecipe, root: Path, folder: Path) -> int:
    """Write ``NAME.voice`` and ``NAME.opus`` of each preset, then ``index.json``; gives their bytes together.

    Args:
        root: folder at which relative paths of references start.
    Raises:
        InputError: wrong names, a reference that cannot be used, other files in the folder, or too many bytes.
    """
    from ...library.folder import INDEX, PREVIEW, SUFFIX, made

    names = _checked_names(recipe)
    files = [f"{name}{suffix}" for name in names for suffix in (SUFFIX, PREVIEW)]
    if others := {path.name for path in made(folder).iterdir()} - {*files, INDEX, "README.md"}:
        raise InputError(f"{folder} holds other files ({sorted(others)[0]}); name an empty folder")
    for name, preset in zip(names, recipe.voices, strict=True):
        _make(converter, preset, recipe.frames, root, folder / f"{name}{SUFFIX}")
    size = sum((folder / name).stat().st_size for name in files)
    if size > MOST_BYTES:
        raise InputError(f"the presets have {size / 1e6:.2f} MB, {MOST_BYTES / 1e6} MB are allowed; lower 'frames'")
    with replacing(folder / INDEX) as part:
        part.write_text(json.dumps(names, ensure_ascii=False) + "\n", encoding="utf-8")
    return size


def _make(converter: VoiceConverter, preset: Preset, frames: int, root: Path, path: Path) -> None:
    from ...library.folder import PREVIEW
    from ...preview import render_preview

    voice = converter.voice([root / reference for reference in preset.references])
    replace(voice, description=preset.description, sources=[preset.origin]).save(path, frames)
    render_preview(converter, path, path.with_suffix(PREVIEW), PREVIEW_RATE, name=path.stem)


def _checked_names(recipe: PresetsRecipe) -> list[str]:
    from ...library.names import checked_name, key

    names = [checked_name(preset.name) for preset in recipe.voices]
    if len({key(name) for name in names}) < len(names):
        raise InputError("recipe: two voices have the same name")
    return names


COMMANDS = (voices,)

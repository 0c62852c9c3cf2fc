"""Recipes: YAML files that name every setting of a training run, read into typed, frozen dataclasses."""

from __future__ import annotations

from pathlib import Path
from typing import Any, TypeVar

import dacite
import yaml

from ..errors import InputError
from .loop import Task

R = TypeVar("R")
PARTS = ("content", "speaker", "pitch", "vocoder", "teacher", "student")


def read_yaml(path: str | Path, overrides: list[str] | None = None) -> dict[str, Any]:
    """A recipe as a dictionary: of the recipe that it `extends`, if any, what it does not say itself; then
    ``a.b=value`` overrides (values are YAML).

    Raises:
        InputError: missing, not YAML, or an override without "=".
    """
    try:
        data = yaml.safe_load(Path(path).read_text()) or {}
    except OSError as error:
        raise InputError(f"{path}: no such recipe; see recipes/") from error
    except yaml.YAMLError as error:
        raise InputError(f"{path} is not YAML: {str(error).splitlines()[0]}") from error
    if extends := data.pop("extends", None):
        data = merged(read_yaml(Path(path).parent / extends), data)
    return overridden(data, overrides)


def merged(base: dict[str, Any], changes: dict[str, Any]) -> dict[str, Any]:
    """`base` with `changes`, dictionaries within dictionaries as well."""
    both = {k: merged(base[k], v) for k, v in changes.items() if isinstance(v, dict) and isinstance(base.get(k), dict)}
    return {**base, **changes, **both}


def overridden(data: dict[str, Any], overrides: list[str] | None) -> dict[str, Any]:
    """Apply ``a.b=value`` overrides in place; no value is an empty text."""
    for override in overrides or []:
        key, equals, value = override.partition("=")
        if not equals:
            raise InputError(f"--set {override}: write it as name.name=value")
        *parents, last = key.split(".")
        node = data
        for parent in parents:
            node = node.setdefault(parent, {})
        node[last] = yaml.safe_load(value) if value else ""
    return data


def build(kind: type[R], data: dict[str, Any]) -> R:
    """A dataclass from a dictionary; unknown names and wrong types are errors.

    Raises:
        InputError: with the name that is wrong.
    """
    config = dacite.Config(strict=True, cast=[tuple], type_hooks={float: float})
    try:
        return dacite.from_dict(kind, data, config)
    except (dacite.DaciteError, TypeError, ValueError) as error:
        raise InputError(f"recipe: {error}") from error


def make_task(part: str, data: dict[str, Any]) -> tuple[Task, Any]:
    """The task of one of `PARTS` and its recipe."""
    from .tasks.content import ContentRecipe, ContentTask
    from .tasks.pitch import PitchRecipe, PitchTask
    from .tasks.speaker import SpeakerRecipe, SpeakerTask
    from .tasks.student import StudentRecipe, StudentTask
    from .tasks.teacher import TeacherRecipe, TeacherTask
    from .tasks.vocoder import VocoderRecipe, VocoderTask

    kinds: dict[str, tuple[type[Any], type[Any]]] = {
        "content": (ContentRecipe, ContentTask),
        "speaker": (SpeakerRecipe, SpeakerTask),
        "pitch": (PitchRecipe, PitchTask),
        "vocoder": (VocoderRecipe, VocoderTask),
        "teacher": (TeacherRecipe, TeacherTask),
        "student": (StudentRecipe, StudentTask),
    }
    recipe_kind, task_kind = kinds[part]
    recipe = build(recipe_kind, data)
    return task_kind(recipe), recipe

"""Recipes: YAML files with the settings of a run, read into typed, frozen dataclasses."""

from __future__ import annotations

import copy
import dataclasses
from pathlib import Path
from typing import Any, TypeVar, get_type_hints

import dacite
import yaml

from ..errors import InputError

R = TypeVar("R")
NO = "; YAML reads the word no as false, so write '\"no\"'"


def read_yaml(path: str | Path, overrides: list[str] | None = None) -> dict[str, Any]:
    """A recipe as a dictionary.

    A recipe may name another one with `extends`; its own settings replace those. Overrides come last.

    Args:
        overrides: ``a.b=value`` each; values are YAML.
    Raises:
        InputError: the file is missing or not YAML, or an override lacks its "=".
    """
    try:
        data = yaml.safe_load(Path(path).read_text(encoding="utf-8")) or {}
    except OSError as error:
        raise InputError(f"{path}: no such recipe; see recipes/") from error
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise InputError(f"{path} is not YAML: {str(error).splitlines()[0]}") from error
    if not isinstance(data, dict) or not isinstance(data.get("extends", ""), str):
        raise InputError(f"{path} is not a recipe: it must hold names with values, and extends the name of a file")
    if extends := data.pop("extends", None):
        try:
            data = merged(read_yaml(Path(path).parent / extends), data)
        except RecursionError as error:
            raise InputError(f"{path} extends itself; name another recipe, or leave extends out") from error
    return overridden(data, overrides)


def merged(base: dict[str, Any], changes: dict[str, Any]) -> dict[str, Any]:
    """`base` with `changes`; nested dictionaries are merged too."""
    both = {k: merged(base[k], v) for k, v in changes.items() if isinstance(v, dict) and isinstance(base.get(k), dict)}
    return {**base, **changes, **both}


def overridden(data: dict[str, Any], overrides: list[str] | None) -> dict[str, Any]:
    """A copy of `data` with ``a.b=value`` overrides. An empty value is an empty text.

    Raises:
        InputError: an override lacks its "=", or names a part of something that has no parts, or its value is not YAML.
    """
    data = copy.deepcopy(data)
    for override in overrides or []:
        key, equals, value = override.partition("=")
        if not equals:
            raise InputError(f"--set {override}: write it as name.name=value")
        *parents, last = key.split(".")
        node = data
        for parent in parents:
            node = node.setdefault(parent, {})
            if not isinstance(node, dict):
                raise InputError(f"--set {override}: '{parent}' is a value, it has no '{last}'")
        try:
            node[last] = yaml.safe_load(value) if value else ""
        except yaml.YAMLError as error:
            raise InputError(f"--set {override}: {value} is not YAML; close brackets and quotes") from error
    return data


def build(kind: type[R], data: dict[str, Any]) -> R:
    """A dataclass from a dictionary; unknown names and wrong types are errors.

    A table of settings, such as the weights of losses, keeps its defaults where it has no other values.

    Raises:
        InputError: with the wrong name or type.
    """
    config = dacite.Config(strict=True, cast=[tuple], type_hooks={float: float})
    try:
        recipe = dacite.from_dict(kind, _completed(kind, data), config)
    except (dacite.DaciteError, TypeError, ValueError) as error:
        wrong = isinstance(error, dacite.WrongTypeError) and error.field_type is str and error.value is False
        raise InputError(f"recipe: {error}{NO if wrong else ''}") from error
    _check_names(recipe)
    return recipe


def _completed(kind: type[Any], data: dict[str, Any]) -> dict[str, Any]:
    """`data` with the defaults of what its tables lack: those of the part, which may differ from a dataclass's own."""
    both, types = dict(data), get_type_hints(kind)
    for entry in dataclasses.fields(kind):
        value = data.get(entry.name)
        if not isinstance(value, dict):
            continue
        if (default := _default_table(entry)) is not None:
            both[entry.name] = merged(default, value)
        elif dataclasses.is_dataclass(types[entry.name]):
            both[entry.name] = _completed(types[entry.name], value)
    return both


def _default_table(entry: dataclasses.Field[Any]) -> dict[str, Any] | None:
    """The default of a setting as a dictionary; None where it has no such default."""
    make = entry.default_factory
    default = entry.default if make is dataclasses.MISSING else make()
    if dataclasses.is_dataclass(default) and not isinstance(default, type):
        return dataclasses.asdict(default)
    return default if isinstance(default, dict) else None


def _check_names(recipe: Any) -> None:
    """Raises InputError where a table of settings, such as the weights of losses, has a name that its default lacks.

    A table whose default is empty takes any names.
    """
    for entry in dataclasses.fields(recipe):
        value = getattr(recipe, entry.name)
        if dataclasses.is_dataclass(value):
            _check_names(value)
        if isinstance(value, dict) and entry.default_factory is not dataclasses.MISSING:
            known = entry.default_factory()
            if known and (unknown := sorted(value.keys() - known.keys())):
                raise InputError(f"recipe: no '{unknown[0]}' in '{entry.name}'; there are {', '.join(known)}")

"""The files of a bundle: settings are checked before any file of an older bundle is replaced."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Mapping
from contextlib import ExitStack
from dataclasses import asdict
from pathlib import Path
from typing import Any, get_type_hints

import msgspec

from ..bundle import LARGEST_CONFIG
from ..errors import InputError
from ..files import new_folder, replacing, scratch_folder
from ..postfilter import PostFilter

UNWRITABLE = (TypeError, ValueError, RecursionError)  # by a value that JSON lacks, such as a date of YAML


def check_settings(settings: Mapping[str, Any], kind: type) -> None:
    """Compare settings of an export with the fields of the same names in the settings of a bundle.

    Args:
        settings: by their names; fields that `kind` lacks are left out.
        kind: `BundleConfig` or `StreamConfig`, whose types and ranges count.
    Raises:
        InputError: a bundle with one of these settings could not be opened.
    """
    hints = get_type_hints(kind, include_extras=True)
    for name, value in settings.items():
        if name not in hints:
            continue
        try:
            data = json.dumps(asdict(value) if isinstance(value, PostFilter) else value, allow_nan=False)
        except UNWRITABLE as error:
            raise _unwritable(name, error) from error
        try:
            msgspec.json.decode(data.encode(), type=hints[name])
        except (msgspec.MsgspecError, RecursionError) as error:
            raise InputError(f"{name} cannot be used ({error}); correct it") from error


def config_json(write: Callable[[Path], None], parse: Callable[[bytes], object]) -> bytes:
    """The ``config.json`` of a bundle, which can be read again.

    Args:
        write: writes it into a folder.
        parse: reads its bytes, or raises InputError.
    Raises:
        InputError: it could not be read.
    """
    with scratch_folder() as folder:
        try:
            write(folder)
        except UNWRITABLE as error:
            raise _unwritable("a setting", error) from error
        data = (folder / "config.json").read_bytes()
    if len(data) > LARGEST_CONFIG:
        raise InputError(f"the notes are too long: config.json may have {LARGEST_CONFIG} bytes; shorten them")
    try:
        parse(data)
    except InputError as error:
        reason = str(error).rpartition("; ")[0]  # what follows is meant for those who got the bundle
        raise InputError(f"the bundle could not be opened: {reason}; correct the export's settings") from error
    return data


def write_files(folder: Path, graphs: Mapping[str, bytes], config: bytes) -> None:
    """Write a bundle. Files of an older one are replaced at the end, when all new ones are complete.

    Args:
        folder: is made where it is missing.
        graphs: by the networks' names.
        config: see `config_json`.
    Raises:
        InputError: a file cannot be written.
    """
    new_folder(folder)
    with ExitStack() as files:  # it ends with the first file, so the settings come last into place
        for name, data in {"config.json": config, **{f"{name}.onnx": data for name, data in graphs.items()}}.items():
            _write_through(files.enter_context(replacing(folder / name)), data)


def _write_through(path: Path, data: bytes) -> None:
    """Write to the disk at once: a full one may show only then."""
    with path.open("wb") as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())


def _unwritable(name: str, error: Exception) -> InputError:
    return InputError(f"{name} cannot be written as JSON ({error}); use finite numbers, and text in quotes for dates")

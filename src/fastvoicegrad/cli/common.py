"""What all commands share: consoles, options, and one line for bad input."""

from __future__ import annotations

import functools
import importlib
import math
import os
import shutil
import sys
import warnings
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Any, TypeVar

import typer
from rich.console import Console

from ..errors import AudioWarning, InputError
from ..files import shown

PIPE = "-"  # standard input or output
STDIN, STDOUT = "standard input", "standard output"  # in messages

F = TypeVar("F", bound=Callable[..., Any])
Names = Mapping[Path, str]

console = Console(soft_wrap=True, markup=False, highlight=False, emoji=False)
errors = Console(stderr=True, soft_wrap=True, markup=False, highlight=False, emoji=False)

BundleOption = Annotated[Path | None, typer.Option("--bundle", help="Bundle folder or .zip; default: the built-in.")]
StreamBundleOption = Annotated[
    Path | None, typer.Option("--stream-bundle", help="Stream bundle, a folder or .zip; default: the built-in.")
]
ThreadsOption = Annotated[
    int | None, typer.Option(min=1, help="CPU threads; default: the cores that may be used, at most 8.")
]
SettingsOption = Annotated[list[str] | None, typer.Option("--set", help="Override a setting: name.name=value; repeat.")]


def known_names(start: str) -> Iterator[str]:
    """Names for the shell's completion."""
    from ..library import VoiceLibrary

    yield from (name for name in VoiceLibrary().names() if name.startswith(start))


def friendly(command: F) -> F:
    """Bad input ends in one line and exit code 2."""

    @functools.wraps(command)
    def wrapped(*args: Any, **kwargs: Any) -> Any:
        try:
            return command(*args, **kwargs)
        except InputError as error:
            errors.print(f"fastvoicegrad: {printable(str(error))}", style="red")
            raise typer.Exit(2) from error
        except MemoryError as error:
            errors.print("fastvoicegrad: there is too little memory; close other programs and try again", style="red")
            raise typer.Exit(2) from error

    return wrapped  # type: ignore[return-value]


@contextmanager
def findings(quiet: bool = False, names: Names | None = None) -> Iterator[list[str]]:
    """Collects what is found about recordings; without `quiet` each finding is a line on stderr.

    Args:
        names: see `renamed`.
    """
    found: list[str] = []
    with warnings.catch_warnings():
        warnings.simplefilter("always", AudioWarning)
        show_other = warnings.showwarning

        def show(message: Warning | str, category: type[Warning], *place: Any, **more: Any) -> None:
            if not issubclass(category, AudioWarning):
                show_other(message, category, *place, **more)
            elif (line := printable(renamed(str(message), names or {}))) not in found:
                found.append(line)
                if not quiet:
                    errors.print(f"fastvoicegrad: warning: {line}", style="yellow")

        warnings.showwarning = show
        yield found


def printable(text: str) -> str:
    """One line without control characters, which could steer the terminal."""
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)


def finite(number: float | None) -> float | None:
    """For options: refuses NaN and infinity. NaN passes every range."""
    if number is not None and not math.isfinite(number):
        raise typer.BadParameter("give a finite number")
    return number


def positive(number: float | None) -> float | None:
    """For options: refuses 0, too. Ranges hold their ends."""
    if (number := finite(number)) is not None and number <= 0:
        raise typer.BadParameter("give a number above 0")
    return number


def path_of(text: str | Path) -> Path:
    """For options and their defaults: refuses an empty text, which would be this folder.

    That of an unset variable of the shell is empty.
    """
    if not str(text).strip():
        raise typer.BadParameter("it is empty; give it a name")
    return Path(text)


path_of.__name__ = "path"  # what the help shows as the type


def developer_module(module: str) -> Any:
    """A module below ``training`` or ``evaluation``, or a line with the command that installs what it needs."""
    try:
        return importlib.import_module(f"fastvoicegrad.{module}")
    except ModuleNotFoundError as error:
        extra = module.split(".")[0].replace("training", "train").replace("evaluation", "eval")
        raise InputError(f"this command needs '{error.name}': run pip install \"fastvoicegrad[{extra}]\"") from error


def existing(path: Path | None, option: str) -> Path:
    """`path`, where there is such a file.

    Raises:
        InputError: there is none; the message names the option.
    """
    if path is None or not os.path.exists(path):
        raise InputError(f"{option}: no such file" if path is None else f"{option} {path}: no such file")
    return path


# -- pipes --------------------------------------------------------------------------------------------------


def from_stdin(folder: Path) -> Path:
    """What standard input holds, as a file in a folder.

    Raises:
        InputError: it is closed or a terminal.
    """
    if sys.stdin is None:
        raise InputError(f"{STDIN} is closed; send a sound file to it")
    if sys.stdin.isatty():
        raise InputError(f"{STDIN} is a terminal; send a sound file to it")
    path = folder / "stdin"
    with path.open("wb") as file:
        shutil.copyfileobj(sys.stdin.buffer, file)
    return path


def renamed(message: str, names: Names) -> str:
    """A message with other names of some files: those of pipes, where the files are temporary."""
    for path, name in names.items():
        message = message.replace(shown(path), name)
    return message


@contextmanager
def named(names: Names) -> Iterator[None]:
    """Errors give these files other names, see `renamed`."""
    try:
        yield
    except InputError as error:
        raise InputError(renamed(str(error), names)) from error

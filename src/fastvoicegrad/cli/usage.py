"""Wrong options and arguments, and a full disk, end in one line and exit code 2, as all bad input does."""

from __future__ import annotations

import errno
import os
import re
import sys
from collections.abc import Sequence
from contextlib import suppress
from functools import partial
from typing import Any

import typer
from typer.core import TyperGroup

from ..files import NO_ROOM
from .common import errors, printable

# The exception of click, or of the copy of click that newer versions of typer have.
UsageError: Any = typer.BadParameter.__base__
# Words of typer's validators -> plain ones.
PLAIN = {
    r"is not a valid (integer|int)( range)?": "is not a whole number",
    r"is not a valid float( range)?": "is not a number",
    r"Value error, ": "",
    r"Input should be a valid integer.*": "it must be a whole number",
    r"Input should be a valid number.*": "it must be a number",
    r"Input should be": "it must be",
}


class Commands(TyperGroup):
    """All commands. Typer itself would draw a box of several lines around an error."""

    def main(
        self,
        args: Sequence[str] | None = None,
        prog_name: str | None = None,
        complete_var: str | None = None,
        standalone_mode: bool = True,
        windows_expand_args: bool = True,
        **extra: Any,
    ) -> Any:
        """Run a command and, with `standalone_mode`, end the process with its exit code."""
        # These read patterns themselves: with folders, and again and again with --watch.
        expanding = windows_expand_args and sys.argv[1:2] not in (["convert"], ["adapt"])
        run = partial(super().main, args, prog_name, complete_var, False, expanding, **extra)
        if not standalone_mode:
            return run()
        try:
            code = run()
            if sys.stdout:
                sys.stdout.flush()  # a full disk appears here
        except UsageError as error:
            if error.format_message():  # a group without a command has printed its help
                errors.print(f"fastvoicegrad: {printable(usage_line(error))}", style="red")
            sys.exit(error.exit_code)
        except typer.Abort:
            sys.exit(1)
        except OSError as error:
            sys.exit(_unwritten(error))
        sys.exit(code if isinstance(code, int) else 0)


def _unwritten(error: OSError) -> int:
    """The exit code where standard output or a temporary file cannot be written. Other errors are raised again."""
    if error.errno not in NO_ROOM | {errno.EPIPE}:
        raise error
    with suppress(OSError, ValueError):  # what is left of standard output would be written at the end, in vain
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    if error.errno == errno.EPIPE:  # the program that reads has ended
        return 1
    errors.print("fastvoicegrad: no room left for the output or temporary files; free some and try again", style="red")
    return 2


def usage_line(error: Any) -> str:
    """An error of typer in one line, with the command that lists what is right."""
    message = " ".join(error.format_message().split()).rstrip(".")
    for pattern, plain in PLAIN.items():
        message = re.sub(pattern, plain, message)
    command = error.ctx.command_path if error.ctx else "fastvoicegrad"
    see = " See" if message.endswith("?") else "; see"
    return f"{message[:1].lower()}{message[1:]}{see} '{command} --help'"

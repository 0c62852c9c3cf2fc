"""Keys of the terminal, one at a time, without waiting."""

from __future__ import annotations

import os
import select
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager

Pressed = Callable[[], str]
ESCAPE = "\x1b"  # begins the bytes of a key without a character
WINDOWS_PREFIXES = "\x00\xe0"  # the same on Windows


@contextmanager
def keys() -> Iterator[Pressed]:
    """A function that gives the next key that was pressed; "" where none was, or where there is no terminal.

    Keys without a character, such as arrows, give "" too. So does a job in the background: it has no keys.
    """
    if not sys.stdin or not sys.stdin.isatty():
        yield lambda: ""
    elif sys.platform == "win32":
        yield _next_on_windows
    else:
        with _unbuffered(sys.stdin.fileno()) as following:
            yield following


@contextmanager
def _unbuffered(terminal: int) -> Iterator[Pressed]:
    """The terminal passes on each key at once, without showing it, as soon as it is this job's."""
    import termios
    import tty

    before = None

    def ready() -> bool:
        nonlocal before
        if not _in_front(terminal):
            return False
        now = termios.tcgetattr(terminal)
        if now[3] & termios.ICANON:  # also after the job was stopped: the shell sets its terminal back
            before = before or now
            tty.setcbreak(terminal, termios.TCSADRAIN)
        return True

    try:
        ready()
        yield lambda: _next(terminal) if ready() else ""
    finally:
        if before is not None and _in_front(terminal):
            termios.tcsetattr(terminal, termios.TCSADRAIN, before)


def _in_front(terminal: int) -> bool:
    """Whether the terminal is this job's. Reading or changing it from the background would stop the process."""
    try:
        return os.tcgetpgrp(terminal) == os.getpgrp()
    except OSError:  # it controls no jobs
        return True


def _next(terminal: int) -> str:
    """The next key that waits. Reading from `sys.stdin` would keep further ones in its buffer."""
    if not _waits(terminal):
        return ""
    key = os.read(terminal, 1).decode(errors="ignore")
    while key == ESCAPE and _waits(terminal):  # what follows belongs to the same key
        os.read(terminal, 1)
    return "" if key == ESCAPE else key


def _waits(terminal: int) -> bool:
    return bool(select.select([terminal], [], [], 0)[0])


def _next_on_windows() -> str:
    import msvcrt  # the standard library has it there alone

    if not msvcrt.kbhit():  # type: ignore[attr-defined,unused-ignore]
        return ""
    key: str = msvcrt.getwch()  # type: ignore[attr-defined,unused-ignore]
    if key in WINDOWS_PREFIXES:
        msvcrt.getwch()  # type: ignore[attr-defined,unused-ignore]
        return ""
    return key

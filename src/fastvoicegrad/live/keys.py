"""Keys of the terminal, one at a time, without waiting."""

from __future__ import annotations

import os
import select
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager

Pressed = Callable[[], str]


@contextmanager
def keys() -> Iterator[Pressed]:
    """A function that gives the next key that was pressed; "" where none was, or where there is no terminal."""
    if not sys.stdin or not sys.stdin.isatty():
        yield lambda: ""
    elif sys.platform == "win32":
        import msvcrt

        yield lambda: msvcrt.getwch() if msvcrt.kbhit() else ""
    else:
        import termios
        import tty

        before = termios.tcgetattr(sys.stdin)
        try:
            tty.setcbreak(sys.stdin)
            yield lambda: _next(sys.stdin.fileno())
        finally:
            termios.tcsetattr(sys.stdin, termios.TCSADRAIN, before)


def _next(terminal: int) -> str:
    """The next key that waits. Reading from `sys.stdin` would keep further ones in its buffer."""
    return os.read(terminal, 1).decode(errors="ignore") if select.select([terminal], [], [], 0)[0] else ""

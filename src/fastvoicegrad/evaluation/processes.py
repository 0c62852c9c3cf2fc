"""Child processes: they end with their parent, and the death of one becomes a line with advice."""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from multiprocessing import parent_process

from ..errors import InputError


def end_with_parent() -> None:
    """End this process when the one that started it ends. Where that has ended already, this ends at once."""
    parent = parent_process()
    assert parent is not None, "the main process has no parent to wait for"

    def watch() -> None:
        parent.join()  # a pipe's end closes: also before this call, and under systems that keep a parent's number
        os._exit(1)

    threading.Thread(target=watch, daemon=True).start()


@contextmanager
def deaths_in_one_line(what: str = "", advice: str = "try fewer --jobs") -> Iterator[None]:
    """Turns the death of a process into one line.

    Args:
        what: failed, and `advice`: what to do about it; the message's first and last words.
    Raises:
        InputError: a process of a pool ended by itself, or was killed.
    """
    try:
        yield
    except BrokenProcessPool as error:
        raise InputError(
            f"{what}{': ' if what else ''}a process ended by itself, probably for lack of memory; {advice}"
        ) from error

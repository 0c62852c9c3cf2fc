"""Signals that ask the process to end: one line, no traceback, exit code 128 + signal."""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from types import FrameType
from typing import TextIO

SIGNALS = [getattr(signal, name) for name in ("SIGINT", "SIGTERM", "SIGHUP") if hasattr(signal, name)]


class Stopped(SystemExit):
    """Ends the process after a signal; all that is open is cleaned up on its way."""

    asked: int | None = None  # the exit code, once a signal came
    stderr: TextIO | None = None  # what stderr was until then


def _stop(number: int, frame: FrameType | None) -> None:
    ignore_signals()  # a second one must not disturb the cleaning up
    Stopped.asked, Stopped.stderr = 128 + number, sys.stderr
    with suppress(OSError, ValueError, RuntimeError):  # its terminal may be gone, or the signal has interrupted a print
        print("stopped", file=sys.stderr, flush=True)
    sys.stderr = open(os.devnull, "w")  # noqa: SIM115 (libraries report what interrupts their callbacks and imports)
    raise Stopped(Stopped.asked)


def ignore_signals() -> None:
    """From here on, no signal stops the process."""
    for number in SIGNALS:
        signal.signal(number, signal.SIG_IGN)


@contextmanager
def stoppable() -> Iterator[None]:
    """A signal ends the block, and then the process: also where a library loses `Stopped` or makes an error of it."""
    for number in SIGNALS:
        if signal.getsignal(number) is not signal.SIG_IGN:  # e.g. under nohup
            signal.signal(number, _stop)
    try:
        yield
    except BaseException:
        if Stopped.asked is None:
            raise
    finally:
        ignore_signals()  # all is done
    sys.exit(Stopped.asked)


@contextmanager
def until_stopped() -> Iterator[None]:
    """A signal ends the block, which is no failure: what comes after it goes on."""
    try:
        yield
    except (SystemExit, KeyboardInterrupt):
        if Stopped.stderr is not None:
            sys.stderr.close()
            sys.stderr = Stopped.stderr
        Stopped.asked = Stopped.stderr = None

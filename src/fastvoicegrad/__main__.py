"""``python -m fastvoicegrad`` and ``fastvoicegrad``: the command line, ready for Ctrl-C from its first moment."""

from __future__ import annotations

import os
import signal
import sys
from types import FrameType

STOPPING = [getattr(signal, name) for name in ("SIGINT", "SIGTERM", "SIGHUP") if hasattr(signal, name)]


class Stopped(SystemExit):
    """A signal asks the process to end; the exit code is 128 + its number."""

    asked: int | None = None  # the exit code, once a signal came


def _stop(number: int, frame: FrameType | None) -> None:
    _ignore_signals()  # a second one must not disturb the cleaning up
    print("stopped", file=sys.stderr, flush=True)
    sys.stderr = open(os.devnull, "w")  # noqa: SIM115 (libraries report what interrupts their callbacks and imports)
    Stopped.asked = 128 + number
    raise Stopped(Stopped.asked)


def _ignore_signals() -> None:
    for number in STOPPING:
        signal.signal(number, signal.SIG_IGN)


def run() -> None:
    """Run the command line; stopped by a signal, it cleans up."""
    for number in STOPPING:
        if signal.getsignal(number) is not signal.SIG_IGN:  # e.g. under nohup
            signal.signal(number, _stop)
    for stream in (sys.stdout, sys.stderr):
        # A console that lacks a character must not end a conversion.
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="backslashreplace")
    try:
        from .cli import app

        app(prog_name="fastvoicegrad")
    except BaseException:
        if Stopped.asked is None:
            raise
    finally:
        _ignore_signals()  # all is done
    sys.exit(Stopped.asked)  # a library may have lost `Stopped`, or made an ImportError of it


if __name__ == "__main__":
    run()

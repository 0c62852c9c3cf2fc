"""``python -m fastvoicegrad`` and ``fastvoicegrad``: the command line, ready for Ctrl-C from its first moment."""

from __future__ import annotations

import signal
import sys
from types import FrameType

STOPPING = ("SIGINT", "SIGTERM", "SIGHUP")


class Stopped(SystemExit):
    """A signal asks the process to end; the exit code is 128 + its number."""


def _stop(number: int, frame: FrameType | None) -> None:
    for name in STOPPING:  # a second signal must not disturb the cleaning up
        if hasattr(signal, name):
            signal.signal(getattr(signal, name), signal.SIG_IGN)
    print("stopped", file=sys.stderr)
    raise Stopped(128 + number)


def run() -> None:
    """Run the command line; stopped by a signal, it cleans up."""
    for name in STOPPING:
        number = getattr(signal, name, None)
        if number is not None and signal.getsignal(number) is not signal.SIG_IGN:  # e.g. under nohup
            signal.signal(number, _stop)
    for stream in (sys.stdout, sys.stderr):
        # A console that lacks a character must not end a conversion.
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="backslashreplace")
    from .cli import app

    app(prog_name="fastvoicegrad")


if __name__ == "__main__":
    run()

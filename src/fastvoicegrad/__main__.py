"""``python -m fastvoicegrad`` and ``fastvoicegrad``: the command line, ready for Ctrl-C from its first moment."""

from __future__ import annotations

import os
import sys

from .stopping import stoppable


def run() -> None:
    """Run the command line; stopped by a signal, it cleans up."""
    # NumPy multiplies small matrices here. Its threads would wait busily for the next ones, beside the networks'.
    os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
    with stoppable():
        for stream in (sys.stdout, sys.stderr):
            # A console that lacks a character must not end a conversion.
            if hasattr(stream, "reconfigure"):
                stream.reconfigure(errors="backslashreplace")
        from .cli import app

        app(prog_name="fastvoicegrad")


if __name__ == "__main__":
    run()

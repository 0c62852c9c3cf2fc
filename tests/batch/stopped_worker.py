"""A worker that is asked to stop once its first result is in its place, wherever STOPPED_AT names a function.

Its parent runs it in the place of the real one. The function is one of the module `tasks`, or `send` of `worker`.
"""

from __future__ import annotations

import os
import signal
from typing import Any

from fastvoicegrad.batch import tasks, worker
from fastvoicegrad.batch.journal import Entry

VARIABLE = "STOPPED_AT"
PLACES = ("_check_same", "sha256_of", "replace", "send")


def main() -> None:
    name = os.environ[VARIABLE]
    module: Any = worker if name == "send" else tasks
    real, convert, results = getattr(module, name), tasks.Setup._convert, list[object]()

    def convert_and_note(*arguments: Any) -> Any:
        results.append(convert(*arguments))
        return results[-1]

    def stopped(*arguments: Any, **named: Any) -> Any:
        if results and (name != "send" or isinstance(arguments[1], Entry)):
            signal.raise_signal(signal.SIGTERM)
        return real(*arguments, **named)

    tasks.Setup._convert = convert_and_note  # type: ignore[method-assign]
    setattr(module, name, stopped)
    worker.main()

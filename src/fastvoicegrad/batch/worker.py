"""A worker: a process that converts one recording after the other, as its parent asks through a pipe."""

from __future__ import annotations

import os
import queue
import signal
import threading
import time
import warnings
from types import FrameType
from typing import IO

from ..errors import AudioWarning
from .messages import receive, send
from .tasks import Setup, Task

PAUSE = 0.1  # seconds between two messages about one recording
IGNORED = ("SIGINT", "SIGHUP")  # of a terminal, for the parent: it ends its workers


def main() -> None:
    """Serve until the parent closes the pipe, or ends in any way."""
    requests, replies = _own_pipes()
    for name in IGNORED:
        if hasattr(signal, name):
            signal.signal(getattr(signal, name), signal.SIG_IGN)
    signal.signal(signal.SIGTERM, _stop)
    warnings.simplefilter("ignore", AudioWarning)  # they stand in the entries
    setup: Setup = receive(requests)
    setup.converter.bundle.session("converter")
    send(replies, "ready")
    tasks: queue.SimpleQueue[Task | None] = queue.SimpleQueue()
    threading.Thread(target=_listen, args=(requests, tasks), daemon=True).start()
    while (task := tasks.get()) is not None:
        send(replies, setup.perform(task, _Progress(replies)))


def _own_pipes() -> tuple[IO[bytes], IO[bytes]]:
    """The pipes from and to the parent. Nothing else reads the one, and what anything prints goes to stderr."""
    requests, replies = os.fdopen(os.dup(0), "rb"), os.fdopen(os.dup(1), "wb")
    nothing = os.open(os.devnull, os.O_RDONLY)
    os.dup2(nothing, 0)
    os.dup2(2, 1)
    return requests, replies


def _listen(requests: IO[bytes], tasks: queue.SimpleQueue[Task | None]) -> None:
    """Takes tasks from the pipe. Its end stops the process, also in the middle of a recording, and it cleans up."""
    try:
        while True:
            tasks.put(receive(requests))
    except (EOFError, OSError):
        tasks.put(None)
        signal.raise_signal(signal.SIGTERM)


def _stop(number: int, frame: FrameType | None) -> None:
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    raise SystemExit(128 + number)


class _Progress:
    """Sends the share that is done, now and then."""

    def __init__(self, replies: IO[bytes]) -> None:
        self._replies, self._last = replies, time.monotonic()

    def __call__(self, share: float) -> None:
        now = time.monotonic()
        if now - self._last >= PAUSE:
            self._last = now
            send(self._replies, share)

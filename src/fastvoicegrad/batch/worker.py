"""A worker: a process that converts one recording after the other, as its parent asks through a pipe."""

from __future__ import annotations

import queue
import signal
import threading
import time
import warnings
from types import FrameType
from typing import IO

from ..children import pipes_to_parent, receive, send
from ..errors import AudioWarning, InputError
from .tasks import Setup, Task

PAUSE = 0.1  # seconds between two messages about one recording


def main() -> None:
    """Serve until the parent closes the pipe, or ends in any way."""
    requests, replies = pipes_to_parent()
    stop = _Stop()
    signal.signal(signal.SIGTERM, stop)
    warnings.simplefilter("ignore", AudioWarning)  # they stand in the entries
    setup: Setup = receive(requests)
    try:
        setup.converter.bundle.session("converter")
    except InputError as error:
        send(replies, error)
        return
    send(replies, "ready")
    tasks: queue.SimpleQueue[Task | None] = queue.SimpleQueue()
    threading.Thread(target=_listen, args=(requests, tasks), daemon=True).start()
    while (task := tasks.get()) is not None:
        send(replies, setup.perform(task, _Progress(replies), stop.hold))
        stop.release()


def _listen(requests: IO[bytes], tasks: queue.SimpleQueue[Task | None]) -> None:
    """Takes tasks from the pipe. Its end stops the process, also in the middle of a recording, and it cleans up."""
    try:
        while True:
            tasks.put(receive(requests))
    except (EOFError, OSError):
        tasks.put(None)
        signal.raise_signal(signal.SIGTERM)


class _Stop:
    """Ends the process at SIGTERM; between `hold` and `release` it waits for the latter: a result gets its entry."""

    def __init__(self) -> None:
        self._held = self._asked = False

    def __call__(self, number: int, frame: FrameType | None) -> None:
        self._asked = True
        if not self._held:
            self._end()

    def hold(self) -> None:
        self._held = True

    def release(self) -> None:
        self._held = False
        if self._asked:
            self._end()

    def _end(self) -> None:
        signal.signal(signal.SIGTERM, signal.SIG_IGN)  # a second one must not disturb the cleaning up
        raise SystemExit(128 + signal.SIGTERM)


class _Progress:
    """Sends the share that is done, now and then."""

    def __init__(self, replies: IO[bytes]) -> None:
        self._replies, self._last = replies, time.monotonic()

    def __call__(self, share: float) -> None:
        now = time.monotonic()
        if now - self._last >= PAUSE:
            self._last = now
            send(self._replies, share)

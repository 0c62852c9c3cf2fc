"""A recording of what comes out: written by a thread of its own, because disks wait."""

from __future__ import annotations

import threading
from pathlib import Path
from queue import Full, Queue

from .. import audio
from ..mel import Array

MOST_WAITING = 2000  # blocks; further ones are lost


class Recorder:
    """Writes samples to a file, which appears when the recording ends. Use it in a ``with`` block.

    Raises:
        InputError: the file cannot be written.
    """

    def __init__(self, path: Path, rate: int) -> None:
        audio.check_output(path, rate)
        self.path, self.rate, self.lost = path, rate, 0
        self._blocks: Queue[Array | None] = Queue(MOST_WAITING)
        self._failure: BaseException | None = None
        self._thread = threading.Thread(target=self._run, name="recording", daemon=True)

    def write(self, samples: Array) -> None:
        """Never waits: what the disk cannot take is lost and counted."""
        try:
            self._blocks.put_nowait(samples)
        except Full:
            self.lost += len(samples)

    def _run(self) -> None:
        try:
            with audio.writing(self.path, self.rate) as file:
                while (block := self._blocks.get()) is not None:
                    file.write(block)
        except BaseException as error:
            self._failure = error

    def __enter__(self) -> Recorder:
        self._thread.start()
        return self

    def __exit__(self, *error: object) -> None:
        while self._thread.is_alive():
            try:
                self._blocks.put(None, timeout=0.1)
                break
            except Full:
                continue
        self._thread.join()
        if self._failure is not None and error[0] is None:
            raise self._failure

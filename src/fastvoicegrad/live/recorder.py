"""A recording of what comes out: written by a thread of its own, because disks wait."""

from __future__ import annotations

import threading
from pathlib import Path
from queue import Full, Queue

import soundfile

from .. import audio
from ..errors import InputError
from ..files import no_room, shown
from ..mel import Array

MOST_WAITING = 2000  # blocks; further ones are lost


class Recorder:
    """Writes samples to a file, which appears when the recording ends. Use it in a ``with`` block.

    Where the disk is full or the format can hold no more, the recording ends. WAV, AIFF and MP3 keep what came before.
    FLAC keeps it without its length. Of OGG and Opus nothing is left: `writing` refuses what lacks its last page.

    Attributes:
        lost: samples that a slow disk could not take.
        failure: why the recording has ended early.
    Raises:
        InputError: the file cannot be written.
    """

    def __init__(self, path: Path, rate: int) -> None:
        audio.check_output(path, rate)
        self.path, self.rate, self.lost = path, rate, 0
        self._blocks: Queue[Array | None] = Queue(MOST_WAITING)
        self.failure: BaseException | None = None
        self._written = False  # whether the file has appeared
        self._thread = threading.Thread(target=self._run, name="recording", daemon=True)

    def write(self, samples: Array) -> None:
        """Never waits: what the disk cannot take is lost and counted."""
        if self.failure is not None:
            return
        try:
            self._blocks.put_nowait(samples)
        except Full:
            self.lost += len(samples)

    def _run(self) -> None:
        try:
            with audio.writing(self.path, self.rate) as file:
                while (block := self._blocks.get()) is not None and self.failure is None:
                    self._append(file, block)
            self._written = True
        except BaseException as error:
            self.failure = error

    def _append(self, file: audio.Writer, block: Array) -> None:
        try:
            file.write(block)
        except InputError as error:
            self.failure = error
        except soundfile.SoundFileError:
            self.failure = no_room(self.path)

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
        if self.failure is not None and error[0] is None:
            raise self._ended() if isinstance(self.failure, InputError) else self.failure

    def _ended(self) -> InputError:
        """What went wrong, and where the part before it is."""
        kept = f"; {shown(self.path)} has the sound before that" if self._written else ""
        return InputError(f"{self.failure}{kept}")

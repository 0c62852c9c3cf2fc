"""Worker processes that convert recordings side by side. One that dies takes only its own recording with it.

Each process has a thread here that gives it one task after the other and starts another process where it has died.
"""

from __future__ import annotations

import os
import queue
import signal
import subprocess
import sys
import tempfile
import threading
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from typing import IO, Any

from ..errors import InputError
from .journal import Entry
from .messages import receive, send
from .tasks import Setup, Task

PATIENCE = 10.0  # seconds in which a worker has to clean up and end
WAIT = 0.5  # seconds after which a waiting main thread looks for signals; only Windows needs this


@dataclass(frozen=True)
class Step:
    """The share of a task that is done."""

    task: Task
    share: float


@dataclass(frozen=True)
class Done:
    """A task that has ended; `entry` is None where its result was there already."""

    task: Task
    entry: Entry | None


class _DiedError(Exception):
    """A worker has ended by itself."""


class Workers:
    """`count` processes with one setup. They start when they are needed, and stay for the next `run`."""

    def __init__(self, count: int, setup: Setup) -> None:
        self._setup = setup
        self._processes = [_Process(setup) for _ in range(count)]
        self._left = False  # whether the caller of a run took no more events, so that its processes were ended

    def run(self, tasks: Iterable[Task], is_done: Callable[[Task], bool]) -> Iterator[Step | Done]:
        """What happens, as it happens; tasks begin in their order.

        Args:
            is_done: whether a task needs no conversion. It is called in threads.
        Raises:
            InputError: the workers cannot start.
        """
        if self._left:
            self._processes = [_Process(self._setup) for _ in self._processes]
            self._left = False
        happened: queue.SimpleQueue[Step | Done | Exception | None] = queue.SimpleQueue()
        following = _Shared(tasks)
        threads = [
            threading.Thread(target=self._serve, args=(process, following, is_done, happened.put), daemon=True)
            for process in self._processes
        ]
        for thread in threads:
            thread.start()
        running = len(threads)
        try:
            while running:
                try:
                    event = happened.get(timeout=WAIT)
                except queue.Empty:
                    continue
                if isinstance(event, Exception):
                    raise event
                if event is None:
                    running -= 1
                else:
                    yield event
        finally:
            following.stop()
            if running:
                self.close()
                self._left = True

    def _serve(
        self,
        process: _Process,
        following: _Shared,
        is_done: Callable[[Task], bool],
        put: Callable[[Step | Done | Exception | None], None],
    ) -> None:
        """One thread: tasks, one after the other."""
        try:
            while (task := following.next()) is not None:
                put(Done(task, None if is_done(task) else self._perform(process, task, put)))
        except Exception as error:
            put(error)
        put(None)

    def _perform(self, process: _Process, task: Task, put: Callable[[Step], None]) -> Entry:
        if task.problem:
            return self._setup.failure(task, task.problem)
        try:
            return process.perform(task, lambda share: put(Step(task, share)))
        except _DiedError as error:
            return self._setup.failure(task, f"the process that converted it {error}")

    def close(self) -> None:
        """Ends the processes; those that convert clean up first."""
        for process in self._processes:
            process.stop()
        for process in self._processes:
            process.wait()


class _Shared:
    """An iterator that several threads use."""

    def __init__(self, tasks: Iterable[Task]) -> None:
        self._tasks: Iterator[Task] = iter(tasks)
        self._lock = threading.Lock()
        self._stopped = False

    def next(self) -> Task | None:
        with self._lock:
            return None if self._stopped else next(self._tasks, None)

    def stop(self) -> None:
        self._stopped = True


class _Process:
    """A worker as its parent sees it."""

    def __init__(self, setup: Setup) -> None:
        self._setup = setup
        self._process: subprocess.Popen[bytes] | None = None
        self._messages = _scratch()
        self._lock = threading.Lock()
        self._stopped = False

    def perform(self, task: Task, progress: Callable[[float], None]) -> Entry:
        """The entry of a task.

        Raises:
            _DiedError: the process has ended before.
        """
        process = self._started()
        try:
            send(_pipe(process.stdin), task)
            while not isinstance(answer := receive(_pipe(process.stdout)), Entry):
                progress(answer)
        except (OSError, EOFError) as error:
            raise _DiedError(self._obituary(process)) from error
        return answer

    def _started(self) -> subprocess.Popen[bytes]:
        """The running process; another one is started where it has ended.

        Raises:
            InputError: it does not start.
        """
        with self._lock:
            if self._stopped:
                raise InputError("stopped")
            if self._process is not None and self._process.poll() is None:
                return self._process
            self._process = process = subprocess.Popen(
                [sys.executable, "-c", _program()],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=self._messages,
            )
        try:
            send(_pipe(process.stdin), self._setup)
            receive(_pipe(process.stdout))
        except (OSError, EOFError) as error:
            raise InputError(f"a process for conversions {self._obituary(process)}") from error
        return process

    def _obituary(self, process: subprocess.Popen[bytes]) -> str:
        """How a process has ended."""
        code = process.wait()
        if code == -getattr(signal, "SIGKILL", 9):
            return "was killed (SIGKILL); too little memory may be the reason"
        if code < 0:
            return f"crashed ({signal.Signals(-code).name})"
        self._messages.seek(0)
        lines = self._messages.read().decode(errors="replace").strip().splitlines()
        return f"ended with exit code {code}" + (f" ({lines[-1]})" if lines else "")

    def stop(self) -> None:
        """Asks the process to end."""
        with self._lock:
            self._stopped = True
            if self._process is not None:
                with suppress(OSError):
                    _pipe(self._process.stdin).close()

    def wait(self) -> None:
        """Waits until it has ended; one that does not end is killed."""
        if self._process is not None:
            try:
                self._process.wait(PATIENCE)
            except subprocess.TimeoutExpired:
                self._process.kill()
                self._process.wait()
            _pipe(self._process.stdout).close()
        self._messages.close()


def _scratch() -> IO[bytes]:
    """A temporary file, or nothing that is kept where no folder for such files can be written."""
    try:
        return tempfile.TemporaryFile()
    except OSError:
        return open(os.devnull, "w+b")


def _program() -> str:
    """What a worker runs. It looks for modules where this process does: `-c` alone would add the current folder."""
    path = [entry or os.getcwd() for entry in sys.path]
    return f"import sys; sys.path[:] = {path!r}; from {__package__}.worker import main; main()"


def _pipe(pipe: IO[bytes] | None) -> Any:
    assert pipe is not None
    return pipe

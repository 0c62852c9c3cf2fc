"""Worker processes that convert recordings side by side. One that dies takes only its own recording with it.

Each process has a thread here that gives it one task after the other and starts another process where it has died.
"""

from __future__ import annotations

import queue
import threading
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass

from ..children import Child, DiedError
from .journal import Entry
from .tasks import Setup, Task

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


class Workers:
    """`count` processes with one setup. They start when they are needed, and stay for the next `run`."""

    def __init__(self, count: int, setup: Setup) -> None:
        self._setup = setup
        self._processes = [_worker(setup) for _ in range(count)]
        self._following, self._threads = _Shared(()), list[threading.Thread]()
        self._left = False  # whether the caller of a run took no more events, so that its processes were ended

    def run(
        self, tasks: Iterable[Task], is_done: Callable[[Task], bool], keep: Callable[[Entry], None]
    ) -> Iterator[Step | Done]:
        """What happens, as it happens; tasks begin in their order.

        Args:
            is_done: whether a task needs no conversion. It is called in threads.
            keep: takes the entry of each task, in threads, whether or not the caller takes the event.
        Raises:
            InputError: the workers cannot start. What `keep` raises is raised too.
        """
        if self._left:
            self._processes = [_worker(self._setup) for _ in self._processes]
            self._left = False
        happened: queue.SimpleQueue[Step | Done | Exception | None] = queue.SimpleQueue()
        following = self._following = _Shared(tasks)
        self._threads = [
            threading.Thread(target=self._serve, args=(process, following, is_done, keep, happened.put), daemon=True)
            for process in self._processes
        ]
        for thread in self._threads:
            thread.start()
        running = len(self._threads)
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
        process: Child,
        following: _Shared,
        is_done: Callable[[Task], bool],
        keep: Callable[[Entry], None],
        put: Callable[[Step | Done | Exception | None], None],
    ) -> None:
        """One thread: tasks, one after the other."""
        try:
            while (task := following.next()) is not None:
                entry = None if is_done(task) else self._perform(process, task, put)
                if entry and not (entry.error and following.stopped):  # a stop is no failure of a recording
                    keep(entry)
                put(Done(task, entry))
        except Exception as error:
            put(error)
        put(None)

    def _perform(self, process: Child, task: Task, put: Callable[[Step], None]) -> Entry:
        if task.problem:
            return self._setup.failure(task, task.problem)
        process.start()
        try:
            process.send(task)
            while not isinstance(answer := process.receive(), Entry):
                put(Step(task, answer))
        except DiedError as error:
            return self._setup.failure(task, f"the process that converted it {error}")
        return answer

    def close(self) -> None:
        """Ends the processes; those that convert clean up first, and what is finished is kept."""
        self._following.stop()
        for process in self._processes:
            process.stop()
        for process in self._processes:
            process.wait()
        for thread in self._threads:
            thread.join()


def _worker(setup: Setup) -> Child:
    return Child(f"{__package__}.worker", setup)


class _Shared:
    """An iterator that several threads use."""

    def __init__(self, tasks: Iterable[Task]) -> None:
        self._tasks: Iterator[Task] = iter(tasks)
        self._lock = threading.Lock()
        self.stopped = False

    def next(self) -> Task | None:
        with self._lock:
            return None if self.stopped else next(self._tasks, None)

    def stop(self) -> None:
        self.stopped = True

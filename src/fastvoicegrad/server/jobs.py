"""Work in threads: a bounded queue, and jobs whose output can be read while they run."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import AsyncIterator, Callable
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from tempfile import SpooledTemporaryFile
from typing import Any

from .errors import too_many

IN_MEMORY = 1 << 20  # bytes of output; more goes to a temporary file
PIECE = 1 << 16  # bytes that are sent at once
FIRST_GUESS = 2.0  # seconds of a job, before one has been measured
LONGEST_WAIT = 120.0  # seconds that a client is asked to wait


class Cancelled(Exception):
    """The client went away; the job stops."""


class Job:
    """Work in another thread. What it writes is kept until the client takes it, so a slow client holds no thread.

    Args:
        work: is called with the job; a job that is closed before forgets it, with the sound and the voice in it.
    Attributes:
        notes: what the work found out, sentences for the client.
    """

    def __init__(self, loop: asyncio.AbstractEventLoop, work: Callable[[Job], Any]) -> None:
        self._work: Callable[[Job], Any] | None = work
        self.future: Future[Any] = Future()
        self.cancelled = False
        self.notes: list[str] = []
        self._loop, self._news = loop, asyncio.Event()
        self._lock = threading.Lock()
        self._output = SpooledTemporaryFile(IN_MEMORY)  # noqa: SIM115
        self._written = 0

    # -- in the worker thread -------------------------------------------------------------------------------

    def run(self) -> Any:
        """Does the work."""
        with self._lock:
            self.check()
            work, self._work = self._work, None
        assert work is not None, "a job runs once"
        return work(self)

    def check(self) -> None:
        """Raises Cancelled where the client no longer waits for the job."""
        if self.cancelled:
            raise Cancelled

    def write(self, data: bytes) -> None:
        """Add to the output."""
        with self._lock:
            self.check()
            self._output.seek(self._written)
            self._output.write(data)
            self._written += len(data)
        self.notify()

    def notify(self) -> None:
        """Wake the reader."""
        with suppress(RuntimeError):  # the loop has ended
            self._loop.call_soon_threadsafe(self._news.set)

    # -- in the event loop ----------------------------------------------------------------------------------

    async def started(self) -> None:
        """Returns at the first output, or at the end. Raises what the job raised before any output."""
        while not self._written and not self.future.done():
            await self._wait()
        if not self._written:
            self.future.result()

    async def result(self) -> Any:
        """What the job returns at its end."""
        while not self.future.done():
            await self._wait()
        return self.future.result()

    async def output(self) -> AsyncIterator[bytes]:
        """The output in pieces. Raises what the job raised, after all output."""
        sent = 0
        while True:
            ended = self.future.done()  # before the last look at the output
            while data := self._read(sent):
                sent += len(data)
                yield data
            if ended:
                self.future.result()
                return
            await self._wait()

    async def _wait(self) -> None:
        await self._news.wait()
        self._news.clear()

    def _read(self, position: int) -> bytes:
        with self._lock:
            self._output.seek(position)
            return self._output.read(PIECE)

    def close(self) -> None:
        """Stop the job where it still runs, and drop its output."""
        with self._lock:
            self.cancelled = True
            self._work = None
            self._output.close()
        self.future.cancel()


class JobQueue:
    """A few worker threads, and a few places to wait for them.

    Args:
        workers: jobs that run at once.
        waiting: jobs that may wait.
    """

    def __init__(self, workers: int, waiting: int) -> None:
        self.workers, self.places = workers, workers + waiting
        self._threads = ThreadPoolExecutor(workers, "conversion")
        self._jobs: set[Job] = set()
        self._lock = threading.Lock()
        self._mean = FIRST_GUESS

    @property
    def size(self) -> int:
        """Jobs that run or wait."""
        return len(self._jobs)

    @property
    def running(self) -> int:
        """Jobs that run."""
        return min(self.size, self.workers)

    @property
    def waiting(self) -> int:
        """Jobs that wait."""
        return self.size - self.running

    def check(self) -> None:
        """Raises ApiError (429) where no place is free."""
        if self.size >= self.places:
            wait = min(self._mean * self.size / self.workers, LONGEST_WAIT)
            raise too_many("all places of this server are taken; try again later", "system_busy", wait)

    def submit(self, work: Callable[[Job], Any]) -> Job:
        """Start work as soon as a thread is free.

        Raises:
            ApiError: 429, no place is free.
        """
        with self._lock:
            self.check()
            job = Job(asyncio.get_running_loop(), work)
            self._jobs.add(job)
        job.future = self._threads.submit(self._run, job)
        job.future.add_done_callback(lambda _: self._end(job))
        return job

    def _run(self, job: Job) -> Any:
        started = time.monotonic()
        result = job.run()
        self._mean += 0.2 * (time.monotonic() - started - self._mean)
        return result

    def _end(self, job: Job) -> None:
        with self._lock:
            self._jobs.discard(job)
        job.notify()

    def close(self) -> None:
        """Stop all jobs and wait for the threads."""
        for job in list(self._jobs):
            job.close()
        self._threads.shutdown(wait=True)

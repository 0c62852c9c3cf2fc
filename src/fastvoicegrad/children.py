"""Child processes of this package. Objects pass to them and back through pipes: pickled, each after its length.

Both ends are processes of this package, as with `multiprocessing`. No file and no other program can write to a pipe.
A child runs a module's `main`, so it needs nothing of the program that starts it.
"""

from __future__ import annotations

import os
import pickle
import signal
import struct
import subprocess
import sys
import tempfile
import threading
from contextlib import suppress
from typing import IO, Any

from .errors import InputError

PATIENCE = 10.0  # seconds in which a child has to clean up and end
IGNORED = ("SIGINT", "SIGHUP")  # of a terminal, for the parent: it ends its children


class DiedError(Exception):
    """A child has ended by itself. The text tells how: "was killed ..."."""


class Child:
    """A process as its parent sees it. It starts when it is needed, and again where it has ended.

    Args:
        module: full name of the module whose `main` it runs; it uses `pipes_to_parent`.
        setup: the first object that it receives. It answers with any object when it is ready, or with an InputError.
    """

    def __init__(self, module: str, setup: object) -> None:
        self._module, self._setup = module, setup
        self._process: subprocess.Popen[bytes] | None = None
        self._errors: IO[bytes] | None = None  # what the process prints
        self._lock = threading.Lock()
        self._stopped = False

    def start(self) -> None:
        """Starts the process, unless it runs.

        Raises:
            InputError: it does not start, or it was stopped.
        """
        with self._lock:
            if self._stopped:
                raise InputError("stopped")
            if self.runs:
                return
            try:
                self._errors = self._errors or _scratch()
                self._process = subprocess.Popen(
                    [sys.executable, "-c", _program(self._module)],
                    stdin=subprocess.PIPE,
                    stdout=subprocess.PIPE,
                    stderr=self._errors,
                )
            except OSError as error:
                raise InputError(f"a process for conversions cannot start ({error.strerror or error})") from error
        try:
            self.send(self._setup)
            answer = self.receive()
        except DiedError as error:
            raise InputError(f"a process for conversions {error}") from error
        if isinstance(answer, InputError):
            raise answer

    @property
    def runs(self) -> bool:
        """Whether it has started and not ended."""
        return self._process is not None and self._process.poll() is None

    def send(self, message: object) -> None:
        """Raises DiedError where the process has ended."""
        try:
            send(_pipe(self._running.stdin), message)
        except (OSError, ValueError) as error:  # ValueError: `stop` closed the pipe
            raise DiedError(self._obituary()) from error

    def receive(self) -> Any:
        """The next object. Raises DiedError where the process has ended."""
        try:
            return receive(_pipe(self._running.stdout))
        except (OSError, EOFError) as error:
            raise DiedError(self._obituary()) from error

    @property
    def _running(self) -> subprocess.Popen[bytes]:
        assert self._process is not None, "start comes first"
        return self._process

    def _obituary(self) -> str:
        """How the process has ended."""
        code = self._running.wait()
        if code == -getattr(signal, "SIGKILL", 9):
            return "was killed (SIGKILL); too little memory may be the reason"
        if code < 0:
            return f"crashed ({signal.Signals(-code).name})"
        assert self._errors is not None
        self._errors.seek(0)
        lines = self._errors.read().decode(errors="replace").strip().splitlines()
        return f"ended with exit code {code}" + (f" ({lines[-1]})" if lines else "")

    def stop(self) -> None:
        """Asks the process to end. It never starts again."""
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
        if self._errors is not None:
            self._errors.close()


def _scratch() -> IO[bytes]:
    """A temporary file, or nothing that is kept where no folder for such files can be written."""
    try:
        return tempfile.TemporaryFile()
    except OSError:
        return open(os.devnull, "w+b")


def _program(module: str) -> str:
    """What a child runs. It looks for modules where this process does: `-c` alone would add the current folder."""
    path = [entry or os.getcwd() for entry in sys.path if isinstance(entry, str)]  # imports ignore others
    return f"import sys; sys.path[:] = {path!r}; from {module} import main; main()"


def pipes_to_parent() -> tuple[IO[bytes], IO[bytes]]:
    """For a child: the pipes from and to its parent. Signals of a terminal are the parent's.

    Nothing else reads the one, and what anything prints goes to stderr.
    """
    for name in IGNORED:
        if hasattr(signal, name):
            signal.signal(getattr(signal, name), signal.SIG_IGN)
    requests, replies = os.fdopen(os.dup(0), "rb"), os.fdopen(os.dup(1), "wb")
    nothing = os.open(os.devnull, os.O_RDONLY)
    os.dup2(nothing, 0)
    os.dup2(2, 1)
    return requests, replies


def send(pipe: IO[bytes], message: object) -> None:
    """Raises OSError where the other end is closed."""
    data = pickle.dumps(message)
    pipe.write(struct.pack("<Q", len(data)) + data)
    pipe.flush()


def receive(pipe: IO[bytes]) -> Any:
    """The next object. Raises EOFError where there is no more."""
    (length,) = struct.unpack("<Q", _exactly(pipe, 8))
    return pickle.loads(_exactly(pipe, length))


def _exactly(pipe: IO[bytes], count: int) -> bytes:
    data = pipe.read(count)
    if len(data) < count:
        raise EOFError
    return data


def _pipe(pipe: IO[bytes] | None) -> Any:
    assert pipe is not None
    return pipe

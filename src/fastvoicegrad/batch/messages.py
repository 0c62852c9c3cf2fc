"""Objects that pass between a process and its workers through pipes: pickled, each after its length.

Both ends are processes of this package, as with `multiprocessing`. No file and no other program can write to a pipe.
"""

from __future__ import annotations

import pickle
import struct
from typing import IO, Any


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

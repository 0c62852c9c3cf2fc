"""The process that converts streams of a server. Conversions in other threads of the server do not hold it up."""

from __future__ import annotations

import gc
import traceback
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from ..children import pipes_to_parent, receive, send
from ..errors import InputError
from ..mel import Array
from ..stream.bundle import StreamBundle
from ..stream.converter import StreamingConverter, push_all
from ..voice import Voice

PUSH = "push"


class Request(NamedTuple):
    """What the parent asks for.

    Attributes:
        name: of a method of `StreamWorker`.
        arguments: the stream's number first. "push" has one block; the parent gathers several.
    """

    name: str
    arguments: tuple[Any, ...]


class EndedError(InputError):
    """The process of a stream has ended, and the stream with it."""


class StreamWorker:
    """Streams by their numbers. Each public method is a request of the parent.

    Args:
        path: of the stream bundle; None: the one that comes with the package.
    """

    def __init__(self, path: Path | None) -> None:
        self._bundle = StreamBundle.open(path)
        self._bundle.warm_up()
        self._streams: dict[int, StreamingConverter] = {}

    def begin(self, number: int, voice: Voice, rate: int, semitones: float, keep_pitch: bool) -> int:
        """The latency of a new stream in samples; see `StreamingConverter` for the errors."""
        made = StreamingConverter(self._bundle, voice, rate, semitones=semitones, keep_pitch=keep_pitch)
        self._streams[number] = made
        return made.latency

    def push(self, numbers: Sequence[int], blocks: Sequence[Array]) -> list[Array | InputError]:
        """The samples of each block, or the error that ends its stream; see `push_all`. A stream may have several."""
        places = dict[int, list[int]]()
        for place, number in enumerate(numbers):
            places.setdefault(number, []).append(place)
        known = [number for number in places if number in self._streams]
        joined = [np.concatenate([blocks[place] for place in places[number]]) for number in known]
        results: list[Array | InputError] = [_unknown() for _ in numbers]
        for number, output in zip(known, push_all([self._streams[n] for n in known], joined), strict=True):
            for place in places[number]:
                if isinstance(output, InputError):
                    results[place] = output
                else:
                    results[place], output = np.split(output, [len(blocks[place])])
        return results

    def flush(self, number: int) -> Array:
        return self._stream(number).flush()

    def set_voice(self, number: int, voice: Voice) -> None:
        self._stream(number).set_voice(voice)

    def set_pitch(self, number: int, semitones: float, keep_pitch: bool) -> None:
        self._stream(number).set_pitch(semitones, keep_pitch)

    def end(self, number: int) -> None:
        self._streams.pop(number, None)

    def _stream(self, number: int) -> StreamingConverter:
        if number not in self._streams:
            raise _unknown()
        return self._streams[number]


def _unknown() -> EndedError:
    return EndedError("the process of this stream has ended; begin another stream")


def main() -> None:
    """Serve until the parent closes the pipe, or ends in any way."""
    requests, replies = pipes_to_parent()
    try:
        worker = StreamWorker(receive(requests))
    except InputError as error:
        send(replies, error)
        return
    gc.collect()
    gc.freeze()  # looking through all that is here by now would take longer than a stream may wait
    send(replies, "ready")
    while True:
        try:
            group = receive(requests)
        except (EOFError, OSError):
            return
        send(replies, _answers(worker, group))


def _answers(worker: StreamWorker, group: Sequence[Request]) -> Sequence[Any]:
    """What each request of a group gives, or the error that it raises."""
    try:
        if group[0].name == PUSH:
            numbers, blocks = zip(*(request.arguments for request in group), strict=True)
            return worker.push(numbers, blocks)
        return [getattr(worker, group[0].name)(*group[0].arguments)]
    except InputError as error:
        return [error] * len(group)
    except Exception:
        return [RuntimeError(traceback.format_exc())] * len(group)

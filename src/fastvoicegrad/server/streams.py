"""The streams of a server: their processes, and how many streams there may be.

What several streams wait for is converted together: the busier the server, the less each stream costs.
"""

from __future__ import annotations

import asyncio
import itertools
import queue
import threading
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

from ..children import Child, DiedError
from ..errors import InputError
from ..mel import Array
from ..stream.bundle import StreamBundle
from ..voice import Voice
from .errors import ApiError, too_many
from .settings import ServerSettings
from .stream_worker import PUSH, Request

SHARED = 4  # streams of one process
AGAIN = 5.0  # seconds after which a client may try again, when all places are taken


class Streams:
    """Places for streams, and processes for their work. Each of these starts with its first stream, or by `start`.

    Args:
        path: of the stream bundle; None: the one that comes with the package.
        most: streams at once.
        refusal: why there are no streams, with the way out; "" where there are.
    """

    def __init__(self, path: Path | None, most: int, refusal: str = "") -> None:
        self.most, self.refusal, self.running = most, refusal, 0
        self._processes = [_Process(path) for _ in range(0, 0 if refusal else most, SHARED)]
        self._numbers = itertools.count()

    @classmethod
    def of(cls, settings: ServerSettings, encoder: str) -> Streams:
        """Streams with the bundle of the settings, or the one of the package where the voices fit it.

        Args:
            encoder: fingerprint of the full bundle, which makes the voices.
        Raises:
            InputError: the bundle of the settings cannot be used.
        """
        path, refusal = settings.stream_bundle, ""
        if not settings.most_streams:
            refusal = "start it with --streams above 0"
        elif settings.watermark:  # a mark needs .2 s of sound to come
            refusal = "its conversions are marked, and streams cannot be; start it without --watermark"
        elif StreamBundle.open(path).config.encoder != encoder and path is None:
            refusal = "start it with --stream-bundle"
        return cls(path, settings.most_streams, refusal)

    def start(self) -> None:
        """Starts the first process, and does not wait for it."""
        for process in self._processes[:1]:
            process.start()

    @contextmanager
    def place(self) -> Iterator[None]:
        """One of the places.

        Raises:
            ApiError: all are taken, or no stream bundle fits the voices.
        """
        if self.refusal:
            raise ApiError(404, f"this server converts no streams; {self.refusal}", "no_streams")
        if self.running >= self.most:
            raise too_many("all streams of this server are taken; try again later", "system_busy", AGAIN)
        self.running += 1
        try:
            yield
        finally:
            self.running -= 1

    async def open(self, voice: Voice, rate: int, semitones: float = 0.0, keep_pitch: bool = False) -> Stream:
        """A stream in the process with the fewest; see `StreamingConverter`. `Stream.close` gives its memory back.

        Raises:
            InputError: a voice of another bundle, or a setting out of range.
        """
        process, number = min(self._processes, key=lambda one: one.streams), next(self._numbers)
        process.streams += 1
        stream = Stream(process, number, rate)
        try:
            stream.latency = await process.ask("begin", number, voice, rate, semitones, keep_pitch)
        except BaseException:
            stream.close()
            raise
        return stream

    def close(self) -> None:
        """Ends the processes, and what they convert."""
        for process in self._processes:
            process.close()


@dataclass
class Stream:
    """A `StreamingConverter` in another process.

    Attributes:
        rate: of its samples, Hz.
        latency: samples by which its output is late.
    """

    _process: _Process
    _number: int
    rate: int
    latency: int = 0

    async def push(self, samples: Array) -> Array:
        """`StreamingConverter.push`. A process that is free takes everything that waits, so all get equal shares."""
        converted: Array = await self._process.ask(PUSH, self._number, samples)
        return converted

    async def flush(self) -> Array:
        rest: Array = await self._process.ask("flush", self._number)
        return rest

    async def set_voice(self, voice: Voice) -> None:
        await self._process.ask("set_voice", self._number, voice)

    async def set_pitch(self, semitones: float, keep_pitch: bool) -> None:
        await self._process.ask("set_pitch", self._number, semitones, keep_pitch)

    def close(self) -> None:
        self._process.end(self._number)


class _Waiting(NamedTuple):
    """A request, and what becomes of it."""

    request: Request
    answer: asyncio.Future[Any] | None = None


class _Process:
    """A child with its streams, and a thread that passes requests to it: those for samples together.

    The child has ordinary priority. With real-time priority answers come later, see experiments/stream-batches.md.
    """

    def __init__(self, path: Path | None) -> None:
        self.streams = 0
        self._child = Child(f"{__package__}.stream_worker", path)
        self._waiting: queue.SimpleQueue[_Waiting | None] = queue.SimpleQueue()
        self._thread = threading.Thread(target=self._serve, daemon=True)
        self._thread.start()

    def start(self) -> None:
        """Starts the child; else the first stream does."""
        self._waiting.put(_Waiting(Request("end", (-1,))))

    def end(self, number: int) -> None:
        """Forgets a stream, in turn."""
        self.streams -= 1
        self._waiting.put(_Waiting(Request("end", (number,))))

    async def ask(self, name: str, *arguments: Any) -> Any:
        """A method's answer, in turn; see `StreamWorker`.

        Raises:
            InputError: the method raises it, or the child does not start, or has ended.
        """
        answer = asyncio.get_running_loop().create_future()
        self._waiting.put(_Waiting(Request(name, arguments), answer))
        return await answer

    def _serve(self) -> None:
        """The thread: takes everything that waits, again and again."""
        while (first := self._waiting.get()) is not None:
            taken = [first]
            while not self._waiting.empty():
                if (another := self._waiting.get()) is None:
                    self._waiting.put(None)
                    break
                taken.append(another)
            for group in _together(taken):
                for waiting, answer in zip(group, self._answers([one.request for one in group]), strict=True):
                    _give(waiting.answer, answer)

    def _answers(self, requests: list[Request]) -> list[Any]:
        """What the child gives, or the errors."""
        try:
            self._child.start()
            self._child.send(requests)
            answers: list[Any] = self._child.receive()
            return answers
        except DiedError as error:
            return [InputError(f"the process of the streams {error}")] * len(requests)
        except Exception as error:  # else every later request would wait for ever
            return [error] * len(requests)

    def close(self) -> None:
        self._waiting.put(None)
        self._child.stop()
        self._thread.join()
        self._child.wait()


def _together(waiting: Iterable[_Waiting]) -> Iterator[list[_Waiting]]:
    """Requests in their order, in groups: samples of different streams are converted at once."""
    group = list[_Waiting]()
    for one in waiting:
        (name, arguments), streams = one.request, {other.request.arguments[0] for other in group}
        if group and (name != PUSH or group[0].request.name != PUSH or arguments[0] in streams):
            yield group
            group = []
        group.append(one)
    if group:
        yield group


def _give(future: asyncio.Future[Any] | None, answer: Any) -> None:
    """Passes an answer to the event loop that waits for it."""
    if future is not None:
        with suppress(RuntimeError):  # the loop has ended
            future.get_loop().call_soon_threadsafe(_resolve, future, answer)


def _resolve(future: asyncio.Future[Any], answer: Any) -> None:
    if future.done():  # its client is gone
        return
    if isinstance(answer, Exception):
        future.set_exception(answer)
    else:
        future.set_result(answer)

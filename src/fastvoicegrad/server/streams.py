"""The streams of a server: their processes, and how many streams there may be.

What several streams wait for is converted together: the busier the server, the less each stream costs.
"""

from __future__ import annotations

import asyncio
import itertools
import math
import queue
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

from ..children import Child, DiedError
from ..mel import Array
from ..stream.bundle import StreamBundle
from ..voice import Voice
from .errors import ApiError, too_many
from .settings import ServerSettings
from .stream_worker import PUSH, EndedError, Request

SHARED = 4  # streams of one process
PIECE = 0.1  # seconds of a stream that are converted at once: then it is another one's turn
LEAST = PIECE / 40  # seconds that samples count at least, so that a call has no more than 40 requests of a stream
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

    @property
    def piece(self) -> int:
        """Samples that a push may have."""
        return round(PIECE * self.rate)

    def push(self, samples: Array, deadline: float = math.inf) -> asyncio.Future[Any]:
        """`StreamingConverter.push`, in turn with the stream's other requests. The samples wait for no answer before.

        Args:
            samples: at most `piece`.
            deadline: of `time.monotonic`; None is the answer to samples whose turn comes later, and they are lost.
        """
        request = Request(PUSH, (self._number, samples))
        return self._process.put(request, len(samples) / self.rate, deadline)

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
    """A request, and what becomes of it.

    Attributes:
        seconds: of its samples.
        deadline: after which they are too old.
    """

    request: Request
    answer: asyncio.Future[Any] | None = None
    seconds: float = 0.0
    deadline: float = math.inf


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

    def ask(self, name: str, *arguments: Any) -> asyncio.Future[Any]:
        """A method's answer, in turn; see `StreamWorker`.

        Raises:
            InputError: the method raises it, or the child does not start, or has ended.
        """
        return self.put(Request(name, arguments))

    def put(self, request: Request, seconds: float = 0.0, deadline: float = math.inf) -> asyncio.Future[Any]:
        """`ask`, for samples that may become too old; see `_Waiting`."""
        answer = asyncio.get_running_loop().create_future()
        self._waiting.put(_Waiting(request, answer, seconds, deadline))
        return answer

    def _serve(self) -> None:
        """The thread: takes everything that waits, again and again."""
        waiting, closing = list[_Waiting](), False
        while waiting or not closing:
            while not (waiting or closing) or not self._waiting.empty():
                if (taken := self._waiting.get()) is None:
                    closing = True
                else:
                    waiting.append(taken)
            group, waiting = _round(_without_old(waiting))
            for one, answer in zip(group, self._answers([one.request for one in group]), strict=True):
                _give(one.answer, answer)

    def _answers(self, requests: list[Request]) -> list[Any]:
        """What the child gives, or the errors."""
        if not requests:
            return []
        try:
            self._child.start()
            self._child.send(requests)
            answers: list[Any] = self._child.receive()
            return answers
        except DiedError as error:
            return [EndedError(f"the process of the streams {error}")] * len(requests)
        except Exception as error:  # else every later request would wait for ever
            return [error] * len(requests)

    def close(self) -> None:
        self._waiting.put(None)
        self._child.stop()
        self._thread.join()
        self._child.wait()


def _without_old(waiting: Sequence[_Waiting]) -> list[_Waiting]:
    """Answers those whose samples are too old."""
    now = time.monotonic()
    for one in waiting:
        if one.deadline < now:
            _give(one.answer, None)
    return [one for one in waiting if one.deadline >= now]


def _round(waiting: Sequence[_Waiting]) -> tuple[list[_Waiting], list[_Waiting]]:
    """The requests of a call of the child, and the others. Those of each stream keep their order.

    A call has samples of any streams, `PIECE` of each, or one other request.
    """
    group, others = list[_Waiting](), list[_Waiting]()
    seconds, behind = dict[int, float](), set[int]()
    for one in waiting:
        name, (number, *_) = one.request
        push = name == PUSH and (not group or group[0].request.name == PUSH)
        length = max(one.seconds, LEAST)
        room = number not in seconds or seconds[number] + length <= PIECE
        if number not in behind and (not group or (push and room)):
            group.append(one)
            seconds[number] = seconds.get(number, 0.0) + length
        else:
            others.append(one)
            behind.add(number)
    return group, others


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

"""The streams of a server: their bundle, their threads, and how many there may be.

What several streams wait for is converted together: the busier the server, the less each stream costs.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

from ..errors import InputError
from ..mel import Array
from ..stream.bundle import StreamBundle
from ..stream.converter import StreamingConverter, push_all
from .errors import ApiError
from .settings import ServerSettings

T = TypeVar("T")


@dataclass(frozen=True)
class _Piece:
    """The next samples of a stream, and what becomes of them."""

    converter: StreamingConverter
    samples: Array
    converted: asyncio.Future[Array]


class Streams:
    """Places for streams, and threads for their work.

    A thread that is free takes everything that waits. Each stream has one piece there, so all get equal shares.
    The threads have ordinary priority. With real-time priority answers come later, see experiments/stream-batches.md.

    Args:
        bundle: None: streams are refused.
        refusal: why, with the way out.
        workers: threads.
        most: streams at once.
    """

    def __init__(self, bundle: StreamBundle | None, workers: int, most: int, refusal: str = "") -> None:
        self.bundle, self.most, self.refusal, self.running = bundle, most, refusal, 0
        self._threads, self._free = ThreadPoolExecutor(workers, "stream"), workers
        self._waiting: list[_Piece] = []

    @classmethod
    def of(cls, settings: ServerSettings, encoder: str) -> Streams:
        """Streams with the bundle of the settings, or the one of the package where the voices fit it.

        Args:
            encoder: fingerprint of the full bundle, which makes the voices.
        Raises:
            InputError: the bundle of the settings cannot be used.
        """
        if settings.watermark:  # a mark needs .2 s of sound to come
            bundle, refusal = None, "its conversions are marked, and streams cannot be; start it without --watermark"
        else:
            bundle, refusal = _bundle(settings.stream_bundle, encoder), "start it with --stream-bundle"
        return cls(bundle, settings.workers, settings.most_streams, refusal)

    @contextmanager
    def place(self) -> Iterator[StreamBundle]:
        """One of the places.

        Raises:
            ApiError: all are taken, or no stream bundle fits the voices.
        """
        if self.bundle is None:
            raise ApiError(404, f"this server converts no streams; {self.refusal}", "no_streams")
        if self.running >= self.most:
            raise ApiError(429, "all streams of this server are taken; try again later", "system_busy")
        self.running += 1
        try:
            yield self.bundle
        finally:
            self.running -= 1

    async def work(self, call: Callable[[], T]) -> T:
        """Does something in a thread, in turn with the other streams."""
        return await asyncio.get_running_loop().run_in_executor(self._threads, call)

    async def convert(self, converter: StreamingConverter, samples: Array) -> Array:
        """`StreamingConverter.push` in a thread, together with the other streams that wait."""
        loop = asyncio.get_running_loop()
        piece = _Piece(converter, samples, loop.create_future())
        self._waiting.append(piece)
        loop.call_soon(self._start)  # messages that arrived at once are all there by then
        return await piece.converted

    def _start(self) -> None:
        if not (self._free and self._waiting):
            return
        self._free -= 1
        pieces, self._waiting = self._waiting, []
        blocks = [piece.samples for piece in pieces]
        work = asyncio.get_running_loop().run_in_executor(
            self._threads, push_all, [piece.converter for piece in pieces], blocks
        )
        work.add_done_callback(lambda work: self._finish(pieces, work))

    def _finish(self, pieces: Sequence[_Piece], work: asyncio.Future[list[Array | InputError]]) -> None:
        self._free += 1
        error = asyncio.CancelledError() if work.cancelled() else work.exception()
        results = [error] * len(pieces) if error is not None else work.result()
        for piece, result in zip(pieces, results, strict=True):
            if piece.converted.done():  # its client is gone
                continue
            if isinstance(result, BaseException):
                piece.converted.set_exception(result)
            else:
                piece.converted.set_result(result)
        # By then the streams that go on have left their next pieces.
        asyncio.get_running_loop().call_soon(self._start)

    def close(self) -> None:
        self._threads.shutdown(wait=True, cancel_futures=True)


def _bundle(path: Path | None, encoder: str) -> StreamBundle | None:
    bundle = StreamBundle.open(path)
    if path is None and bundle.config.encoder != encoder:
        return None
    bundle.warm_up()
    return bundle

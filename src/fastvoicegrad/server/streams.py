"""The streams of a server: their bundle, their threads, and how many there may be."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import TypeVar

from ..stream.bundle import StreamBundle
from .errors import ApiError
from .settings import Settings

T = TypeVar("T")


class Streams:
    """Places for streams, and threads for their work.

    Every piece of work waits for its turn in one queue, and each stream has one piece in it, so all get equal shares.

    Args:
        bundle: None: streams are refused.
        workers: threads.
        most: streams at once.
    """

    def __init__(self, bundle: StreamBundle | None, workers: int, most: int) -> None:
        self.bundle, self.most, self.running = bundle, most, 0
        self._threads = ThreadPoolExecutor(workers, "stream")

    @classmethod
    def of(cls, settings: Settings, encoder: str) -> Streams:
        """Streams with the bundle of the settings, or the one of the package where the voices fit it.

        Args:
            encoder: fingerprint of the full bundle, which makes the voices.
        Raises:
            InputError: the bundle of the settings cannot be used.
        """
        return cls(_bundle(settings.stream_bundle, encoder), settings.workers, settings.most_streams)

    @contextmanager
    def place(self) -> Iterator[StreamBundle]:
        """One of the places.

        Raises:
            ApiError: all are taken, or no stream bundle fits the voices.
        """
        if self.bundle is None:
            raise ApiError(404, "this server converts no streams; start it with --stream-bundle", "no_streams")
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

    def close(self) -> None:
        self._threads.shutdown(wait=True, cancel_futures=True)


def _bundle(path: Path | None, encoder: str) -> StreamBundle | None:
    bundle = StreamBundle.open(path)
    if path is None and bundle.config.encoder != encoder:
        return None
    bundle.warm_up()
    return bundle

"""What the routes of a server share."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from typing import Any

from fastapi import Request

from ..converter import VoiceConverter
from ..library import VoiceLibrary
from .errors import ApiError
from .jobs import Job, JobQueue
from .metrics import Metrics
from .settings import ServerSettings
from .streams import Streams

MODEL = "fastvoicegrad"


@dataclass(frozen=True)
class Service:
    """One converter, one library, one queue, and the streams."""

    settings: ServerSettings
    converter: VoiceConverter
    library: VoiceLibrary
    queue: JobQueue
    metrics: Metrics
    streams: Streams


def service_of(request: Request) -> Service:
    """The service of the application that answers a request."""
    service: Service = request.app.state.service
    return service


async def waiting_for(job: Job, request: Request, output: bool) -> Any:
    """Waits for a job's first output, or for its result. A client that goes away gives up its place.

    Raises:
        ApiError: the job raised it, or the client went away (499, which no client gets to see).
    """
    work = asyncio.ensure_future(job.started() if output else job.result())
    gone = asyncio.ensure_future(_gone(request))
    try:
        await asyncio.wait({work, gone}, return_when=asyncio.FIRST_COMPLETED)
        if work.done():
            return work.result()
        raise ApiError(499, "the client went away", "client_gone")
    finally:
        work.cancel()
        gone.cancel()


async def _gone(request: Request) -> None:
    """Returns when the client closes the connection. Its request was read to the end before."""
    while (await request.receive())["type"] != "http.disconnect":
        pass

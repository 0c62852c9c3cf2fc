"""What stands before every request: the key, limits on size, speed and rate, and the time to accept an answer."""

from __future__ import annotations

import asyncio
import hmac
import time
from contextlib import suppress

from fastapi.responses import JSONResponse
from starlette.datastructures import Headers
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from .errors import ApiError, too_many
from .jobs import JobQueue
from .limits import SlidingWindow
from .metrics import Metrics
from .origin import is_foreign
from .settings import ServerSettings

OPEN_PATHS = ("/", "/health", "/docs", "/openapi.json", "/live")  # they tell nothing about voices
LINGER = 1.0  # seconds in which the rest of a refused body is read, so that the client sees the answer


class StalledError(Exception):
    """A client does not accept its answer."""


class Guard:
    """ASGI middleware with the limits of `ServerSettings`."""

    def __init__(self, app: ASGIApp, settings: ServerSettings, queue: JobQueue, metrics: Metrics) -> None:
        self.app, self.settings, self.queue, self.metrics = app, settings, queue, metrics
        self.window = SlidingWindow(settings.per_minute)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        exchange = _Exchange(self.settings, Headers(scope=scope), receive, send)
        try:
            try:
                self._check(scope)
                exchange.check_length()
            except ApiError as error:
                self.metrics.refused.labels(error.status).inc()
                await exchange.refuse(scope, error)
                return
            await self.app(scope, exchange.receive, exchange.send)
        except StalledError:
            self.metrics.refused.labels("slow_reader").inc()
        except Exception:
            exchange.status = exchange.status or 500  # Starlette sends this answer itself
            raise
        finally:
            self.metrics.count(scope, exchange.status)

    def _check(self, scope: Scope) -> None:
        headers = Headers(scope=scope)
        if self.settings.api_key is None:
            check_origin(headers)
        elif scope["path"] not in OPEN_PATHS and not is_key(given_key(headers), self.settings.api_key):
            raise ApiError(401, "the API key is missing or wrong; send it as the header xi-api-key")
        if is_costly(scope):
            client = scope["client"][0] if scope.get("client") else ""
            if wait := self.window.wait(client):
                raise too_many("too many requests in a minute; try again later", "too_many_requests", wait)
            self.queue.check()


class HeadAsGet:
    """ASGI middleware: HEAD is answered like GET, without the body (RFC 9110, section 9.3.2)."""

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or scope["method"] != "HEAD":
            await self.app(scope, receive, send)
            return

        async def send_head(message: Message) -> None:
            await send({**message, "body": b""} if message["type"] == "http.response.body" else message)

        inner = {**scope, "method": "GET"}
        try:
            await self.app(inner, receive, send_head)
        finally:
            scope["route"] = inner.get("route")  # for the metrics


class _Exchange:
    """One request and its answer, with their limits."""

    def __init__(self, settings: ServerSettings, headers: Headers, receive: Receive, send: Send) -> None:
        self.settings, self._receive, self._send = settings, receive, send
        self.status = 0
        self._started, self._received = time.monotonic(), 0
        self._length = int(headers.get("content-length", "0"))  # h11 lets only numbers through
        self._ended = self._length == 0 and "transfer-encoding" not in headers

    def check_length(self) -> None:
        """Refuses a body whose header gives too many bytes."""
        if self._length > self.settings.most_bytes:
            raise self._too_large()

    def _too_large(self) -> ApiError:
        most = self.settings.most_bytes >> 20
        return ApiError(413, f"the upload is larger than {most} MiB; send a shorter recording")

    async def receive(self) -> Message:
        """The next message of the client, if it comes in time and the body is not too long."""
        if self._ended:
            return await self._receive()
        left = self._started + self.settings.time_for(self._received) - time.monotonic()
        try:
            message = await asyncio.wait_for(self._receive(), max(left, 0.0))
        except asyncio.TimeoutError as error:
            raise ApiError(408, "the body arrives too slowly; try again on a faster connection") from error
        self._received += len(message.get("body", b""))
        if self._received > self.settings.most_bytes:
            raise self._too_large()
        self._ended = not message.get("more_body", False)
        return message

    async def send(self, message: Message) -> None:
        """Passes a message on. A connection whose request was not read to its end is closed after the answer."""
        if message["type"] == "http.response.start":
            self.status = message["status"]
            if not self._ended:
                message = {**message, "headers": [*message.get("headers", []), (b"connection", b"close")]}
        elif not self._ended and not message.get("more_body", False):
            await self._pass_on({**message, "more_body": True})
            await self._drain()
            message = {"type": "http.response.body", "body": b""}
        await self._pass_on(message)

    async def _pass_on(self, message: Message) -> None:
        try:
            await asyncio.wait_for(self._send(message), self.settings.send_patience)
        except asyncio.TimeoutError as error:
            raise StalledError from error

    async def _drain(self) -> None:
        """Reads on for a moment: a connection that is closed over unread bytes loses the answer."""

        async def read() -> None:
            while (message := await self._receive())["type"] == "http.request" and message.get("more_body"):
                pass

        with suppress(asyncio.TimeoutError):
            await asyncio.wait_for(read(), LINGER)

    async def refuse(self, scope: Scope, error: ApiError) -> None:
        """Answers instead of the application."""
        answer = JSONResponse({"detail": error.detail}, error.status_code, error.headers)
        await answer(scope, self.receive, self.send)


def given_key(headers: Headers) -> str:
    """The key that a request carries; empty without one."""
    scheme, _, token = headers.get("authorization", "").partition(" ")
    return headers.get("xi-api-key") or (token.strip() if scheme.lower() == "bearer" else "")


def is_key(given: str, key: str) -> bool:
    """Whether this is the key, compared in constant time."""
    return hmac.compare_digest(given.encode(), key.encode())


def check_origin(headers: Headers) -> None:
    """Without a key, only programs of this machine and the server's own pages may call.

    Raises:
        ApiError: 403.
    """
    if is_foreign(headers):
        raise ApiError(403, "without an API key this server answers only requests to localhost from its own pages")


def is_costly(scope: Scope) -> bool:
    """Whether a request may need a worker."""
    return bool(scope["method"] == "POST" or scope["path"].endswith("/preview"))

"""Listening: sockets, signals, and connections that send or take nothing."""

from __future__ import annotations

import asyncio
import signal
import socket
import time
from collections.abc import Callable
from contextlib import suppress
from typing import Any

import uvicorn
from uvicorn.protocols.http.h11_impl import H11Protocol

from ..converter import VoiceConverter
from ..errors import InputError
from .app import create_app
from .settings import ServerSettings
from .stream_codecs import MOST_BYTES
from .uploads import remove_old

MOST_HEADER_BYTES = 1 << 14
KEEP_ALIVE = 5  # seconds that a connection may wait for its next request


def listening(settings: ServerSettings) -> socket.socket:
    """A socket that listens.

    Raises:
        InputError: the address is taken, or not this machine's.
    """
    family, address = socket.AF_INET6 if ":" in settings.host else socket.AF_INET, (settings.host, settings.port)
    try:
        listener = socket.create_server(address, family=family, backlog=settings.connections)
    except (OSError, OverflowError, UnicodeError) as error:
        reason = getattr(error, "strerror", None) or error
        raise InputError(
            f"cannot listen on {settings.host} port {settings.port} ({reason}); choose another --port"
        ) from error
    # Its connections inherit this. Else an answer waits until the client confirms the one before (Nagle's algorithm).
    listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return listener


def serve(
    converter: VoiceConverter,
    settings: ServerSettings,
    ready: Callable[[int], None] = lambda port: None,
    log_level: str = "info",
) -> None:
    """Answer requests until SIGINT, SIGTERM or SIGHUP; then finish what has begun.

    Args:
        ready: is called with the port that listens.
    Raises:
        InputError: see `listening`.
    """
    remove_old()
    server, listener = make_server(converter, settings, log_level), listening(settings)
    # uvicorn has handlers of its own while it runs, and gives a signal on when it has shut down.
    for name in ("SIGINT", "SIGTERM"):
        signal.signal(getattr(signal, name), server.handle_exit)
    if hasattr(signal, "SIGHUP") and signal.getsignal(signal.SIGHUP) is not signal.SIG_IGN:  # e.g. under nohup
        signal.signal(signal.SIGHUP, server.handle_exit)
    server.config.app.state.service.streams.start()  # type: ignore[union-attr]
    ready(listener.getsockname()[1])
    server.run([listener])


def make_server(converter: VoiceConverter, settings: ServerSettings, log_level: str = "info") -> Server:
    """A server that is not started yet."""
    config = uvicorn.Config(
        create_app(converter, settings),
        http=_protocol(settings.connections),
        ws="websockets-sansio",
        ws_max_size=MOST_BYTES,
        ws_per_message_deflate=False,
        ws_ping_timeout=None,  # of a client that sends ahead, the pong lies behind minutes of sound; see stream.IDLE
        lifespan="on",
        proxy_headers=False,  # a client must not choose the address by which it is counted
        server_header=False,
        timeout_keep_alive=KEEP_ALIVE,
        h11_max_incomplete_event_size=MOST_HEADER_BYTES,
        log_level=log_level,
    )
    return Server(config, settings)


def _protocol(most: int) -> type[H11Protocol]:
    class Limited(H11Protocol):
        """Closes connections beyond the limit at once, and those whose WebSocket handshake fails."""

        def connection_made(self, transport: Any) -> None:
            super().connection_made(transport)
            if len(self.connections) > most:
                transport.abort()

        def handle_websocket_upgrade(self, event: Any) -> None:
            super().handle_websocket_upgrade(event)
            refused: Any = self.transport.get_protocol()
            if not getattr(refused, "handshake_initiated", True):  # uvicorn would keep it, and its answer, for ever
                self.transport.write(b"".join(refused.conn.data_to_send()))
                self.transport.close()

    return Limited


class Server(uvicorn.Server):
    """uvicorn's server, which also closes idle connections.

    Args:
        settings: `patience` is the time for the headers of a request, and for the end of a closed connection. A client
            has `send_patience` for the end of an answer.
    """

    def __init__(self, config: uvicorn.Config, settings: ServerSettings) -> None:
        super().__init__(config)
        self.settings = settings
        self._idle: dict[tuple[Any, Any], float] = {}  # connections after their last request, and since when

    async def serve(self, sockets: list[socket.socket] | None = None) -> None:
        """See `uvicorn.Server.serve`."""
        sweeper = asyncio.create_task(self._sweep())
        try:
            await super().serve(sockets)
        finally:
            sweeper.cancel()
            with suppress(asyncio.CancelledError):
                await sweeper

    async def _sweep(self) -> None:
        """Every half second: abort connections that have been idle for too long."""
        while True:
            await asyncio.sleep(0.5)
            now = time.monotonic()
            idle = [(c, getattr(c, "cycle", None)) for c in self.server_state.connections if _is_idle(c)]
            self._idle = {key: self._idle.get(key, now) for key in idle}
            for (connection, _), since in self._idle.items():
                if now - since > self._patience(connection.transport):
                    connection.transport.abort()

    def _patience(self, transport: Any) -> float:
        """Seconds that a connection may be idle."""
        answering = not transport.is_closing() and transport.get_write_buffer_size()
        return self.settings.send_patience if answering else self.settings.patience


def _is_idle(connection: Any) -> bool:
    """Whether no request is in work: headers are missing, or the connection ends but its client takes nothing."""
    if connection.transport.is_closing():
        return True
    if not isinstance(connection, H11Protocol):  # a WebSocket, which stream.py closes
        return False
    return connection.cycle is None or connection.cycle.response_complete

"""Where the server listens, who may call it, and how much."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from ..errors import InputError
from ..watermark import check_watermark
from .origin import is_loopback

KEY_VARIABLE = "FASTVOICEGRAD_API_KEY"  # environment variable of the key
SPARE_CONNECTIONS = 64  # for requests that convert nothing, such as lists and health


@dataclass(frozen=True)
class ServerSettings:
    """Settings of a server.

    Attributes:
        host, port: where it listens; port 0 is any free one.
        api_key: what every request must carry; None: no key is needed, on loopback only.
        voices: folder of the voice library; None: the user's own.
        stream_bundle: for WebSocket streams; None: the one that comes with the package, if there is one.
        most_streams: WebSocket streams at once; further ones are answered with 429.
        workers: conversions that run at once.
        waiting: jobs that may wait for a worker; further ones are answered with 429.
        most_bytes: of a request's body.
        most_seconds: of a recording.
        per_minute: costly requests of a client in any 60 s.
        most_voices: in the library; more cannot be added.
        patience: seconds for a request's headers, and for its body to arrive in full speed.
        slowest: bytes per second below which a body is too slow, after `patience`.
        send_patience: seconds that a client may take to accept the next piece of an answer.
        watermark: whether every conversion carries a watermark.
        most_connections: open ones; further ones are closed at once. 0: as many as conversions and streams need.
    """

    host: str = "127.0.0.1"
    port: int = 8000
    api_key: str | None = None
    voices: Path | None = None
    stream_bundle: Path | None = None
    most_streams: int = 8
    workers: int = 2
    waiting: int = 16
    most_bytes: int = 64 << 20
    most_seconds: float = 300.0
    per_minute: int = 240
    most_voices: int = 1000
    patience: float = 10.0
    slowest: int = 16 << 10
    send_patience: float = 30.0
    most_connections: int = 0
    watermark: bool = False

    def __post_init__(self) -> None:
        if self.watermark:
            check_watermark()
        if (key := self.api_key) is not None and not (
            key and key.isascii() and key.isprintable() and key == key.strip()
        ):
            raise InputError(
                "the API key must be ASCII text, not empty and without spaces around it; "
                f"set {KEY_VARIABLE} or leave it out"
            )
        if self.api_key is None and not is_loopback(self.host):
            raise InputError(
                f"{self.host} can be reached from other machines: set {KEY_VARIABLE} to a key first, "
                "or listen on 127.0.0.1"
            )

    @property
    def connections(self) -> int:
        """Open connections at most. Every conversion, waiting or not, and every stream holds one."""
        return self.most_connections or max(256, self.workers + self.waiting + self.most_streams + SPARE_CONNECTIONS)

    def time_for(self, received: int) -> float:
        """Seconds after its start in which this many bytes of a body must have been exceeded."""
        return self.patience + received / self.slowest

"""WebSockets of the built-in stream bundle. They need no PyTorch, so CI runs them with the oldest dependencies too."""

from __future__ import annotations

import json
import socket
import struct
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import suppress
from typing import Any

import pytest

pytest.importorskip("fastapi")
websockets = pytest.importorskip("websockets.sync.client")
from websockets.exceptions import ConnectionClosed, InvalidStatus  # noqa: E402

from fastvoicegrad.server import run  # noqa: E402
from fastvoicegrad.server.streams import Stream  # noqa: E402
from tests.server.conftest import Running, running, wait_until  # noqa: E402

RATE, BLOCK = 8000, 160
KEY = "secret"
HEADER = {"xi-api-key": KEY}
PATH = f"/v1/speech-to-speech/nora/stream?rate={RATE}"
UPGRADE = (
    f"GET {PATH} HTTP/1.1\r\nHost: 127.0.0.1\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
    f"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\nxi-api-key: {KEY}\r\n\r\n"
)


@pytest.fixture(scope="module")
def server(converter: Any, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    """One with a key."""
    with running(converter, tmp_path_factory.mktemp("library"), api_key=KEY) as made:
        yield made


def connect(server: Running, **more: Any) -> Any:
    return websockets.connect(server.url.replace("http", "ws") + PATH, **more)


def test_a_browser_offers_the_key_as_a_protocol(server: Running) -> None:
    with connect(server, subprotocols=["fastvoicegrad", f"xi-api-key.{KEY}"]) as client:
        assert client.subprotocol == "fastvoicegrad"
        assert json.loads(client.recv())["type"] == "ready"


def test_an_empty_message_gets_an_empty_answer(server: Running) -> None:
    with connect(server, additional_headers=HEADER) as client:
        client.recv()
        for count in (0, BLOCK, 0):
            client.send(bytes(2 * count))
            assert len(client.recv(timeout=30)) == 2 * count


def test_no_header_of_a_refusal_comes_twice(server: Running) -> None:
    with pytest.raises(InvalidStatus) as refused, connect(server):
        pass
    answer = refused.value.response
    assert answer.status_code == 401
    counts = Counter(name.lower() for name, _ in answer.headers.raw_items())
    assert set(counts.values()) == {1}, counts
    assert json.loads(answer.body)["detail"]["message"].startswith("the API key is missing")


def test_an_error_of_the_program_ends_the_stream_with_a_code(
    server: Running, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """The process of the streams sends its traceback, which goes to the log."""
    monkeypatch.setattr(Stream, "flush", lambda stream: stream._process.ask("no_such_request", stream._number))
    with connect(server, additional_headers=HEADER) as client:
        client.recv()
        client.send(json.dumps({"type": "end"}))
        with pytest.raises(ConnectionClosed) as closed:
            client.recv()
    assert closed.value.rcvd is not None
    assert closed.value.rcvd.code == 1011
    assert closed.value.rcvd.reason == "the conversion failed; the server's log has the reason"
    assert "no_such_request" in caplog.text


@pytest.fixture
def narrow(start: Callable[..., Running], monkeypatch: pytest.MonkeyPatch) -> Running:
    """A server whose connections keep few bytes that a client does not take."""
    listening = run.listening

    def narrowed(*arguments: Any) -> socket.socket:
        listener = listening(*arguments)
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 4096)
        return listener

    monkeypatch.setattr(run, "listening", narrowed)
    return start(api_key=KEY, patience=0.5, send_patience=0.5)


def test_a_client_that_takes_no_answer_is_cut_off(narrow: Running) -> None:
    """Else its answers would fill the memory. Half a minute of them is more than the buffers on the way take."""
    message = b"\x82\xfe" + struct.pack(">H", 16000) + bytes(4) + bytes(16000)  # masked with zeros
    with socket.socket() as client:
        client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        client.connect(("127.0.0.1", int(narrow.url.rsplit(":", 1)[1])))
        client.sendall(UPGRADE.encode())
        assert client.recv(4096).startswith(b"HTTP/1.1 101")
        with suppress(ConnectionError):  # a reset
            for _ in range(30):
                client.sendall(message)
        wait_until(lambda: not narrow.server.server_state.connections)

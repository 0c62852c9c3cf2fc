"""Keys, origins, sizes, rates and slow clients."""

from __future__ import annotations

import socket
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import closing
from http.client import HTTPConnection
from typing import Any

import pytest

pytest.importorskip("fastapi")
pytest.importorskip("httpx")

from fastvoicegrad import InputError
from fastvoicegrad.server.limits import MOST_CLIENTS, SlidingWindow
from fastvoicegrad.server.run import listening
from fastvoicegrad.server.settings import ServerSettings, is_loopback
from tests.server.conftest import Running, wait_until
from tests.server.test_conversion import PATH

KEY = "a-key-of-the-tests"


def status(answer: Any) -> tuple[int, str]:
    return answer.status_code, answer.json()["detail"]["status"]


# -- settings -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("host", "expected"),
    [
        ("127.0.0.1", True),
        ("127.9.9.9", True),
        ("localhost", True),
        ("::1", True),
        ("0.0.0.0", False),
        ("::", False),
        ("192.168.1.2", False),
        ("localhost.example.org", False),
        ("", False),
    ],
)
def test_loopback_is_known(host: str, expected: bool) -> None:
    assert is_loopback(host) is expected
    if expected:
        ServerSettings(host=host)
    else:
        with pytest.raises(InputError, match="FASTVOICEGRAD_API_KEY"):
            ServerSettings(host=host)
        ServerSettings(host=host, api_key=KEY)


@pytest.mark.parametrize("key", ["", "  ", "schlüssel", "secret\n", " secret", "se\x01cret"])
def test_a_key_is_plain_text(key: str) -> None:
    with pytest.raises(InputError, match="key"):
        ServerSettings(api_key=key)


def test_a_port_that_is_taken_is_named() -> None:
    with listening(ServerSettings(port=0)) as first, pytest.raises(InputError, match="choose another --port"):
        listening(ServerSettings(port=first.getsockname()[1]))


@pytest.mark.parametrize("arguments", [["--host", "0.0.0.0"], ["--api-key", ""]])
def test_the_command_refuses_an_open_server(arguments: list[str]) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "fastvoicegrad", "serve", *arguments], capture_output=True, text=True, timeout=60
    )
    assert done.returncode == 2
    assert "FASTVOICEGRAD_API_KEY" in done.stderr
    assert done.stderr.count("\n") == 1


# -- keys and origins -----------------------------------------------------------------------------------------


def test_every_route_but_health_needs_the_key(start: Callable[..., Running], source: bytes) -> None:
    server = start(api_key=KEY)
    for headers in ({}, {"xi-api-key": KEY + "x"}, {"xi-api-key": ""}, {"authorization": "Bearer x"}):
        server.client.headers.pop("xi-api-key", None)
        for method, path in [
            ("GET", "/v1/voices"),
            ("GET", "/v2/voices"),
            ("GET", "/v1/models"),
            ("GET", "/metrics"),
            ("DELETE", "/v1/voices/anna"),
            ("POST", PATH),
            ("GET", "/no/such/path"),
        ]:
            assert status(server.client.request(method, path, headers=headers)) == (401, "invalid_api_key"), path
        assert server.client.get("/health", headers=headers).status_code == 200
    for headers in ({"xi-api-key": KEY}, {"authorization": f"Bearer {KEY}"}, {"authorization": f"bearer {KEY}"}):
        assert server.client.get("/v1/voices", headers=headers).status_code == 200


def test_with_a_key_any_host_name_is_right(start: Callable[..., Running]) -> None:
    headers = {"host": "voices.example.org", "origin": "https://example.org"}
    assert start(api_key=KEY).client.get("/v1/voices", headers=headers).status_code == 200


@pytest.mark.parametrize(
    "headers",
    [
        {"origin": "https://example.org"},
        {"origin": "null"},
        {"origin": "http://[x"},
        {"host": "example.org"},
        {"host": "127.0.0.1.example.org"},
        {"host": "[bad"},
    ],
)
def test_without_a_key_pages_of_other_sites_are_refused(server: Running, headers: dict[str, str]) -> None:
    assert status(server.client.get("/v1/voices", headers=headers)) == (403, "forbidden")


def test_without_a_key_own_pages_are_served(server: Running) -> None:
    assert server.client.get("/v1/voices", headers={"origin": server.url}).status_code == 200
    name = server.url.rsplit(":", 1)[1]
    assert server.client.get("/v1/voices", headers={"host": f"localhost:{name}"}).status_code == 200


# -- rates ----------------------------------------------------------------------------------------------------


def test_a_window_slides() -> None:
    now = [0.0]
    window = SlidingWindow(2, lambda: now[0])
    assert (window.wait("a"), window.wait("a")) == (0.0, 0.0)
    now[0] = 20.0
    assert window.wait("a") == 40.0
    assert window.wait("b") == 0.0
    now[0] = 60.0
    assert (window.wait("a"), window.wait("a"), window.wait("a")) == (0.0, 0.0, 60.0)


def test_a_window_remembers_a_bounded_number_of_clients() -> None:
    now = [0.0]
    window = SlidingWindow(2, lambda: now[0])
    for number in range(MOST_CLIENTS + 100):
        now[0] += 0.001
        window.wait(str(number))
    assert len(window._calls) <= MOST_CLIENTS
    now[0] += 100
    for number in range(MOST_CLIENTS + 100):
        window.wait(f"new {number}")
    assert len(window._calls) <= MOST_CLIENTS


def test_too_many_requests_have_to_wait(start: Callable[..., Running], source: bytes) -> None:
    server = start(per_minute=3)
    answers = [server.client.post("/v1/speech-to-speech/nora9", files={"audio": source}) for _ in range(4)]
    assert [answer.status_code for answer in answers] == [404, 404, 404, 429]
    assert status(answers[-1]) == (429, "too_many_requests")
    assert 50 <= int(answers[-1].headers["retry-after"]) <= 60
    spoofed = server.client.post(PATH, files={"audio": source}, headers={"x-forwarded-for": "10.0.0.1"})
    assert spoofed.status_code == 429
    assert server.client.get("/v1/voices").status_code == 200


# -- sizes ----------------------------------------------------------------------------------------------------


def test_long_uploads_are_cut_at_the_limit(start: Callable[..., Running]) -> None:
    server = start(most_bytes=1 << 20)
    assert status(server.client.post(PATH, files={"audio": bytes(2 << 20)})) == (413, "upload_too_large")

    def endless() -> Any:
        yield b'--x\r\nContent-Disposition: form-data; name="audio"; filename="a"\r\n\r\n'
        for _ in range(1 << 14):
            yield bytes(1 << 16)

    answer = server.client.post(PATH, content=endless(), headers={"content-type": "multipart/form-data; boundary=x"})
    assert status(answer) == (413, "upload_too_large")


def test_long_recordings_are_refused(start: Callable[..., Running], voice: Any, source: bytes) -> None:
    server = start(most_seconds=1.5)
    server.library.add("anna", voice)
    answer = server.client.post(PATH, files={"audio": source})
    assert status(answer) == (413, "audio_too_long")
    assert "1.5 s" in answer.json()["detail"]["message"]
    added = server.client.post("/v1/voices/add", files={"files": source}, data={"name": "x"})
    assert status(added) == (413, "audio_too_long")


@pytest.mark.parametrize("kind", ["field", "fields", "files"])
def test_forms_are_small(server: Running, source: bytes, kind: str) -> None:
    files: Any = {"audio": source}
    data: dict[str, Any] = {}
    if kind == "field":
        data = {"voice_settings": " " * 100_000}
    elif kind == "fields":
        data = {f"f{n}": "x" for n in range(60)}
    else:
        files = [("audio", source)] + [(f"f{n}", b"x") for n in range(60)]
    assert status(server.client.post(PATH, files=files, data=data)) == (400, "bad_request")


@pytest.mark.parametrize("name", ["application/x-www-form-urlencoded", "Application/X-WWW-Form-URLEncoded"])
def test_forms_of_the_other_kind_are_small(server: Running, name: str) -> None:
    kind = {"content-type": name}
    answer = server.client.post("/v1/voices/anna/edit", content=b"name=anna&a=" + b"x" * (4 << 20), headers=kind)
    assert status(answer) == (413, "upload_too_large")
    assert server.client.post("/v1/voices/anna/edit", content=b"name=anna", headers=kind).status_code == 200


def test_a_connection_in_use_is_kept(start: Callable[..., Running]) -> None:
    """Requests between two looks at a connection count, too."""
    with closing(HTTPConnection(start(patience=1.0).url.removeprefix("http://"), timeout=20)) as connection:
        for _ in range(12):
            connection.request("GET", "/health")
            answer = connection.getresponse()
            assert answer.status == 200
            answer.read()
            time.sleep(0.3)


# -- slow clients ---------------------------------------------------------------------------------------------


def connected(server: Running) -> socket.socket:
    return socket.create_connection(("127.0.0.1", int(server.url.rsplit(":", 1)[1])), timeout=20)


def closed_after(connection: socket.socket, every: float, data: bytes) -> tuple[float, bytes]:
    """Seconds until the server ends a connection to which bytes are sent slowly, and what it sent."""
    started, answer = time.monotonic(), b""
    connection.settimeout(every)
    while time.monotonic() - started < 20:
        try:
            connection.sendall(data)
            received = connection.recv(4096)
            answer += received
            if not received:
                break
        except TimeoutError:
            continue
        except OSError:
            break
    return time.monotonic() - started, answer


@pytest.mark.parametrize("start_of_request", [b"", b"GET /v1/vo"])
def test_slow_headers_are_cut_off(start: Callable[..., Running], start_of_request: bytes) -> None:
    server = start(patience=1.0)
    with connected(server) as connection:
        connection.sendall(start_of_request)
        seconds, answer = closed_after(connection, 0.2, start_of_request[:0])
    assert 0.9 < seconds < 3
    assert answer == b""
    wait_until(lambda: not server.server.server_state.connections)


def test_slow_headers_are_cut_off_though_they_go_on(start: Callable[..., Running]) -> None:
    with connected(start(patience=1.0)) as connection:
        connection.sendall(b"GET /health HTTP/1.1\r\nHost: 127.0.0.1\r\n")
        seconds, _ = closed_after(connection, 0.2, b"x: y\r\n")
    assert 0.9 < seconds < 3


def test_slow_bodies_are_cut_off(start: Callable[..., Running]) -> None:
    with connected(start(patience=1.0)) as connection:
        connection.sendall(
            f"POST {PATH} HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: multipart/form-data; boundary=x\r\n"
            "Content-Length: 100000\r\n\r\n--x\r\n".encode()
        )
        seconds, answer = closed_after(connection, 0.2, b"y")
    assert 0.9 < seconds < 4
    assert answer.startswith(b"HTTP/1.1 408")
    assert b"request_timeout" in answer


def test_connections_are_limited(start: Callable[..., Running]) -> None:
    server = start(most_connections=3, patience=30.0)
    server.client.close()
    kept = [connected(server) for _ in range(3)]
    wait_until(lambda: len(server.server.server_state.connections) == 3)
    with connected(server) as extra:
        seconds, answer = closed_after(extra, 0.2, b"")
    assert seconds < 2
    assert answer == b""
    for connection in kept:
        connection.close()


def test_every_conversion_and_stream_has_a_connection() -> None:
    assert ServerSettings().connections == 256
    settings = ServerSettings(workers=64, waiting=1000, most_streams=64)
    assert settings.connections > settings.workers + settings.waiting + settings.most_streams


def test_large_headers_are_refused(server: Running) -> None:
    with connected(server) as connection:
        connection.sendall(b"GET /health HTTP/1.1\r\nHost: 127.0.0.1\r\nx: " + b"y" * 100_000)
        assert connection.recv(100).startswith(b"HTTP/1.1 4")


@pytest.mark.parametrize(
    "more",
    [b"cookie: a=" + b"x" * 9000 + b"\r\n", b"x: y\r\n" * 200, b"content-length: 5\r\n"],
    ids=["long", "many", "body"],
)
def test_a_refused_handshake_ends_its_connection(start: Callable[..., Running], more: bytes) -> None:
    server = start(patience=30.0)
    with connected(server) as connection:
        connection.sendall(
            b"GET /v1/speech-to-speech/anna/stream HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: Upgrade\r\n"
            b"Upgrade: websocket\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n"
            + more
            + b"\r\n"
        )
        seconds, _ = closed_after(connection, 0.2, b"")
    assert seconds < 10
    server.client.close()
    wait_until(lambda: not server.server.server_state.connections)


def test_a_form_in_a_slow_charset_is_refused(server: Running) -> None:
    part = b'--B\r\ncontent-disposition: form-data; name="name"\r\n\r\nx-anna\r\n--B--\r\n'
    for charset, code in (
        ("punycode", 400),
        ("utf-8; charset=punycode", 400),
        ("nosuch", 400),
        ("UTF-8", 200),
        ("iso-8859-1", 200),
    ):
        kind = {"content-type": f"multipart/form-data; boundary=B; charset={charset}"}
        answer = server.client.post("/v1/voices/anna/edit", content=part.replace(b"x-anna", b"anna"), headers=kind)
        assert answer.status_code == code, charset


def test_pages_of_other_sites_embed_nothing(server: Running) -> None:
    for site, mode, code in (("cross-site", "no-cors", 403), ("same-site", "cors", 403), ("same-origin", "cors", 200)):
        headers = {"sec-fetch-site": site, "sec-fetch-mode": mode}
        assert server.client.get("/v1/voices", headers=headers).status_code == code
    headers = {"sec-fetch-site": "cross-site", "sec-fetch-mode": "navigate"}
    assert server.client.get("/live", headers=headers).status_code == 200  # a link


def test_no_redirect_leads_elsewhere(server: Running) -> None:
    assert server.client.get("/").headers["location"] == "docs"
    assert server.client.post("/v1/voices/add/", headers={"x-forwarded-proto": "https"}).status_code in (404, 405)


def test_an_early_answer_reaches_a_client_that_goes_on_sending(start: Callable[..., Running]) -> None:
    server = start(most_bytes=1000)
    with connected(server) as connection:
        connection.sendall(
            f"POST {PATH} HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: multipart/form-data; boundary=x\r\n"
            "Content-Length: 9000000\r\n\r\n".encode()
        )
        connection.sendall(bytes(8_000_000))
        answer = connection.recv(4096)
    assert answer.startswith(b"HTTP/1.1 413")
    assert b"connection: close" in answer.lower()


def test_a_recording_that_breaks_off_is_refused(server: Running, source: bytes) -> None:
    answer = server.client.post(PATH, files={"audio": ("talk.wav", source[:-30000])})
    assert status(answer) == (400, "invalid_audio")
    assert answer.json()["detail"]["message"].startswith("talk.wav ends after")

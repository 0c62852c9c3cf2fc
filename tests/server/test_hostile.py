"""Every hostile upload gets a 4xx, names nothing of the server, and leaves it at work."""

from __future__ import annotations

import json
import tempfile
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("fastapi")
pytest.importorskip("httpx")

from tests.conftest import vowels
from tests.server import hostile
from tests.server.conftest import Running, running, wav_bytes

GOOD = wav_bytes(vowels(1.0))
RECORDINGS = hostile.recordings(seconds=240)
REQUESTS = hostile.requests(GOOD)


@pytest.fixture(scope="module")
def limited(converter: Any, voice: Any, tmp_path_factory: pytest.TempPathFactory) -> Any:
    """A server that takes recordings of a minute."""
    tempfile.tempdir = str(tmp_path_factory.mktemp("temporary"))
    try:
        with running(converter, tmp_path_factory.mktemp("library"), most_seconds=60.0) as made:
            made.library.add("anna", voice)
            yield made
    finally:
        tempfile.tempdir = None


def port(server: Running) -> int:
    return int(server.url.rsplit(":", 1)[1])


def check(server: Running, answer: bytes) -> tuple[int, str]:
    """Status and message of a refusal. It names no path, and the server goes on."""
    head, _, body = answer.partition(b"\r\n\r\n")
    status = int(head.split()[1])
    assert 400 <= status < 500, answer[:500]
    assert b"x-injected" not in head.lower()
    for secret in (
        tempfile.gettempdir(),
        str(Path(__file__).parents[2]),
        "fastvoicegrad-",
        "Traceback",
        "site-packages",
    ):
        assert secret.encode() not in answer, answer
    assert server.client.get("/health").json()["status"] == "ok"
    assert server.queue.size == 0
    if not body.startswith(b"{"):  # uvicorn's own answer to what is no HTTP
        return status, body.decode()
    detail = json.loads(body)["detail"]
    assert set(detail) == {"status", "message"}
    assert detail["message"].isprintable()
    return status, detail["message"]


@pytest.mark.parametrize("name", RECORDINGS)
@pytest.mark.parametrize("route", ["convert", "add"])
def test_recordings_are_refused(limited: Running, name: str, route: str) -> None:
    field = {"convert": "audio", "add": "files"}[route]
    path = {"convert": hostile.PCM, "add": hostile.ADD}[route]
    parts = [hostile.file_part(field, RECORDINGS[name]())] + [hostile.text_part("name", b"a")] * (route == "add")
    request = hostile.whole(path, hostile.form(*parts))
    answer, seconds = hostile.send(port(limited), request)
    status, message = check(limited, answer)
    assert seconds < 5  # benchmarks/hostile_uploads.py measures it
    assert status in (400, 413)
    assert message.startswith("talk.wav ")
    assert limited.library.names().count("a") == 0


@pytest.mark.parametrize("name", REQUESTS)
def test_requests_are_refused(limited: Running, name: str) -> None:
    before = limited.library.names()
    answer, seconds = hostile.send(port(limited), REQUESTS[name])
    if answer:  # else it was cut off
        check(limited, answer)
    assert seconds < 5
    assert limited.library.names() == before


@pytest.mark.parametrize("filename", hostile.filenames())
def test_file_names_are_nothing_but_labels(limited: Running, filename: bytes) -> None:
    bad = hostile.whole(hostile.PCM, hostile.form(hostile.file_part("audio", b"no sound", filename)))
    status, message = check(limited, hostile.send(port(limited), bad)[0])
    assert status in (400, 422)
    assert "/etc" not in message
    assert len(message) < 300
    good = hostile.whole(
        hostile.ADD, hostile.form(hostile.file_part("files", GOOD, filename), hostile.text_part("name", b"label"))
    )
    answer, _ = hostile.send(port(limited), good)
    if answer.startswith(b"HTTP/1.1 200"):  # some names are none that a form can carry
        limited.library.remove("label")
    else:
        check(limited, answer)


def test_no_temporary_file_is_left(limited: Running) -> None:
    assert list(Path(tempfile.gettempdir()).iterdir()) == []

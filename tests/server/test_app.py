"""Models, health, metrics, documentation, errors, and the end of a server."""

from __future__ import annotations

import os
import re
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
import urllib.request
import weakref
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

pytest.importorskip("fastapi")
pytest.importorskip("httpx")

from fastvoicegrad import __version__
from fastvoicegrad.server.errors import ApiError
from fastvoicegrad.server.jobs import Cancelled, Job, JobQueue
from fastvoicegrad.server.uploads import PREFIX, label_of, remove_old, without_path
from fastvoicegrad.server.work import watched
from tests.conftest import vowels
from tests.server.conftest import Running, wait_until, wav_bytes
from tests.server.test_conversion import PATH, raw_request


def test_models_convert_voices(server: Running) -> None:
    (model,) = server.client.get("/v1/models").json()
    assert (model["model_id"], model["can_do_voice_conversion"]) == ("fastvoicegrad", True)


def test_health_tells_the_places(server: Running) -> None:
    assert server.client.get("/health").json() == {
        "status": "ok",
        "version": __version__,
        "running": 0,
        "waiting": 0,
        "places": 34,
    }


def test_metrics_count(start: Callable[..., Running], voice: Any, source: bytes) -> None:
    server = start(most_bytes=1 << 20)
    server.library.add("anna", voice)
    server.client.post(PATH, files={"audio": source})
    server.client.post(PATH, files={"audio": bytes(2 << 20)})
    server.client.get("/no/such/path")
    path = "/v1/speech-to-speech/{voice_id}"
    lines = {
        f'fastvoicegrad_requests_total{{method="POST",path="{path}",status="200"}} 1.0',
        'fastvoicegrad_requests_total{method="GET",path="other",status="404"} 1.0',
        'fastvoicegrad_refused_total{reason="upload_too_large"} 1.0',
        "fastvoicegrad_audio_seconds_total 2.0",
        "fastvoicegrad_jobs_running 0.0",
        "fastvoicegrad_jobs_waiting 0.0",
        "fastvoicegrad_conversion_seconds_count 1.0",
    }
    # A request is counted after its answer, so the next one may come before.
    wait_until(lambda: lines <= set(server.client.get("/metrics").text.splitlines()))


def test_the_documentation_has_examples(server: Running) -> None:
    schema = server.client.get("/openapi.json").json()
    assert "FastVoiceGrad" in server.client.get("/docs").text
    for path in ("/v1/speech-to-speech/{voice_id}", "/v1/voices/add", "/v1/audio/voice-conversion"):
        answers = schema["paths"][path]["post"]["responses"]
        assert {"200", "400", "401", "413", "422", "429"} <= set(answers)
    assert "audio/mpeg" in schema["paths"]["/v1/speech-to-speech/{voice_id}"]["post"]["responses"]["200"]["content"]
    form = schema["components"]["schemas"]["Body_add_voice_v1_voices_add_post"]["properties"]
    assert form["name"]["examples"] == ["Anna"]
    assert schema["components"]["schemas"]["Voice"]["properties"]["voice_id"]["examples"] == ["anna"]


@pytest.mark.parametrize(
    ("method", "path", "code", "status"),
    [
        ("GET", "/nothing", 404, "not_found"),
        ("PUT", "/v1/voices/anna", 405, "method_not_allowed"),
        ("GET", "/v2/voices?page_size=x", 422, "validation_error"),
    ],
)
def test_all_errors_have_one_shape(server: Running, method: str, path: str, code: int, status: str) -> None:
    answer = server.client.request(method, path)
    assert answer.status_code == code
    assert answer.json()["detail"]["status"] == status
    if code == 405:
        assert answer.headers["allow"] == "DELETE, GET, HEAD"
        assert server.client.post("/live").headers["allow"] == "GET, HEAD"  # it is not documented


@pytest.mark.parametrize("path", ["/health", "/v1/voices", "/v1/voices/none"])
def test_head_is_get_without_the_body(server: Running, path: str) -> None:
    head, get = server.client.head(path), server.client.get(path)
    assert (head.status_code, head.headers["content-length"]) == (get.status_code, get.headers["content-length"])
    assert not head.content

    def counted() -> list[str]:
        return [line for line in server.client.get("/metrics").text.splitlines() if 'method="HEAD"' in line]

    wait_until(counted)
    assert not any('path="other"' in line for line in counted())
    assert server.client.head("/v1/voices/add").status_code == server.client.get("/v1/voices/add").status_code


def test_a_bug_gives_nothing_away(start: Callable[..., Running], monkeypatch: pytest.MonkeyPatch) -> None:
    server = start()
    monkeypatch.setattr(server.library, "names", lambda: 1 / 0)
    answer = server.client.get("/v1/audio/voices")
    assert answer.status_code == 500
    assert answer.json()["detail"] == {
        "status": "internal_error",
        "message": "the server failed; its log has the reason",
    }
    with urllib.request.urlopen(f"{server.url}/metrics") as connection:  # the server closed the client's
        metrics = connection.read().decode()
    assert 'status="500"' in metrics
    assert 'status="0"' not in metrics


@pytest.mark.parametrize(
    ("name", "label"),
    [
        ("talk.wav", "talk.wav"),
        ("../../etc/passwd", "passwd"),
        ("C:\\x\\talk.wav", "talk.wav"),
        ("a\x00b", "a\\x00b"),
        ("", "the recording"),
        (None, "the recording"),
        ("..", ".."),
    ],
)
def test_labels(name: str | None, label: str) -> None:
    assert label_of(name) == label


def test_messages_lose_their_paths() -> None:
    path = Path("/tmp/fastvoicegrad-abc/recording")
    assert without_path(f"{path} is empty", path, "talk.wav") == "talk.wav is empty"
    long = Path("/tmp") / ("x" * 120) / "recording"
    shown = f"{str(long)[:50]}...{str(long)[-50:]}"
    assert without_path(f"{shown} is empty", long, "talk.wav") == "talk.wav is empty"
    assert without_path(f"{path.parent} is full", path, "talk.wav") == "talk.wav cannot be used"


def test_old_uploads_are_removed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    for name in (f"{PREFIX}old", f"{PREFIX}new", "other"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "recording").write_bytes(b"x")
        if name != f"{PREFIX}new":
            os.utime(tmp_path / name, (0, 0))
    remove_old()
    assert sorted(path.name for path in tmp_path.iterdir()) == [f"{PREFIX}new", "other"]


# -- jobs -----------------------------------------------------------------------------------------------------


def in_loop(body: Callable[[], Any]) -> Any:
    import asyncio

    return asyncio.run(body())


def test_output_is_read_while_it_is_made() -> None:
    go_on = threading.Event()

    def work(job: Job) -> None:
        job.write(b"first")
        assert go_on.wait(10)
        job.write(b"x" * 100_000)
        raise ApiError(400, "broken")

    async def body() -> list[bytes]:
        queue, pieces = JobQueue(1, 0), list[bytes]()
        job = queue.submit(work)
        await job.started()

        async def read() -> None:
            async for piece in job.output():
                pieces.append(piece)
                go_on.set()

        with pytest.raises(ApiError, match="broken"):
            await read()
        queue.close()
        return pieces

    pieces = in_loop(body)
    assert pieces[0] == b"first"
    assert b"".join(pieces) == b"first" + b"x" * 100_000


def test_a_job_that_fails_before_its_output_raises_at_once() -> None:
    async def body() -> None:
        queue = JobQueue(1, 0)
        with pytest.raises(ZeroDivisionError):
            await queue.submit(lambda job: 1 / 0).started()
        assert await queue.submit(lambda job: 5).result() == 5
        queue.close()

    in_loop(body)


def test_a_closed_job_stops_at_its_next_look() -> None:
    stopped = threading.Event()

    def work(job: Job) -> None:
        try:
            while True:
                job.write(b"x")
                time.sleep(0.001)
        except Cancelled:
            stopped.set()
            raise

    async def body() -> None:
        queue = JobQueue(1, 1)
        running, waiting = queue.submit(work), queue.submit(work)
        await running.started()
        assert (queue.running, queue.waiting) == (1, 1)
        with pytest.raises(ApiError, match="places"):
            queue.submit(work)
        waiting.close()
        assert queue.size == 1
        running.close()
        queue.close()
        assert queue.size == 0

    in_loop(body)
    assert stopped.is_set()


def test_a_job_that_is_closed_before_it_starts_forgets_its_work() -> None:
    class Sound:
        pass

    async def body() -> None:
        queue, go_on, sound = JobQueue(1, 1), threading.Event(), Sound()
        queue.submit(lambda job: go_on.wait(10))
        waiting, kept = queue.submit(partial(lambda sound, job: None, sound)), weakref.ref(sound)
        del sound
        assert kept() is not None
        waiting.close()
        assert kept() is None
        go_on.set()
        queue.close()

    in_loop(body)


def test_a_file_is_closed_before_its_folder_goes() -> None:
    """Windows deletes no open file, and a traceback keeps generators alive."""
    closed = list[str]()

    def blocks() -> Iterator[np.ndarray]:
        try:
            while True:
                yield np.zeros(1000, np.float32)
        finally:
            closed.append("closed")

    job = SimpleNamespace(check=lambda: None)
    reading = watched(blocks(), 1000, "talk", 2.5, job)  # type: ignore[arg-type]
    with pytest.raises(ApiError, match="longer"):
        deque(reading, 0)
    assert closed == ["closed"]


# -- the start ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("voices", "reason"),
    [("file", "is not a folder"), ("file/below", "cannot be used"), ("v" * 300, "cannot be used")],
)
def test_a_library_that_could_never_be_made_is_refused_at_the_start(tmp_path: Path, voices: str, reason: str) -> None:
    (tmp_path / "file").touch()
    command = [sys.executable, "-m", "fastvoicegrad", "serve", "--port", "0", "--voices", str(tmp_path / voices)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode != 0
    assert reason in done.stderr
    assert len(done.stderr.splitlines()) == 1


# -- the end --------------------------------------------------------------------------------------------------


@contextmanager
def serving(folder: Path, *command: str) -> Iterator[tuple[subprocess.Popen[str], int]]:
    """A server in a process of its own, and its port."""
    words = [sys.executable, *command, "serve", "--port", "0", "--voices", str(folder), "--workers", "1"]
    process = subprocess.Popen(words, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    try:
        assert process.stdout is not None
        match = re.search(r"http://127\.0\.0\.1:(\d+)", process.stdout.readline())
        assert match
        port = int(match[1])
        wait_until(lambda: _answers(port))
        yield process, port
    finally:
        process.kill()
        process.wait()


@pytest.mark.skipif(not hasattr(signal, "SIGHUP"), reason="needs terminals that hang up")
def test_under_nohup_a_server_outlives_its_terminal(tmp_path: Path) -> None:
    code = "import signal; signal.signal(signal.SIGHUP, signal.SIG_IGN); from fastvoicegrad.cli import app; app()"
    with serving(tmp_path, "-c", code) as (process, port):
        process.send_signal(signal.SIGHUP)
        time.sleep(0.5)
        assert _answers(port)


@pytest.mark.parametrize("name", ["SIGTERM", *(pytest.param(n, marks=pytest.mark.slow) for n in ("SIGINT", "SIGHUP"))])
def test_a_signal_lets_conversions_end(tmp_path: Path, voice: Any, name: str) -> None:
    from fastvoicegrad.library import VoiceLibrary

    if signal.getsignal(getattr(signal, name)) is signal.SIG_IGN:
        pytest.skip(f"{name} is ignored here, as under nohup, and so by what starts here")
    VoiceLibrary(tmp_path).add("anna", voice)
    with serving(tmp_path, "-m", "fastvoicegrad") as (process, port):
        server = Running(None, f"http://127.0.0.1:{port}", None, None)
        path = f"{PATH}?output_format=pcm_8000"
        source = wav_bytes(np.tile(vowels(5.0), 6))  # in more than one block of the pipeline
        first, second = raw_request(server, source, path), raw_request(server, source, path)
        idle = socket.create_connection(("127.0.0.1", port))
        assert first.recv(12) == b"HTTP/1.1 200"
        process.send_signal(getattr(signal, name))
        for connection in (first, second):
            data = b""
            while received := connection.recv(1 << 16):
                data += received
            assert data.endswith(b"0\r\n\r\n")
            assert len(data) > 30 * 8000 * 2
        _, log = process.communicate(timeout=20)
        idle.close()
        assert process.returncode == 0
        assert "Traceback" not in log


def _answers(port: int) -> bool:
    try:
        socket.create_connection(("127.0.0.1", port)).close()
    except OSError:
        return False
    return True


def test_the_address_alone_leads_to_the_documentation(server: Running) -> None:
    answer = server.client.get("/")
    assert (answer.status_code, answer.headers["location"]) == (307, "docs")

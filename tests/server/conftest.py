"""A real server on loopback, in a thread of the tests."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.conftest import RATE, vowels


@dataclass
class Running:
    """A server and a client of it."""

    server: Any
    url: str
    client: Any
    app: Any

    @property
    def queue(self) -> Any:
        return self.app.state.service.queue

    @property
    def library(self) -> Any:
        return self.app.state.service.library


@contextmanager
def running(converter: Any, folder: Path, **settings: Any) -> Iterator[Running]:
    """A server with a voice library in `folder`."""
    import httpx

    from fastvoicegrad.server.run import listening, make_server
    from fastvoicegrad.server.settings import ServerSettings

    chosen = ServerSettings(**{"port": 0, "voices": folder, "per_minute": 10**6, **settings})
    server, listener = make_server(converter, chosen, "warning"), listening(chosen)
    url = f"http://127.0.0.1:{listener.getsockname()[1]}"
    thread = threading.Thread(target=server.run, args=([listener],))
    thread.start()
    try:
        wait_until(lambda: server.started)
        headers = {"xi-api-key": chosen.api_key} if chosen.api_key else {}
        with httpx.Client(base_url=url, timeout=60, headers=headers) as client:
            yield Running(server, url, client, server.config.app)
    finally:
        server.should_exit = True
        thread.join(60)
    assert not thread.is_alive()


def wait_until(done: Callable[[], Any], seconds: float = 20.0) -> None:
    """Until a condition holds."""
    end = time.monotonic() + seconds
    while not done():
        assert time.monotonic() < end, "it takes too long"
        time.sleep(0.01)


@pytest.fixture
def start(converter: Any, tmp_path: Path) -> Iterator[Callable[..., Running]]:
    """Starts servers with settings of a test's own."""
    opened: list[Any] = []

    def begin(**settings: Any) -> Running:
        manager = running(converter, tmp_path / "voices", **settings)
        opened.append(manager)
        return manager.__enter__()

    yield begin
    for manager in opened:
        with suppress(StopIteration):
            manager.__exit__(None, None, None)


@pytest.fixture(scope="module")
def server(converter: Any, voice: Any, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    """A server with a voice `anna`, for all tests of a module."""
    with running(converter, tmp_path_factory.mktemp("library"), workers=2, waiting=32) as made:
        made.library.add("anna", voice, description="calm")
        yield made


def wav_bytes(wave: np.ndarray, rate: int = RATE, form: str = "WAV", subtype: str | None = None) -> bytes:
    import io

    import soundfile

    file = io.BytesIO()
    soundfile.write(file, wave, rate, subtype, format=form)
    return file.getvalue()


@pytest.fixture(scope="session")
def source() -> bytes:
    """A recording of 2 s."""
    return wav_bytes(vowels(2.0))


@pytest.fixture(scope="session")
def long_source() -> bytes:
    """A recording of 72 s, in several blocks of the pipeline."""
    return wav_bytes(np.tile(vowels(9.0), 8))

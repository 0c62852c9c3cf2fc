"""The queue of streams: what waits is converted together, and what fails fails alone."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

pytest.importorskip("torch")
pytest.importorskip("fastapi")

from fastvoicegrad import InputError
from fastvoicegrad.server import streams as module
from fastvoicegrad.server.streams import Streams
from fastvoicegrad.stream.bundle import StreamBundle, StreamVoice
from fastvoicegrad.stream.converter import StreamingConverter, push_all
from tests.conftest import vowels


@pytest.fixture
def streams(stream_folder: Path) -> Iterator[Streams]:
    made = Streams(StreamBundle.open(stream_folder), workers=1, most=8)
    yield made
    made.close()


@pytest.fixture
def together(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """How many streams each call of `push_all` has."""
    counts = list[int]()

    def counted(converters: Sequence[StreamingConverter], blocks: Sequence[np.ndarray]) -> list[Any]:
        counts.append(len(converters))
        return push_all(converters, blocks)

    monkeypatch.setattr(module, "push_all", counted)
    return counts


def make(streams: Streams, voice: Any, count: int) -> list[StreamingConverter]:
    assert streams.bundle is not None
    return [StreamingConverter(streams.bundle, voice) for _ in range(count)]


def test_a_lone_stream_starts_at_once(streams: Streams, voices: list[Any], together: list[int]) -> None:
    wave, (one, other) = vowels(0.2), make(streams, voices[0], 2)
    np.testing.assert_array_equal(asyncio.run(streams.convert(one, wave)), other.push(wave))
    assert together == [1]


def test_what_waits_is_converted_together(streams: Streams, voices: list[Any], together: list[int]) -> None:
    wave, (*made, alone) = vowels(0.2), make(streams, voices[0], 6)
    busy = threading.Event()

    async def all_of_them() -> list[np.ndarray]:
        first = asyncio.ensure_future(streams.convert(made[0], wave))
        streams._threads.submit(busy.wait, 10)
        while not together:
            await asyncio.sleep(0.001)
        others = [asyncio.ensure_future(streams.convert(one, wave)) for one in made[1:]]
        await asyncio.sleep(0.05)
        busy.set()
        return list(await asyncio.gather(first, *others))

    results = asyncio.run(all_of_them())
    assert sum(together) == 5
    assert len(together) <= 3
    for result in results:
        np.testing.assert_allclose(result, alone.push(wave), atol=1e-4)
        alone.reset()


def test_a_stream_that_fails_fails_alone(streams: Streams, voices: list[Any]) -> None:
    assert streams.bundle is not None
    wave, good = vowels(0.2), streams.bundle.voice(voices[0])
    bad = StreamVoice(np.full_like(good.film, 3e38), good.memory, good.pitch)
    made = [*make(streams, good, 1), *make(streams, bad, 1), *make(streams, good, 1)]

    async def all_of_them() -> list[Any]:
        return await asyncio.gather(*(streams.convert(one, wave) for one in made), return_exceptions=True)

    first, second, third = asyncio.run(all_of_them())
    assert isinstance(second, InputError)
    np.testing.assert_allclose(first, third, atol=1e-6)


def test_a_client_that_goes_away_holds_no_other_up(streams: Streams, voices: list[Any]) -> None:
    wave, (one, other) = vowels(0.5), make(streams, voices[0], 2)

    async def leave() -> np.ndarray:
        leaving = asyncio.ensure_future(streams.convert(one, wave))
        staying = asyncio.ensure_future(streams.convert(other, wave))
        await asyncio.sleep(0)
        leaving.cancel()
        return await staying

    assert len(asyncio.run(leave())) == len(wave)
    assert len(asyncio.run(streams.convert(other, wave))) == len(wave)


def test_an_error_of_the_program_reaches_its_stream(
    streams: Streams, voices: list[Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    (one,) = make(streams, voices[0], 1)
    with monkeypatch.context() as broken:
        broken.setattr(module, "push_all", lambda *_: 1 / 0)
        with pytest.raises(ZeroDivisionError):
            asyncio.run(streams.convert(one, vowels(0.1)))
    assert len(asyncio.run(streams.convert(one, vowels(0.1)))) == len(vowels(0.1))

"""The queue of streams: what waits is converted together, what fails fails alone, and a dead process is replaced."""

from __future__ import annotations

import asyncio
import os
import signal
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

pytest.importorskip("torch")
pytest.importorskip("fastapi")

from fastvoicegrad import InputError
from fastvoicegrad.server.stream_worker import PUSH, Request
from fastvoicegrad.server.streams import SHARED, Stream, Streams, _Process, _round, _Waiting
from fastvoicegrad.stream.bundle import StreamBundle
from fastvoicegrad.stream.converter import StreamingConverter
from tests.conftest import vowels

RATE = 22050


@pytest.fixture
def streams(stream_folder: Path) -> Iterator[Streams]:
    made = Streams(stream_folder, most=SHARED)
    yield made
    made.close()


@pytest.fixture
def together(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """How many streams each call for samples has."""
    counts, answers = list[int](), _Process._answers

    def counted(self: _Process, requests: list[Request]) -> list[Any]:
        if requests and requests[0].name == PUSH:
            counts.append(len({request.arguments[0] for request in requests}))
        return answers(self, requests)

    monkeypatch.setattr(_Process, "_answers", counted)
    return counts


@pytest.fixture
def alone(stream_folder: Path, voices: list[Any]) -> StreamingConverter:
    """What each stream should give."""
    return StreamingConverter(StreamBundle.open(stream_folder), voices[0], RATE)


async def opened(streams: Streams, voice: Any, count: int) -> list[Stream]:
    return [await streams.open(voice, RATE) for _ in range(count)]


def test_a_lone_stream_starts_at_once(
    streams: Streams, voices: list[Any], together: list[int], alone: StreamingConverter
) -> None:
    wave = vowels(0.2)

    async def converted() -> tuple[int, np.ndarray]:
        (one,) = await opened(streams, voices[0], 1)
        return one.latency, await one.push(wave)

    latency, result = asyncio.run(converted())
    np.testing.assert_array_equal(result, alone.push(wave))
    assert latency == alone.latency
    assert together == [1]


def test_what_waits_is_converted_together(
    streams: Streams, voices: list[Any], together: list[int], alone: StreamingConverter
) -> None:
    wave = vowels(0.2)

    async def all_of_them() -> list[np.ndarray]:
        made = await opened(streams, voices[0], SHARED)
        return list(await asyncio.gather(*(one.push(wave) for one in made)))

    results = asyncio.run(all_of_them())
    assert sum(together) == SHARED
    assert len(together) <= 2  # the thread may have taken the first before the others came
    expected = alone.push(wave)
    for result in results:
        np.testing.assert_allclose(result, expected, atol=1e-4)


def rounds(requests: list[tuple[str, int]], seconds: float) -> list[list[tuple[str, int]]]:
    """The calls of the child that such requests become."""
    waiting, found = [_Waiting(Request(name, (number,)), None, seconds) for name, number in requests], []
    while waiting:
        group, waiting = _round(waiting)
        found.append([(one.request.name, one.request.arguments[0]) for one in group])
    return found


def test_requests_of_a_stream_keep_their_order() -> None:
    names = [(PUSH, 1), (PUSH, 2), (PUSH, 1), ("flush", 2), (PUSH, 2), (PUSH, 3), ("end", 3), ("end", 1)]
    found = rounds(names, 0.01)
    assert found == [[(PUSH, 1), (PUSH, 2), (PUSH, 1), (PUSH, 3)], *[[one] for one in (*names[3:5], *names[6:])]]


def test_each_stream_has_a_piece_of_a_round() -> None:
    """0.1 s: one stream that is behind holds no other up."""
    found = rounds([(PUSH, 1)] * 7 + [(PUSH, 2)] * 2, 0.04)
    assert [[number for _, number in one] for one in found] == [[1, 1, 2, 2], [1, 1], [1, 1], [1]]
    assert rounds([(PUSH, 1)] * 2, 1.0) == [[(PUSH, 1)]] * 2
    assert 30 < len(rounds([(PUSH, 1)] * 100, 0.0)[0]) <= 40


def test_samples_are_answered_in_their_order_though_they_wait_for_no_answer(
    streams: Streams, voices: list[Any], together: list[int], alone: StreamingConverter
) -> None:
    wave = vowels(0.5)
    blocks = np.split(wave, range(441, len(wave), 441))

    async def all_of_them() -> list[np.ndarray]:
        (one,) = await opened(streams, voices[0], 1)
        return list(await asyncio.gather(*(one.push(block) for block in blocks)))

    results = asyncio.run(all_of_them())
    assert [len(one) for one in results] == [len(one) for one in blocks]
    np.testing.assert_allclose(np.concatenate(results), alone.push(wave), atol=1e-4)
    assert len(together) < len(blocks)


def test_what_is_too_old_is_not_converted(streams: Streams, voices: list[Any], alone: StreamingConverter) -> None:
    wave = vowels(0.2)

    async def late() -> list[Any]:
        (one,) = await opened(streams, voices[0], 1)
        pushes = [one.push(wave), one.push(wave, deadline=time.monotonic() - 1), one.push(wave)]
        return list(await asyncio.gather(*pushes))

    first, second, third = asyncio.run(late())
    assert second is None
    np.testing.assert_allclose(np.concatenate([first, third]), alone.push(np.tile(wave, 2)), atol=1e-4)


def test_a_stream_that_fails_fails_alone(streams: Streams, stream_folder: Path, voices: list[Any]) -> None:
    wave, good = vowels(0.2), StreamBundle.open(stream_folder).voice(voices[0])
    bad = replace(good, film=np.full_like(good.film, 3e38))

    async def all_of_them() -> list[Any]:
        made = [(await opened(streams, voice, 1))[0] for voice in (good, bad, good)]
        return await asyncio.gather(*(one.push(wave) for one in made), return_exceptions=True)

    first, second, third = asyncio.run(all_of_them())
    assert isinstance(second, InputError)
    np.testing.assert_allclose(first, third, atol=1e-6)


def test_a_client_that_goes_away_holds_no_other_up(streams: Streams, voices: list[Any]) -> None:
    wave = vowels(0.5)

    async def leave() -> list[np.ndarray]:
        one, other = await opened(streams, voices[0], 2)
        leaving = asyncio.ensure_future(one.push(wave))
        staying = asyncio.ensure_future(other.push(wave))
        await asyncio.sleep(0)
        leaving.cancel()
        return [await staying, await other.push(wave)]

    assert [len(result) for result in asyncio.run(leave())] == [len(wave)] * 2


def test_an_error_of_the_program_reaches_its_stream(streams: Streams, voices: list[Any]) -> None:
    wave = vowels(0.1)

    async def broken() -> np.ndarray:
        (one,) = await opened(streams, voices[0], 1)
        with pytest.raises(RuntimeError, match="AttributeError"):
            await one._process.ask("no_such_request", -1)
        with pytest.raises(AttributeError, match="pickle"):
            await one._process.ask("flush", -1, lambda: None)
        return await one.push(wave)

    assert len(asyncio.run(broken())) == len(wave)


def test_a_process_that_dies_ends_its_streams_alone(stream_folder: Path, voices: list[Any]) -> None:
    wave, streams = vowels(0.1), Streams(stream_folder, most=SHARED + 1)

    async def killed() -> list[np.ndarray]:
        first, second, third = await opened(streams, voices[0], 3)
        assert first._process is third._process
        assert first._process is not second._process
        os.kill(first._process._child._running.pid, signal.SIGTERM)
        with pytest.raises(InputError, match=r"the process of the streams crashed \(SIGTERM\)|begin another"):
            await first.push(wave)
        with pytest.raises(InputError, match="begin another stream"):
            await third.push(wave)
        first.close()
        third.close()
        (another,) = await opened(streams, voices[0], 1)
        assert another._process is first._process
        return [await second.push(wave), await another.push(wave)]

    try:
        one, other = asyncio.run(killed())
    finally:
        streams.close()
    np.testing.assert_array_equal(one, other)


def test_a_setting_out_of_range_takes_no_place(streams: Streams, voices: list[Any]) -> None:
    with pytest.raises(InputError, match="rate must be whole and lie"):
        asyncio.run(streams.open(voices[0], 1))
    assert [process.streams for process in streams._processes] == [0]


def test_a_closed_stream_is_forgotten(streams: Streams, voices: list[Any]) -> None:
    async def closed() -> None:
        one, other = await opened(streams, voices[0], 2)
        one.close()
        await other.push(vowels(0.1))
        with pytest.raises(InputError, match="begin another stream"):
            await one.push(vowels(0.1))

    asyncio.run(closed())

"""Files in place of devices: the pace is even, and decoding takes none of its time."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile

from fastvoicegrad import InputError, audio
from fastvoicegrad.files import shown
from fastvoicegrad.live import files
from fastvoicegrad.live.files import play
from tests.conftest import vowels

RATE, BLOCK = 16000, 160


class Passing:
    """Stands in for an engine: gives the input, later by its delay."""

    rate, delay = RATE, 3 * BLOCK

    def __init__(self, at_exchange: Callable[[], None] = lambda: None) -> None:
        self.waiting, self.at_exchange = np.zeros(self.delay, np.float32), at_exchange

    def exchange(self, samples: np.ndarray) -> np.ndarray:
        self.at_exchange()
        self.waiting = np.concatenate([self.waiting, samples])
        given, self.waiting = np.split(self.waiting, [len(samples)])
        return given

    def settle(self) -> None: ...

    def check(self) -> None: ...


class Clock:
    """Time that passes only in sleep and where a test makes it pass."""

    now = 100.0

    def monotonic(self) -> float:
        return self.now

    def sleep(self, seconds: float) -> None:
        self.now += seconds


def played(source: Path, engine: Any = None, clock: Any = "fast", **more: Any) -> np.ndarray:
    """What comes out of a file through an engine."""
    output = source.with_name("out.wav")
    written = play(engine or Passing(), source, output, BLOCK, clock, **more)
    wave, rate = soundfile.read(output, dtype="float32")
    assert (len(wave), rate) == (written, RATE)
    return wave


def write(path: Path, seconds: float, channels: int = 1, subtype: str = "PCM_16") -> Path:
    wave = np.resize(vowels(1.0, rate=RATE), round(seconds * RATE))
    soundfile.write(path, np.stack([wave / (n + 1) for n in range(channels)], 1), RATE, subtype)
    return path


@pytest.fixture
def on_part(monkeypatch: pytest.MonkeyPatch) -> Callable[[Callable[[int, int], None]], None]:
    """Has a function called before each part that is decoded, with the numbers of the pass and of the part."""

    def set_call(call: Callable[[int, int], None]) -> None:
        read, passes = audio.read_blocks, [0]

        def reading(info: audio.AudioInfo, rate: int) -> Iterator[np.ndarray]:
            passes[0] += 1
            run = passes[0]
            for number, part in enumerate(read(info, rate)):
                call(run, number)
                yield part

        monkeypatch.setattr(audio, "read_blocks", reading)

    return set_call


@pytest.mark.parametrize("channels", [1, 2])
@pytest.mark.parametrize("subtype", ["PCM_16", "FLOAT"])
@pytest.mark.parametrize("clock", ["real", "fast"])
def test_a_file_comes_out_whole(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, channels: int, subtype: str, clock: str
) -> None:
    monkeypatch.setattr(files, "time", Clock())
    path = write(tmp_path / "a.wav", 12.345, channels, subtype)
    expected = np.concatenate(list(audio.read_blocks(audio.inspect(path), RATE)))
    np.testing.assert_allclose(played(path, clock=clock), expected, atol=1e-4)


@pytest.mark.parametrize("channels", [1, 2])
@pytest.mark.parametrize("subtype", ["PCM_16", "FLOAT"])
def test_the_pace_is_even_though_decoding_takes_time(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, on_part: Any, channels: int, subtype: str
) -> None:
    """The first part takes two seconds in any thread, the others take time of their own thread."""
    clock, times = Clock(), list[float]()

    def decode(run: int, number: int) -> None:
        if (run, number) == (2, 0):
            clock.now += 2.0
        elif threading.current_thread() is threading.main_thread():
            clock.now += 0.3

    monkeypatch.setattr(files, "time", clock)
    on_part(decode)
    played(write(tmp_path / "a.wav", 12.0, channels, subtype), Passing(lambda: times.append(clock.now)), "real")
    assert len(times) == 12 * RATE // BLOCK + 3
    np.testing.assert_allclose(np.diff(times), BLOCK / RATE)


@pytest.mark.parametrize("subtype", ["PCM_16", "FLOAT"])
@pytest.mark.parametrize("channels", [1, 2])
def test_the_mix_of_a_file_is_found_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, channels: int, subtype: str
) -> None:
    from fastvoicegrad.audio import reading

    find, found = reading._find_mix, list[str]()
    monkeypatch.setattr(reading, "_find_mix", lambda info: (found.append(info.name), find(info))[1])
    played(write(tmp_path / "a.wav", 1.0, channels, subtype))
    assert found == [shown(tmp_path / "a.wav")]


def test_a_part_of_a_long_file_needs_no_more_of_it(tmp_path: Path, on_part: Any) -> None:
    decoded = list[int]()
    on_part(lambda run, number: decoded.append(run))
    path = write(tmp_path / "a.wav", 90.0)
    whole = np.concatenate(list(audio.read_blocks(audio.inspect(path), RATE)))
    decoded.clear()
    np.testing.assert_allclose(played(path, seconds=3.0), whole[: 3 * RATE], atol=1e-4)
    assert len(decoded) < 20  # parts of a second


@pytest.mark.parametrize("seconds", [0.5, 1.0, 7.0, 1e9])
def test_seconds_are_those_of_the_source(tmp_path: Path, seconds: float) -> None:
    assert len(played(write(tmp_path / "a.wav", 1.0), seconds=seconds)) == RATE * min(seconds, 1.0)


def test_an_error_of_the_decoding_thread_ends_it(tmp_path: Path, on_part: Any) -> None:
    def broken(run: int, number: int) -> None:
        if (run, number) == (2, 6):
            raise InputError("the disk is gone")

    on_part(broken)
    path = write(tmp_path / "a.wav", 9.0)
    (tmp_path / "out.wav").write_bytes(b"older")
    with pytest.raises(InputError, match="the disk is gone"):
        played(path)
    assert (tmp_path / "out.wav").read_bytes() == b"older"


@pytest.mark.parametrize("wrong", [0, 50, 400])
def test_what_ends_the_engine_ends_the_decoding(tmp_path: Path, wrong: int) -> None:
    blocks = list[int]()

    def fail() -> None:
        blocks.append(len(blocks))
        if blocks[-1] == wrong:
            raise InputError("no memory is left")

    with pytest.raises(InputError, match="no memory"):
        played(write(tmp_path / "a.wav", 9.0), Passing(fail))
    assert not [thread for thread in threading.enumerate() if thread.name.startswith("decoding")]

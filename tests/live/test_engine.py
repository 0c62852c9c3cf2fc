"""The engine between device and networks: constant delay, overloads, pass-through, gate, recording."""

from __future__ import annotations

import gc
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile

pytest.importorskip("torch")

from fastvoicegrad import InputError, audio
from fastvoicegrad.live.engine import Engine
from fastvoicegrad.live.files import play
from fastvoicegrad.live.recorder import Recorder
from fastvoicegrad.stream.bundle import StreamBundle
from fastvoicegrad.stream.converter import StreamingConverter
from tests.conftest import vowels

RATE, BLOCK = 16000, 160


@pytest.fixture(scope="module")
def bundle(stream_folder: Path) -> StreamBundle:
    return StreamBundle.open(stream_folder)


@pytest.fixture
def start(bundle: StreamBundle, voices: list[Any]) -> Iterator[Callable[..., Engine]]:
    """Engines that run until the end of the test."""
    running: list[Engine] = []

    def begin(**settings: Any) -> Engine:
        engine = Engine(StreamingConverter(bundle, voices[0], RATE), BLOCK, **settings)
        running.append(engine)
        engine.start()
        return engine

    yield begin
    for engine in running:
        engine.stop()


def passed(engine: Engine, wave: np.ndarray, settle: bool = True) -> np.ndarray:
    """What comes out while a wave goes in, block by block."""
    outputs = []
    for samples in wave[: len(wave) // BLOCK * BLOCK].reshape(-1, BLOCK):
        outputs.append(engine.exchange(samples))
        if settle:
            engine.settle()
    return np.concatenate(outputs)


def test_garbage_collection_skips_what_was_loaded(start: Callable[..., Engine]) -> None:
    gc.unfreeze()
    engine = start()
    assert gc.get_freeze_count() > 10_000
    engine.stop()
    assert gc.get_freeze_count() == 0


def test_the_output_is_the_stream_a_constant_time_later(start: Callable[..., Engine]) -> None:
    engine, wave = start(), vowels(1.0, rate=RATE)
    output = passed(engine, wave)
    expected = StreamingConverter(engine.stream.bundle, engine.stream._target.voice, RATE).push(wave)
    np.testing.assert_allclose(output[engine.queue :], expected[: len(output) - engine.queue].clip(-1, 1), atol=1e-4)
    status = engine.status()
    assert (status.late, status.missing) == (0, 0.0)
    assert status.delay == pytest.approx(engine.delay / RATE)
    assert status.queued == pytest.approx(engine.queue / RATE)
    assert 0 < status.compute[0] <= status.compute[1]


def test_after_a_stall_the_delay_is_what_it_was(start: Callable[..., Engine]) -> None:
    """The worker stops for as long as the callback needs for three seconds of sound. Its end does not click."""
    engine = start()
    engine.controls.passing = True
    wave = (0.4 + 0.1 * np.sin(90 * np.linspace(1, 6, 6 * RATE) ** 2)).astype(np.float32)  # no place like another
    before = passed(engine, wave[: 2 * RATE])
    release = False

    def stall() -> None:
        while not release:
            time.sleep(0.001)

    engine.post(stall)
    during = passed(engine, wave[2 * RATE : 5 * RATE], settle=False)
    release = True
    engine.settle()
    after = passed(engine, wave[5 * RATE :])
    status = engine.status()
    assert status.late == 1
    assert status.missing == pytest.approx(3.0, abs=0.1)
    assert status.queued == pytest.approx(engine.queue / RATE, abs=2 * BLOCK / RATE)
    output = np.concatenate([before, during, after])
    settled = slice(5 * RATE + RATE // 2, 6 * RATE)
    np.testing.assert_allclose(output[settled], wave[settled.start - engine.delay : settled.stop - engine.delay])
    assert np.abs(during[RATE:]).max() < 1e-6
    back = np.concatenate([during[-1:], after[: engine.stream.latency // 2]])
    assert np.abs(np.diff(back)).max() < 0.02  # the wave is never below 0.3
    fall = 0.5 * (1 - np.exp(-3 / (0.002 * RATE)))  # the first step of a fade, which is the largest
    assert np.abs(np.diff(output[RATE:])).max() < fall + 0.02  # also where the skipped input was


def test_the_callback_never_waits(start: Callable[..., Engine]) -> None:
    engine, times = start(), list[float]()
    engine.post(lambda: time.sleep(1.0))
    for _ in range(20):
        started = time.perf_counter()
        engine.exchange(np.zeros(BLOCK, np.float32))
        times.append(time.perf_counter() - started)
    assert max(times) < 0.5  # of the second that a wait would take; a busy machine may stop any call for a while


def test_settling_waits_for_the_block_that_is_being_converted(
    start: Callable[..., Engine], monkeypatch: pytest.MonkeyPatch
) -> None:
    engine = start(cushion=0.0)
    converting, go_on, push = threading.Event(), threading.Event(), engine.stream.push

    def slow(samples: np.ndarray) -> np.ndarray:
        converting.set()
        assert go_on.wait(10)
        return push(samples)

    monkeypatch.setattr(engine.stream, "push", slow)
    engine.exchange(np.zeros(BLOCK, np.float32))
    assert converting.wait(10)
    with pytest.raises(TimeoutError):
        engine.settle(0.2)
    go_on.set()
    engine.settle()
    assert engine._output.available == engine.queue


def test_more_than_a_ring_holds_is_lost_and_forgotten(start: Callable[..., Engine]) -> None:
    engine, release = start(), []
    engine.post(lambda: [time.sleep(0.001) for _ in iter(lambda: bool(release), True)])
    for _ in range(12 * RATE // BLOCK):
        engine.exchange(np.zeros(BLOCK, np.float32))
    release.append(True)
    engine.settle()
    passed(engine, np.zeros(RATE, np.float32))
    assert engine.status().queued == pytest.approx(engine.queue / RATE, abs=2 * BLOCK / RATE)


def test_pass_through_is_as_late_as_the_conversion(start: Callable[..., Engine]) -> None:
    engine, wave = start(), 0.5 * vowels(1.0, rate=RATE)
    engine.controls.passing = True
    output = passed(engine, wave)
    late = engine.delay + RATE // 50  # it fades in
    np.testing.assert_allclose(output[late:], wave[late - engine.delay : len(output) - engine.delay], atol=1e-6)


def test_what_is_no_number_is_silence(start: Callable[..., Engine], tmp_path: Path) -> None:
    engine, wave = start(), 0.5 * vowels(0.5, rate=RATE)
    wave[[1000, 3000]] = np.nan, np.inf
    with Recorder(tmp_path / "x.wav", RATE) as recorder:
        engine.sinks.append(recorder)
        engine.controls.passing = True
        assert np.isfinite(passed(engine, wave)).all()
    assert recorder.failure is None


def test_the_gain_changes_without_a_click(start: Callable[..., Engine]) -> None:
    engine, constant = start(), np.full(RATE // 2, 0.3, np.float32)
    engine.controls.passing = True
    passed(engine, constant)
    engine.controls.gain = 10 ** (2 / 20)
    output = passed(engine, constant)
    assert output[-1] == pytest.approx(0.3 * engine.controls.gain, abs=1e-4)
    assert np.abs(np.diff(output)).max() < 2 * 0.3 * (engine.controls.gain - 1) / BLOCK


def test_the_gate_silences_your_own_voice_too(start: Callable[..., Engine]) -> None:
    engine = start(gate=-20.0)
    engine.controls.passing = True
    quiet = np.full(RATE, 0.01, np.float32)
    assert np.abs(passed(engine, quiet)).max() == 0.0


def test_a_voice_changes_between_blocks(start: Callable[..., Engine], voices: list[Any]) -> None:
    engine, wave = start(), vowels(1.0, rate=RATE)
    passed(engine, wave)
    other = engine.stream.bundle.voice(voices[1])
    engine.set_voice(other)
    engine.set_pitch(2.0)
    passed(engine, wave)
    target = engine.stream._target
    assert (target.voice, target.semitones) == (other, 2.0)


@pytest.mark.parametrize("realtime", [True, False])
def test_the_worker_alone_asks_for_real_time_priority(
    start: Callable[..., Engine], monkeypatch: pytest.MonkeyPatch, realtime: bool
) -> None:
    asked = list[str]()
    monkeypatch.setattr(
        "fastvoicegrad.live.engine.prefer_thread", lambda: asked.append(threading.current_thread().name)
    )
    passed(start(realtime=realtime), np.zeros(3 * BLOCK, np.float32))
    assert asked == ["conversion"] * realtime


def test_a_failure_of_the_networks_is_raised_at_the_end(bundle: StreamBundle, voices: list[Any]) -> None:
    engine = Engine(StreamingConverter(bundle, voices[0], RATE), BLOCK)
    engine.start()
    engine.post(lambda: 1 / 0)
    time.sleep(0.1)
    assert len(engine.exchange(np.zeros(BLOCK, np.float32))) == BLOCK
    with pytest.raises(ZeroDivisionError):
        engine.stop()


@pytest.mark.parametrize("clock", ["real", "fast"])
def test_a_failure_leaves_the_older_result(bundle: StreamBundle, voices: list[Any], tmp_path: Path, clock: Any) -> None:
    stream = StreamingConverter(bundle, voices[0], RATE)
    engine, pushed = Engine(stream, BLOCK), list[int]()

    def broken(samples: np.ndarray) -> np.ndarray:
        pushed.append(len(samples))
        if len(pushed) > 5:
            raise InputError("no memory is left")
        return np.zeros_like(samples)

    stream.push = broken  # type: ignore[method-assign]
    soundfile.write(tmp_path / "in.wav", vowels(0.5, rate=RATE), RATE)
    (tmp_path / "out.wav").write_bytes(b"older")
    engine.start()
    with pytest.raises(InputError, match="no memory"):
        play(engine, tmp_path / "in.wav", tmp_path / "out.wav", BLOCK, clock)
    with pytest.raises(InputError, match="no memory"):
        engine.stop()
    assert (tmp_path / "out.wav").read_bytes() == b"older"


@pytest.mark.parametrize("clock", ["real", "fast"])
def test_a_file_passes_the_same_way(start: Callable[..., Engine], tmp_path: Path, clock: Any) -> None:
    wave = vowels(0.7, rate=RATE)
    soundfile.write(tmp_path / "source.wav", wave, RATE)
    engine, seconds = start(cushion=0.5 if clock == "real" else 0.015), list[float]()
    written = play(engine, tmp_path / "source.wav", tmp_path / "out.wav", BLOCK, clock, seconds.append)
    output, rate = soundfile.read(tmp_path / "out.wav", dtype="float32")
    assert (written, len(output), rate) == (len(wave), len(wave), RATE)
    assert seconds[-1] == pytest.approx(0.7)
    if clock == "fast":
        read = np.concatenate(list(audio.read_blocks(audio.inspect(tmp_path / "source.wav"), RATE)))
        expected = StreamingConverter(engine.stream.bundle, engine.stream._target.voice, RATE).convert(read)
        np.testing.assert_allclose(output, expected.clip(-1, 1), atol=2e-3)


def test_a_file_at_wall_clock_pace_survives_a_stall(start: Callable[..., Engine], tmp_path: Path) -> None:
    """The networks stand still for three seconds; the rest of the file comes out with the old delay."""
    engine = start(cushion=0.2)
    engine.controls.passing = True
    wave = np.random.default_rng(0).uniform(-0.5, 0.5, round(4.5 * RATE)).astype(np.float32)
    soundfile.write(tmp_path / "source.wav", wave, RATE, subtype="FLOAT")
    stalled = []

    def stall(seconds: float) -> None:
        if seconds > 0.4 and not stalled:
            stalled.append(seconds)
            engine.post(lambda: time.sleep(3.0))

    play(engine, tmp_path / "source.wav", tmp_path / "out.wav", BLOCK, "real", stall)
    output, _ = soundfile.read(tmp_path / "out.wav", dtype="float32")
    read = np.concatenate(list(audio.read_blocks(audio.inspect(tmp_path / "source.wav"), RATE)))
    status = engine.status()
    assert 2.5 < status.missing < 3.5
    assert len(output) == len(wave)
    last = slice(round(4.1 * RATE), None)
    assert np.mean(np.abs(output[last] - read[last]) < 1e-3) > 0.9
    assert status.queued == pytest.approx(engine.queue / RATE, abs=0.05)


def test_a_recording_has_what_came_out(start: Callable[..., Engine], tmp_path: Path) -> None:
    engine, wave = start(), vowels(0.5, rate=RATE)
    with Recorder(tmp_path / "out.flac", RATE) as recorder:
        engine.sinks.append(recorder)
        output = passed(engine, wave)
        engine.sinks.remove(recorder)
    recorded, rate = soundfile.read(tmp_path / "out.flac", dtype="float32")
    assert (rate, recorder.lost) == (RATE, 0)
    np.testing.assert_allclose(recorded[: len(output) - engine.queue], output[engine.queue :], atol=1e-4)


def test_a_recording_keeps_what_the_format_can_hold(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(import_module("fastvoicegrad.audio.writing"), "LARGEST", 2 * RATE)  # a second

    def record() -> None:
        with Recorder(tmp_path / "out.wav", RATE) as recorder:
            for _ in range(30):
                recorder.write(np.full(RATE // 10, 0.5, np.float32))

    with pytest.raises(InputError, match="too long"):
        record()
    assert soundfile.info(tmp_path / "out.wav").frames == RATE


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no such limit")
def test_a_recording_keeps_what_the_disk_can_hold(tmp_path: Path) -> None:
    code = (
        "import resource, sys, numpy as np\n"
        "from pathlib import Path\n"
        "from fastvoicegrad.live.recorder import Recorder\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, 20_000))\n"
        "with Recorder(Path(sys.argv[1]), 16000) as recorder:\n"
        "    for _ in range(100):\n"
        "        recorder.write(np.full(1600, 0.5, np.float32))\n"
    )
    path = tmp_path / "out.wav"
    done = subprocess.run([sys.executable, "-c", code, str(path)], capture_output=True, text=True, check=False)
    assert "no room left on the disk" in done.stderr
    recorded, _ = soundfile.read(path)
    assert 8000 < len(recorded) < 10_000
    np.testing.assert_allclose(recorded, 0.5, atol=1e-4)

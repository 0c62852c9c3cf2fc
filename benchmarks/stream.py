"""Measure streams: the budget of the delay, a long paced run, and many clients of a server.

    python benchmarks/stream.py budget  [--bundle PATH] [--core 0]
    python benchmarks/stream.py paced   [--bundle PATH] [--seconds 1800] [--busy] [--cushion 15]
    python benchmarks/stream.py clients [--bundle PATH] [--seconds 60] [--clients 8] [--cushion 60]

Without --bundle the stream bundle of the package is measured; `--untrained` makes one of the release's sizes (needs the
extra `train`): speed does not depend on the weights. The sound is synthetic. The exit code of `paced` and `clients` is
1 where a block was late.

- budget: one core. Where the delay comes from, and the networks' time for a block of 20 ms.
- paced: a file through `fastvoicegrad live`'s engine at wall-clock pace. `--busy` keeps another core at work.
  `--cushion` is that of `fastvoicegrad live`, in milliseconds. A process on each core measures how long the core ran
  nothing: on a virtual machine others may take it.
- clients: `fastvoicegrad serve` on loopback. Each client sends 20 ms every 20 ms. `--cushion` is that of a client's
  player, in milliseconds. An answer is late where it comes after the time at which that player needs it.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import os
import platform
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from multiprocessing.connection import Connection
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).parents[1]))
from benchmarks.resident import needs_linux, resident_mb
from tests.conftest import vowels

from fastvoicegrad import VoiceConverter
from fastvoicegrad.live.engine import CUSHION as LIVE_CUSHION
from fastvoicegrad.live.engine import Engine
from fastvoicegrad.mel import MEL
from fastvoicegrad.realtime import PRIORITY, prefer_thread
from fastvoicegrad.stream.bundle import StreamBundle
from fastvoicegrad.stream.converter import StreamingConverter
from fastvoicegrad.stream.frontend import beyond
from fastvoicegrad.stream.resampling import reach_of

RATE, BLOCK = 48000, 0.02  # Hz, seconds
CUSHION = 0.06  # seconds that a client's player waits, unless an option names others
TICK, SHORTEST_STOP = 0.002, 0.02  # seconds between looks at a core, and for which it has to run nothing
WATCHING = PRIORITY + 5  # real-time priority of what looks
RECIPE = Path(__file__).parents[1] / "recipes" / "release" / "streaming.yaml"


def untrained(folder: Path) -> Path:
    """A bundle of the release's sizes with random weights."""
    from fastvoicegrad.bundle import Bundle
    from fastvoicegrad.training.models import stream as models
    from fastvoicegrad.training.models import stream_renderer as renderers
    from fastvoicegrad.training.recipe import build, read_yaml
    from fastvoicegrad.training.stream_export import StreamExportSettings, write_stream_bundle

    recipe = read_yaml(RECIPE)
    write_stream_bundle(
        folder,
        StreamExportSettings("untrained", storage="byte"),
        Bundle.open().fingerprint,
        models.StreamContent(build(models.StreamContentConfig, recipe["stream-content"]["model"])).eval(),
        models.StreamPitch(build(models.StreamPitchConfig, recipe["stream-pitch"]["model"])).eval(),
        models.StreamConverter(build(models.StreamConverterConfig, recipe["stream-converter"]["model"])).eval(),
        renderers.StreamRenderer(build(renderers.StreamRendererConfig, recipe["stream-renderer"]["model"])).eval(),
    )
    return folder


@contextmanager
def chosen(arguments: argparse.Namespace) -> Iterator[Path | None]:
    """The bundle that the options name."""
    if not arguments.untrained:
        yield arguments.bundle
        return
    with tempfile.TemporaryDirectory() as folder:
        yield untrained(Path(folder) / "bundle")


def make(path: Path | None) -> StreamingConverter:
    """A stream at 48 kHz to a preset voice."""
    bundle = StreamBundle.open(path)
    return StreamingConverter(bundle, VoiceConverter.load().voice("nora"), RATE)


# -- budget -----------------------------------------------------------------------------------------------------


def budget(path: Path | None, core: int, seconds: float) -> None:
    """Prints the table."""
    stream = make(path)
    if hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, {core})
    config, wave = stream.bundle.config, vowels(10.0, rate=RATE)
    size, times, used = round(BLOCK * RATE), list[float](), time.process_time()
    for number in range(round(seconds / BLOCK)):
        start = number * size % (len(wave) - size)
        began = time.perf_counter()
        stream.push(wave[start : start + size])
        times.append(time.perf_counter() - began)
    used = time.process_time() - used
    p50, p99 = (1000 * float(np.percentile(times[20:], p)) for p in (50, 99))
    resampling = (reach_of(RATE, MEL.sample_rate) / RATE + reach_of(MEL.sample_rate, RATE) / MEL.sample_rate) * 1000
    algorithmic = 1000 * stream.latency / RATE
    rows = [
        ("hop", 1000 * MEL.hop_length / MEL.sample_rate, f"{MEL.hop_length} samples at {MEL.sample_rate} Hz"),
        ("window", 1000 * beyond(config.window) / MEL.sample_rate, f"{config.window} samples, half beyond the hop"),
        ("look-ahead", 1000 * config.lookahead * MEL.hop_length / MEL.sample_rate, f"{config.lookahead} frames"),
        ("resampling", resampling, f"{RATE} Hz to {MEL.sample_rate} and back"),
        ("algorithmic delay", algorithmic, f"{stream.latency} samples at {RATE} Hz"),
        ("compute, p50", p50, f"blocks of {1000 * BLOCK:.0f} ms"),
        ("compute, p99", p99, ""),
        ("delay and p99", algorithmic + p99, ""),
    ]
    print(f"{config.name}, {platform.processor() or platform.machine()}, core {core} alone, {seconds:.0f} s of sound")
    for name, value, note in rows:
        print(f"{name:18} {value:6.1f} ms  {note}")
    print(f"real-time factor   {sum(times) / (len(times) * BLOCK):6.3f}     by the clock")
    print(f"real-time factor   {used / (len(times) * BLOCK):6.3f}     by the processor's time")


# -- paced ------------------------------------------------------------------------------------------------------


def spin() -> None:
    """Keeps a core busy."""
    while True:
        np.linalg.svd(np.ones((64, 64)))


def watch(core: int, stops: Connection) -> None:
    """Sends how long a core ran nothing at all, in seconds, where that was long. No thread of ours can keep it off.

    Without the right to such a priority a busy core would look stopped, so nothing is sent.
    """
    os.sched_setaffinity(0, {core})
    try:
        os.sched_setscheduler(0, os.SCHED_FIFO, os.sched_param(WATCHING))
    except OSError:
        return
    while True:
        before = time.monotonic()
        time.sleep(TICK)
        if (stopped := time.monotonic() - before - TICK) > SHORTEST_STOP:
            stops.send(stopped)


@contextmanager
def watched_cores() -> Iterator[Callable[[], list[float]]]:
    """Returns the stops since the last call of what it gives, in seconds, on any core."""
    ours, theirs = multiprocessing.Pipe(duplex=False)
    cores = sorted(os.sched_getaffinity(0))
    watchers = [multiprocessing.Process(target=watch, args=(core, theirs), daemon=True) for core in cores]
    for watcher in watchers:
        watcher.start()

    def stops() -> list[float]:
        found = list[float]()
        while ours.poll():
            found.append(ours.recv())
        return found

    try:
        yield stops
    finally:
        for watcher in watchers:
            watcher.kill()


def paced(path: Path | None, seconds: float, busy: bool, cushion: float) -> int:
    """Prints a line every 10 s; 1 where a block was late or memory grew by more than 2 %."""
    with watched_cores() as stops:
        return _paced(path, seconds, busy, cushion, stops)


def _paced(path: Path | None, seconds: float, busy: bool, cushion: float, stops: Callable[[], list[float]]) -> int:
    worker = multiprocessing.Process(target=spin, daemon=True)
    if busy:
        worker.start()
    block, wave = round(0.005 * RATE), vowels(10.0, rate=RATE)
    engine = Engine(make(path), block, cushion=cushion, realtime=True)
    engine.start()
    granted = prefer_thread()  # this thread stands for a sound device's, which has such a priority
    print(f"real-time priority: {'yes' if granted else 'no'}")
    memory, stopped, began = list[float](), list[float](), time.monotonic()
    for number in range(round(seconds * RATE / block)):
        due = began + number * block / RATE
        time.sleep(max(0.0, due - time.monotonic()))
        start = number * block % (len(wave) - block)
        engine.exchange(wave[start : start + block])
        if number % (10 * RATE // block) == 0:
            memory.append(resident_mb())
            status, found = engine.status(), stops()
            stopped += found
            print(
                f"{number * block / RATE:6.0f} s, {memory[-1]:.1f} MB, late {status.late}, "
                f"queued {1000 * status.queued:.1f} ms, p99 {1000 * status.compute[1]:.1f} ms"
                + "".join(f", a core stopped for {1000 * stop:.0f} ms" for stop in found),
                flush=True,
            )
    status, stopped = engine.status(), stopped + stops()
    engine.stop()
    if busy:
        worker.kill()
    grown = memory[-1] / memory[len(memory) // 4] - 1
    print(
        f"delay {1000 * status.delay:.1f} ms, late {status.late}, left out {1000 * status.missing:.0f} ms, "
        f"load {100 * status.load:.0f} %, memory {100 * grown:+.1f} % since the first quarter\n"
        f"cores ran nothing for more than {1000 * SHORTEST_STOP:.0f} ms: "
        + (f"{len(stopped)} times, {1000 * max(stopped, default=0.0):.0f} ms at most" if granted else "not measured")
    )
    return int(status.late > 0 or grown > 0.02)


# -- clients ----------------------------------------------------------------------------------------------------


def client(url: str, seconds: float, data: bytes, delays: list[float]) -> None:
    """Sends samples at wall-clock pace. Adds the seconds after which each answer came."""
    from websockets.sync.client import connect

    size = round(BLOCK * RATE)
    due, received = list[float](), 0
    with connect(f"{url}/v1/speech-to-speech/nora/stream?rate={RATE}&live=true") as socket:
        assert json.loads(socket.recv())["type"] == "ready"

        def listen() -> None:
            nonlocal received
            while received < round(seconds / BLOCK):
                socket.recv()
                delays.append(time.monotonic() - due[received])
                received += 1

        thread = threading.Thread(target=listen)
        thread.start()
        began = time.monotonic()
        for number in range(round(seconds / BLOCK)):
            due.append(began + number * BLOCK)
            time.sleep(max(0.0, due[-1] - time.monotonic()))
            start = 2 * size * number % (len(data) - 2 * size)
            socket.send(data[start : start + 2 * size])
        thread.join(60)


def clients(path: Path | None, seconds: float, count: int, cushion: float) -> int:
    """Prints the answers' delays; 1 where one was late."""
    from benchmarks.server import serving

    data = (vowels(10.0, rate=RATE) * 32767).astype("<i2").tobytes()
    options = ["--streams", str(count), *(["--stream-bundle", str(path)] if path else [])]
    with serving(*options) as (url, _):
        delays = [list[float]() for _ in range(count)]
        address = url.replace("http", "ws")
        threads = [threading.Thread(target=client, args=(address, seconds, data, one)) for one in delays]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    every = 1000 * np.array([delay for one in delays for delay in one])
    expected = count * round(seconds / BLOCK)
    late = int((every > 1000 * cushion).sum()) + expected - len(every)
    p50, p99 = np.percentile(every, [50, 99])
    print(
        f"{count} clients, {seconds:.0f} s, {len(every)} of {expected} answers: p50 {p50:.1f} ms, p99 {p99:.1f} ms, "
        f"longest {every.max():.1f} ms, later than {1000 * cushion:.0f} ms: {late}"
    )
    return int(late > 0)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=["budget", "paced", "clients"])
    parser.add_argument("--bundle", type=Path)
    parser.add_argument("--untrained", action="store_true")
    parser.add_argument("--seconds", type=float)
    parser.add_argument("--core", type=int, default=0)
    parser.add_argument("--busy", action="store_true")
    parser.add_argument("--cushion", type=float)
    parser.add_argument("--clients", type=int, default=8)
    arguments = parser.parse_args()
    if arguments.what == "paced":
        needs_linux()
    default = CUSHION if arguments.what == "clients" else LIVE_CUSHION
    cushion = default if arguments.cushion is None else arguments.cushion / 1000
    with chosen(arguments) as path:
        match arguments.what:
            case "budget":
                budget(path, arguments.core, arguments.seconds or 30)
            case "paced":
                return paced(path, arguments.seconds or 1800, arguments.busy, cushion)
            case _:
                return clients(path, arguments.seconds or 60, arguments.clients, cushion)
    return 0


if __name__ == "__main__":
    sys.exit(main())

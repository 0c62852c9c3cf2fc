"""Between the audio device and the networks: two rings, a worker thread, and a delay that stays what it is.

The device's callback calls `exchange`: it leaves its input and takes as much output, at once. A worker converts what is
there. Where output is missing the callback plays silence, and the worker leaves out as much input. So the delay after
an overload is the delay before it.
"""

from __future__ import annotations

import gc
import threading
import time
from collections import deque
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from queue import Empty, SimpleQueue
from typing import Protocol

import numpy as np

from ..mel import Array
from ..realtime import prefer_thread
from ..stream.bundle import StreamVoice
from ..stream.converter import StreamingConverter
from .effects import SWITCH, DelayLine, Gaps, Gate, Meter, Slope
from .ring import Ring

LONGEST = 10.0  # seconds that a ring holds
CUSHION = 0.015  # seconds of output that wait: what the networks' time varies by
MOST_AT_ONCE = 0.1  # seconds that the worker converts at once
MEASURED = 2000  # blocks whose times are kept


class Sink(Protocol):
    """Takes the converted samples, for instance a recording. It must not wait."""

    def write(self, samples: Array) -> None: ...


@dataclass
class Controls:
    """What can be changed while it runs.

    Attributes:
        gain: factor on the input.
        passing: the input comes out as it is, as late as the converted one.
    """

    gain: float = 1.0
    passing: bool = False


@dataclass
class Status:
    """What the screen shows.

    Attributes:
        delay: seconds from input to output, without the device's own.
        queued: seconds of input and output in the rings.
        late: callbacks that lacked output, in a row counted once.
        missing: seconds of output that were missing.
        compute: p50 and p99 of the networks' time for a block, in seconds.
        load: share of the time that the worker works.
    """

    delay: float
    queued: float
    late: int
    missing: float
    compute: tuple[float, float]
    load: float
    gate_open: bool
    input: Meter
    output: Meter


@dataclass
class _Times:
    """Times of the worker's blocks."""

    worked: deque[float] = field(default_factory=lambda: deque(maxlen=MEASURED))
    sounded: deque[float] = field(default_factory=lambda: deque(maxlen=MEASURED))

    def add(self, worked: float, sounded: float) -> None:
        self.worked.append(worked)
        self.sounded.append(sounded)

    def percentiles(self) -> tuple[float, float]:
        times = list(self.worked)
        return (float(np.percentile(times, 50)), float(np.percentile(times, 99))) if times else (0.0, 0.0)

    @property
    def load(self) -> float:
        return sum(self.worked) / max(1e-9, sum(self.sounded))


class Engine:
    """Converts what a device's callback brings.

    Args:
        stream: at the device's rate.
        block: samples of the callback's blocks, at most.
        gate: dB of full scale below which the output is silent; None: never.
        cushion: seconds of output that wait.
        realtime: the worker asks for real-time priority; not for sound that comes faster than it plays.
    """

    def __init__(
        self,
        stream: StreamingConverter,
        block: int,
        *,
        gate: float | None = None,
        cushion: float = CUSHION,
        realtime: bool = False,
    ) -> None:
        self.stream, self.rate, self.realtime = stream, stream.rate, realtime
        self.controls = Controls()
        self.sinks: list[Sink] = []
        self.queue = block + round(cushion * self.rate)  # samples between input and output, always
        self._input, self._output = (Ring(round(LONGEST * self.rate)) for _ in range(2))
        self._output.write(np.zeros(self.queue, np.float32))
        self._dry, self._mix = DelayLine(stream.latency), Slope(self.rate, SWITCH, SWITCH)
        self.gate = Gate(self.rate, gate)
        self._commands: SimpleQueue[Callable[[], object]] = SimpleQueue()
        self._wake, self._stop = threading.Event(), threading.Event()
        self._working = False
        self._idle = threading.Condition()
        self._times, self._meters = _Times(), (Meter(), Meter())
        self._missing = self._lost = self._skipped = self._late = 0
        self._lacking, self._gain = False, self.controls.gain
        self._gaps, self._joins = Gaps(self.rate), Gaps(self.rate)  # of the output; of the input, where some is skipped
        self.failure: BaseException | None = None
        self._worker = threading.Thread(target=self._run, name="conversion", daemon=True)

    @property
    def delay(self) -> int:
        """Samples from input to output."""
        return self.queue + self.stream.latency

    # -- the device's thread: nothing here waits ----------------------------------------------------------------

    def exchange(self, samples: Array) -> Array:
        """Leaves a block of input, ``(N,)``, and takes as much output."""
        self._lost += self._input.write(samples)
        self._wake.set()
        output = self._output.read(len(samples))
        missing = len(samples) - len(output)
        self._late += missing > 0 and not self._lacking
        self._missing += missing
        self._lacking = missing > 0
        return self._gaps.filled(output, len(samples))

    # -- anybody's thread ---------------------------------------------------------------------------------------

    def post(self, command: Callable[[], object]) -> None:
        """Has the worker do something between two blocks."""
        self._commands.put(command)
        self._wake.set()

    def set_voice(self, voice: StreamVoice) -> None:
        """Another target; it fades in."""
        self.post(lambda: self.stream.set_voice(voice))

    def set_pitch(self, semitones: float, keep_pitch: bool = False) -> None:
        """Another height of the melody."""
        self.post(lambda: self.stream.set_pitch(semitones, keep_pitch))

    def status(self) -> Status:
        return Status(
            delay=self.delay / self.rate,
            queued=(self._input.available + self._output.available) / self.rate,
            late=self._late,
            missing=self._missing / self.rate,
            compute=self._times.percentiles(),
            load=self._times.load,
            gate_open=self.gate.open,
            input=self._meters[0],
            output=self._meters[1],
        )

    def start(self) -> None:
        """Starts the worker. Garbage collection skips what was made before: a look at all of it takes 20 ms."""
        gc.collect()
        gc.freeze()
        self._worker.start()

    def stop(self) -> None:
        """Ends the worker. Raises what ended it before, if anything did."""
        self._stop.set()
        self._wake.set()
        if self._worker.is_alive():
            self._worker.join()
        gc.unfreeze()
        self.check()

    def check(self) -> None:
        """Raises what ended the worker, if anything did."""
        if self.failure is not None:
            raise self.failure

    def settle(self, seconds: float | None = None) -> None:
        """Waits until the worker has nothing to do; None: as long as it takes. For tests and files without a clock."""
        with self._idle:
            done = self._idle.wait_for(lambda: self.failure is not None or not self._busy(), seconds)
        if not done or self.failure is not None:
            raise self.failure or TimeoutError("the networks take too long")

    def _busy(self) -> bool:
        return self._working or self._wake.is_set() or self._input.available > 0 or not self._commands.empty()

    # -- the worker ---------------------------------------------------------------------------------------------

    def _run(self) -> None:
        if self.realtime:
            prefer_thread()
        try:
            while not self._stop.is_set():
                self._wake.wait()
                self._working = True  # before the signal is cleared, so that `settle` sees one of the two
                self._wake.clear()
                self._work()
                with self._idle:
                    self._working = False
                    self._idle.notify_all()
        except BaseException as error:
            self.failure = error
            with self._idle:
                self._idle.notify_all()

    def _work(self) -> None:
        """Converts everything that has come."""
        while not self._stop.is_set():
            with suppress(Empty):
                while True:
                    self._commands.get_nowait()()
            owed = self._missing - self._lost - self._skipped
            if owed > 0 and (skipped := self._input.skip(owed)):
                self._skipped += skipped
                self._joins.cut()
            samples = self._input.read(round(MOST_AT_ONCE * self.rate))
            if not len(samples):
                return
            started = time.perf_counter()
            output = self._converted(samples)
            self._times.add(time.perf_counter() - started, len(samples) / self.rate)
            self._output.write(output)
            for sink in self.sinks:
                sink.write(output)

    def _gains(self, count: int) -> Array:
        """Factors of the next samples, in a straight line to the gain that is wanted: a step would click."""
        before, self._gain = self._gain, self.controls.gain
        return np.linspace(before, self._gain, count, dtype=np.float32)

    def _converted(self, samples: Array) -> Array:
        """Gain, conversion or pass-through, gate and meters."""
        samples = np.where(np.isfinite(samples), samples, np.float32(0)) * self._gains(len(samples))
        samples = self._joins.filled(samples, len(samples))
        self._meters[0].add(samples, self.rate)
        converted, dry = self.stream.push(samples), self._dry.push(samples)
        share = self._mix.run(1.0 if self.controls.passing else 0.0, len(samples))
        output = ((1 - share) * converted + share * dry) * self.gate.factors(samples, self.stream.latency)
        output = np.clip(output, -1.0, 1.0)
        self._meters[1].add(output, self.rate)
        return output

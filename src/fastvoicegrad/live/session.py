"""A live session: voices on keys, and what the screen shows."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from ..settings import MOST_SEMITONES
from ..stream.bundle import StreamVoice
from .devices import Open
from .effects import SILENCE, Meter
from .engine import Engine
from .recorder import Recorder

PITCH_STEP = 1.0  # semitones
GAIN_STEP, MOST_GAIN = 10 ** (2 / 20), 10.0  # 2 dB; to each side
BAR = 30  # characters of a level meter
HELP = "1-9 voice · space original · + - pitch · [ ] gain · q end"


@dataclass
class Session:
    """What the keys change.

    Args:
        voices: names and voices, in the order of the keys 1 to 9; the first one is the stream's.
        devices: what is open; None: files in their place.
    """

    engine: Engine
    voices: Sequence[tuple[str, StreamVoice]]
    semitones: float = 0.0
    keep_pitch: bool = False
    devices: Open | None = None
    voice: int = 0
    ended: bool = False
    recorder: Recorder | None = None
    messages: list[str] = field(default_factory=list)
    _missing: float = 0.0  # seconds up to the last refresh
    _overload: float = 0.0  # seconds of the overload that goes on: missing since a refresh without growth

    @property
    def beside(self) -> float:
        """Seconds of the devices' own delay."""
        return self.devices.latency if self.devices else 0.0

    @property
    def faults(self) -> int:
        """Times that the system reported lost or missing sound."""
        return self.devices.faults if self.devices else 0

    def press(self, key: str) -> None:
        """What a key does; others do nothing."""
        controls = self.engine.controls
        match key:
            case "q" | "\x03" | "\x04":
                self.ended = True
            case " ":
                controls.passing = not controls.passing
            case "+" | "=" | "-":
                step = -PITCH_STEP if key == "-" else PITCH_STEP
                self.semitones = min(max(self.semitones + step, -MOST_SEMITONES), MOST_SEMITONES)
                self.engine.set_pitch(self.semitones, self.keep_pitch)
            case "[" | "]":
                factor = GAIN_STEP if key == "]" else 1 / GAIN_STEP
                controls.gain = min(max(controls.gain * factor, 1 / MOST_GAIN), MOST_GAIN)
            case _ if key.isdecimal() and 1 <= int(key) <= len(self.voices):
                self.voice = int(key) - 1
                self.engine.set_voice(self.voices[self.voice][1])

    def lines(self) -> list[str]:
        """The screen, line by line."""
        status, engine = self.engine.status(), self.engine
        p50, p99 = (1000 * seconds for seconds in status.compute)
        sound = "original" if engine.controls.passing else self.voices[self.voice][0]
        gate = "" if engine.gate.threshold is None else " · gate open" if status.gate_open else " · gate closed"
        recording, problems = "", list[str]()
        if self.recorder is not None and self.recorder.failure is None:
            recording = f" · recording {self.recorder.path.name}"
        elif self.recorder is not None:
            problems = [f"the recording has ended: {self.recorder.failure}"]
        self._count(status.missing)
        return [
            f"voice   {sound} · pitch {self.semitones:+g} semitones{gate}{recording}",
            f"input   {bar(status.input)}",
            f"output  {bar(status.output)}",
            f"delay   {1000 * (status.delay + self.beside):.0f} ms · queued {1000 * status.queued:.0f} ms"
            f" · late blocks {status.late}{f' · faults of the devices {self.faults}' if self.faults else ''}",
            f"compute {p50:.1f} ms, 99 % below {p99:.1f} ms · load {100 * status.load:.0f} %",
            *problems,
            *self.messages,
            HELP,
        ]

    def _count(self, missing: float) -> None:
        """Takes the seconds that were missing so far; the message names those of one overload together."""
        grown, self._missing = missing - self._missing, missing
        self._overload = self._overload + grown if grown > 0 else 0.0
        if grown > 0:
            self.messages = [f"overload: {1000 * self._overload:.0f} ms were left out; the delay stays what it was"]

    def summary(self) -> str:
        """One line for the end."""
        status = self.engine.status()
        p50, p99 = (1000 * seconds for seconds in status.compute)
        delay = 1000 * (status.delay + self.beside)
        return (
            f"delay {delay:.1f} ms, compute p50 {p50:.1f} ms and p99 {p99:.1f} ms, load {100 * status.load:.0f} %, "
            f"late blocks {status.late}, left out {1000 * status.missing:.0f} ms"
            + (f", faults of the devices {self.faults}" if self.faults else "")
        )


def bar(meter: Meter) -> str:
    """A level meter from -60 dB to 0."""
    filled = round(BAR * min(1.0, max(0.0, 1 + meter.peak / 60)))
    level = "silence" if meter.peak <= SILENCE else f"{meter.peak:.0f} dB"
    return "█" * filled + "░" * (BAR - filled) + f" {level}" + (" CLIPPED" if meter.clipped else "")

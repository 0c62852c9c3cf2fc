"""Sound devices: listed, found by name, and opened with a callback that never waits (sounddevice, PortAudio)."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np

from ..errors import InputError
from ..mel import Array
from .effects import Gaps
from .engine import Engine
from .ring import Ring

CUT = 31  # characters to which MME, Windows' oldest interface, cuts a name
MONITOR_WAITS = 0.05  # seconds that a monitor may be behind before it skips


@dataclass(frozen=True)
class Device:
    """A sound device as PortAudio sees it: one entry for each host, such as ALSA or WASAPI."""

    index: int
    name: str
    host: str
    inputs: int
    outputs: int
    rate: int
    default: str  # "input", "output", "input and output" or ""

    def __str__(self) -> str:
        default = f", default {self.default}" if self.default else ""
        return f"{self.index}: {self.name} ({self.host}), {self.inputs} in, {self.outputs} out, {self.rate} Hz{default}"


def backend() -> Any:
    """The module sounddevice.

    Raises:
        InputError: it or PortAudio is not installed.
    """
    try:
        import sounddevice
    except ModuleNotFoundError as error:
        raise InputError(f"this command needs '{error.name}': run pip install \"fastvoicegrad[live]\"") from error
    except OSError as error:
        raise InputError("this command needs PortAudio; install it, e.g. apt install libportaudio2") from error
    return sounddevice


def listed() -> list[Device]:
    """All devices."""
    sound = backend()
    hosts = [host["name"] for host in sound.query_hostapis()]
    defaults = list(sound.default.device)
    found = []
    for index, raw in enumerate(sound.query_devices()):
        roles = [role for role, number in zip(("input", "output"), defaults, strict=True) if number == index]
        found.append(
            Device(
                index,
                str(raw["name"]),
                hosts[raw["hostapi"]],
                int(raw["max_input_channels"]),
                int(raw["max_output_channels"]),
                round(raw["default_samplerate"]),
                " and ".join(roles),
            )
        )
    return found


def find(wanted: str | None, role: Literal["input", "output"]) -> Device:
    """A device by its number or by a part of its name; None: the default one.

    Raises:
        InputError: there is none, or several.
    """
    usable = [device for device in listed() if (device.inputs if role == "input" else device.outputs)]
    if wanted is None:
        chosen = [device for device in usable if role in device.default] or usable[:1]
    elif wanted.isdecimal():
        chosen = [device for device in usable if device.index == int(wanted)]
    else:
        exact = [device for device in usable if device.name == wanted or _is_cut(device.name, wanted)]
        chosen = exact or [device for device in usable if wanted.casefold() in device.name.casefold()]
        # Windows lists each device once for each of its interfaces, and a stream has devices of one.
        usual = {device.host for device in usable if role in device.default}
        chosen = [device for device in chosen if device.host in usual] or chosen
    if not chosen and wanted is None:
        raise InputError(f"there is no {role} device; connect one, or use --from and --to-file")
    if not chosen:
        raise InputError(f"there is no {role} device '{wanted}'; see 'fastvoicegrad live --devices'")
    if len(chosen) > 1 and len({device.name for device in chosen}) > 1:
        numbers = ", ".join(str(device.index) for device in chosen)
        raise InputError(f"several {role} devices are called '{wanted}'; give one of the numbers {numbers}")
    return chosen[0]


def _is_cut(name: str, wanted: str) -> bool:
    """Whether a name is the wanted one as MME shows it."""
    return len(name) == CUT and wanted.startswith(name)


@dataclass
class Open:
    """Open devices.

    Attributes:
        latency: seconds of the devices' own buffers, together.
        faults: times that the system reported lost or missing sound.
        ended: whether a device stopped by itself, as one does that is unplugged.
    """

    latency: float = 0.0
    faults: int = 0
    ended: bool = False


class Monitor:
    """A second output: it plays what the first one plays. Its clock is its own, so it may skip or repeat a little."""

    def __init__(self, rate: int) -> None:
        self._ring, self._most, self._gaps = Ring(rate), round(MONITOR_WAITS * rate), Gaps(rate)

    def write(self, samples: Array) -> None:
        self._ring.write(samples)

    def read(self, count: int) -> Array:
        """Samples ``(count,)``, silence where they are missing; see `Gaps`."""
        if self._ring.skip(max(0, self._ring.available - count - self._most)):
            self._gaps.cut()
        return self._gaps.filled(self._ring.read(count), count)


@contextmanager
def opened(engine: Engine, block: int, source: Device, output: Device, monitor: Device | None = None) -> Iterator[Open]:
    """The devices, running, at the engine's rate.

    Args:
        block: samples that a device brings at once.
    Raises:
        InputError: a device cannot be opened with this rate.
    """
    sound, state = backend(), Open()

    def exchange(given: Any, taken: Any, frames: int, times: Any, status: Any) -> None:
        state.faults += bool(status)
        taken[:] = engine.exchange(np.asarray(given, np.float32).mean(1))[:, None]

    def finished() -> None:
        state.ended = True

    shared = {"samplerate": engine.rate, "blocksize": block, "dtype": "float32", "latency": "low"}
    shared["finished_callback"] = finished
    with ExitStack() as stack:
        try:
            stream = stack.enter_context(
                sound.Stream(
                    device=(source.index, output.index),
                    channels=(min(source.inputs, 2), min(output.outputs, 2)),
                    callback=exchange,
                    **shared,
                )
            )
            state.latency = float(sum(stream.latency))
            if monitor is not None:
                second = Monitor(engine.rate)
                engine.sinks.append(second)
                stack.callback(engine.sinks.remove, second)

                def listen(taken: Any, frames: int, times: Any, status: Any) -> None:
                    taken[:] = second.read(frames)[:, None]

                channels = min(monitor.outputs, 2)
                stack.enter_context(
                    sound.OutputStream(device=monitor.index, channels=channels, callback=listen, **shared)
                )
        except (sound.PortAudioError, ValueError) as error:
            reason = " ".join(str(error).split())
            raise InputError(f"the sound device cannot be opened ({reason}); try another --rate or device") from error
        yield state

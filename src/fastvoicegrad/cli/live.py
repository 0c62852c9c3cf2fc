"""``fastvoicegrad live``: speak with another voice."""

from __future__ import annotations

import itertools
import time
from contextlib import ExitStack
from enum import Enum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from ..errors import InputError
from .common import BundleOption, StreamBundleOption, console, errors, findings, finite, friendly, known_names, positive

if TYPE_CHECKING:
    from ..live.devices import Open
    from ..live.engine import Engine
    from ..live.session import Session

WORTH_A_WARNING = 0.1  # seconds that were left out
MOST_TARGETS = 9  # one for each key
REFRESHED = 0.1  # seconds between two pictures of the screen


class Clock(str, Enum):
    """Pace of a file."""

    real = "real"
    fast = "fast"


@friendly
def live(
    to: Annotated[
        list[str] | None,
        typer.Option(
            "--to",
            help="Target: a voice's name, a blend, a .voice file, a recording or a folder; repeat for keys 1-9.",
            autocompletion=known_names,
        ),
    ] = None,
    devices: Annotated[bool, typer.Option("--devices", help="List the sound devices and end.")] = False,
    input_device: Annotated[str | None, typer.Option("--input", help="Microphone: number or part of a name.")] = None,
    output_device: Annotated[str | None, typer.Option("--output", help="Output: number or part of a name.")] = None,
    monitor: Annotated[str | None, typer.Option(help="Second output, e.g. headphones beside a virtual cable.")] = None,
    gain: Annotated[float, typer.Option(min=-20, max=20, callback=finite, help="Input gain in dB.")] = 0.0,
    gate: Annotated[
        float | None,
        typer.Option(min=-90, max=0, callback=finite, help="Level in dB below which nothing comes out, e.g. -45."),
    ] = None,
    pitch: Annotated[
        float,
        typer.Option(
            "--pitch", "--semitones", min=-24, max=24, callback=finite, help="Semitones above the target's height."
        ),
    ] = 0.0,
    keep_pitch: Annotated[bool, typer.Option("--keep-pitch", help="Keep your own height of voice.")] = False,
    record: Annotated[Path | None, typer.Option(help="Sound file to record the output to.")] = None,
    rate: Annotated[int | None, typer.Option(min=8000, max=96000, help="Hz; default: the microphone's.")] = None,
    block: Annotated[
        float, typer.Option(min=1, max=100, callback=finite, help="Milliseconds that a device brings at once.")
    ] = 5.0,
    cushion: Annotated[
        float, typer.Option(min=0, max=500, callback=finite, help="Milliseconds that wait against stutter.")
    ] = 15.0,
    seconds: Annotated[
        float | None, typer.Option(callback=positive, help="Ends after this time; default: on q or Ctrl-C.")
    ] = None,
    source: Annotated[Path | None, typer.Option("--from", help="Sound file in place of the microphone.")] = None,
    to_file: Annotated[Path | None, typer.Option(help="Sound file in place of the output; needs --from.")] = None,
    clock: Annotated[
        Clock | None,
        typer.Option(case_sensitive=False, help="Pace of --from: real time (default), or as fast as it goes."),
    ] = None,
    quiet: Annotated[bool, typer.Option("--quiet", help="No screen, only the line at the end.")] = False,
    stream_bundle: StreamBundleOption = None,
    bundle: BundleOption = None,
) -> None:
    """Speak into a microphone and come out of the headphones with another voice."""
    from ..live import devices as sound
    from ..live.engine import Engine
    from ..live.recorder import Recorder
    from ..live.session import Session
    from ..stream.converter import StreamingConverter

    if devices:
        for device in sound.listed():
            console.print(str(device))
        return
    if (source is None) != (to_file is None):
        raise InputError("--from and --to-file belong together")
    if source is not None and (input_device or output_device or monitor):
        raise InputError("--from takes the place of devices; leave --input, --output and --monitor out")
    if clock is not None and source is None:
        raise InputError("--clock is the pace of --from; leave it out")
    clock = clock or Clock.real
    _check_files(source, to_file, record, to or [])
    opened, voices = _voices(to or [], stream_bundle, bundle)
    if source is not None and to_file is not None:
        from .. import audio

        rate = rate or _within_limits(audio.inspect(source).rate)
        audio.check_output(to_file, rate)
        microphone = headphones = second = None
    else:
        microphone, headphones = sound.find(input_device, "input"), sound.find(output_device, "output")
        second = sound.find(monitor, "output") if monitor is not None else None
        rate = rate or _within_limits(microphone.rate)
    stream = StreamingConverter(opened, voices[0][1], rate, semitones=pitch, keep_pitch=keep_pitch)
    count = max(1, round(block / 1000 * rate))
    engine = Engine(stream, count, gate=gate, cushion=cushion / 1000, realtime=source is None or clock is Clock.real)
    engine.controls.gain = 10 ** (gain / 20)
    recorder = Recorder(record, rate) if record is not None else None
    session = Session(engine, voices, pitch, keep_pitch, recorder=recorder)
    engine.start()
    try:
        with ExitStack() as stack:
            if recorder is not None:
                engine.sinks.append(stack.enter_context(recorder))
            show = stack.enter_context(_Screen(session, quiet))
            if source is not None and to_file is not None:
                _play(engine, source, to_file, count, clock, seconds, show)
            else:
                assert microphone is not None
                assert headphones is not None
                state = stack.enter_context(sound.opened(engine, count, microphone, headphones, second))
                session.devices = state
                _wait(session, state, seconds, show)
    finally:
        engine.stop()
    console.print(session.summary())
    if to_file is not None:
        console.print(str(to_file), markup=False, highlight=False)
    if (missing := engine.status().missing) > WORTH_A_WARNING:
        files = ", or use --clock fast" if source is not None else ", or raise --cushion"
        errors.print(
            f"fastvoicegrad: warning: {missing:.1f} s were left out: this computer was too busy; close other "
            f"programs{files}"
        )
    if recorder is not None and recorder.lost:
        errors.print(f"fastvoicegrad: warning: {recorder.lost / rate:.1f} s were not recorded: the disk was too slow")


def _within_limits(rate: int) -> int:
    """The rate of a stream for a file's or a device's own rate, Hz."""
    from .. import audio

    return max(audio.LOWEST_RATE, min(rate, audio.HIGHEST_RATE))


def _check_files(source: Path | None, to_file: Path | None, record: Path | None, targets: list[str]) -> None:
    """Raises InputError where two of the files are one, or one that is written belongs to a target."""
    from ..files import same_file
    from ..library import check_apart

    named = {"--from": source, "--to-file": to_file, "--record": record}
    files = [(option, path) for option, path in named.items() if path is not None]
    for (one, first), (other, second) in itertools.combinations(files, 2):
        if same_file(first, second):
            raise InputError(f"{one} and {other} name one file; choose different ones")
    for written in (to_file, record):
        if written is not None:
            check_apart(written, targets)


def _voices(targets: list[str], stream_bundle: Path | None, bundle: Path | None) -> tuple[Any, list[tuple[str, Any]]]:
    """The stream bundle, and the names and voices of the targets."""
    from ..converter import VoiceConverter
    from ..library import reference_name
    from ..stream.bundle import StreamBundle

    if not targets:
        raise InputError("name a target with --to, e.g. --to nora; 'fastvoicegrad voice list' shows all names")
    if len(targets) > MOST_TARGETS:
        raise InputError(f"{len(targets)} targets were given, and the keys 1-9 choose among nine; leave some out")
    opened = StreamBundle.open(stream_bundle)
    converter = VoiceConverter.load(bundle)
    with findings():
        return opened, [(reference_name(name), opened.voice(converter.voice(name))) for name in targets]


def _play(
    engine: Engine, source: Path, output: Path, count: int, clock: Clock, seconds: float | None, show: _Screen
) -> None:
    from ..live.files import play

    def tick(done: float) -> None:
        show()
        if show.session.ended:
            raise InputError(f"ended before the end of {source.name}; nothing is written")

    with findings():
        play(engine, source, output, count, clock.value, tick, seconds)


def _wait(session: Session, state: Open, seconds: float | None, show: _Screen) -> None:
    """Until the time is over, the user or a signal ends it, or the networks fail.

    Raises:
        InputError: a device is gone.
    """
    from ..stopping import until_stopped

    started = time.monotonic()
    with until_stopped():
        while not session.ended and session.engine.failure is None:
            if seconds is not None and time.monotonic() - started >= seconds:
                return
            if state.ended:
                raise InputError("the sound device is gone; plug it in again, or choose another one")
            show()
            time.sleep(REFRESHED / 4)


class _Screen:
    """Shows a session and passes keys to it, at most every 0.1 s."""

    def __init__(self, session: Session, quiet: bool) -> None:
        self.session, self.quiet = session, quiet
        self._stack, self._shown = ExitStack(), 0.0

    def __enter__(self) -> _Screen:
        from rich.live import Live
        from rich.text import Text

        from ..live.keys import keys

        self._pressed = self._stack.enter_context(keys())
        self._text = Text
        self._live: Live | None = None
        if not self.quiet and console.is_terminal:
            self._live = self._stack.enter_context(Live(console=console, auto_refresh=False, transient=True))
        return self

    def __exit__(self, *error: object) -> None:
        self._stack.close()

    def __call__(self) -> None:
        while key := self._pressed():
            self.session.press(key)
        if self._live is not None and time.monotonic() - self._shown > REFRESHED:
            self._shown = time.monotonic()
            self._live.update(self._text("\n".join(self.session.lines())), refresh=True)

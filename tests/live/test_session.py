"""Keys, screen, devices and the command, without a sound card."""

from __future__ import annotations

import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import soundfile
from typer.testing import CliRunner

pytest.importorskip("torch")

from fastvoicegrad import InputError, stopping
from fastvoicegrad.cli import app
from fastvoicegrad.live import devices
from fastvoicegrad.live.devices import Open
from fastvoicegrad.live.engine import Engine
from fastvoicegrad.live.recorder import Recorder
from fastvoicegrad.live.session import Session
from fastvoicegrad.stream.bundle import StreamBundle
from fastvoicegrad.stream.converter import StreamingConverter
from tests.conftest import vowels

RATE, BLOCK = 16000, 80


@pytest.fixture
def session(stream_folder: Path, voices: list[Any]) -> Iterator[Session]:
    bundle = StreamBundle.open(stream_folder)
    prepared = [(name, bundle.voice(voice)) for name, voice in zip(("high", "low"), voices, strict=True)]
    engine = Engine(StreamingConverter(bundle, prepared[0][1], RATE), BLOCK)
    engine.start()
    yield Session(engine, prepared)
    engine.stop()


class _Stream:
    """Calls its callback every few milliseconds, as a device does."""

    latency = (0.01, 0.02)

    def __init__(self, *, callback: Callable[..., None], blocksize: int, channels: Any, samplerate: int, **more: Any):
        if samplerate == 12345:
            raise ValueError("Invalid sample rate")
        self.callback, self.block, self.channels, self.rate = callback, blocksize, channels, samplerate
        self.stop, self.played = threading.Event(), list[np.ndarray]()
        self.thread = threading.Thread(target=self.run)

    def run(self) -> None:
        while not self.stop.wait(self.block / self.rate):
            if isinstance(self.channels, tuple):
                given = np.full((self.block, self.channels[0]), 0.25, np.float32)
                taken = np.zeros((self.block, self.channels[1]), np.float32)
                self.callback(given, taken, self.block, None, 0)
            else:
                taken = np.zeros((self.block, self.channels), np.float32)
                self.callback(taken, self.block, None, 0)
            self.played.append(taken)

    def __enter__(self) -> _Stream:
        opened.append(self)
        self.thread.start()
        return self

    def __exit__(self, *error: object) -> None:
        self.stop.set()
        self.thread.join()


opened: list[_Stream] = []


@pytest.fixture
def sound_card(monkeypatch: pytest.MonkeyPatch) -> list[_Stream]:
    """Stands in for the module sounddevice; gives the streams that get opened."""
    opened.clear()
    names = [("Built-in Microphone", 1, 0), ("Speakers", 0, 2), ("USB Headset", 1, 2), ("USB Headset Pro", 0, 2)]
    listed = [
        {"name": n, "hostapi": 0, "max_input_channels": i, "max_output_channels": o, "default_samplerate": 48000.0}
        for n, i, o in names
    ]
    module = SimpleNamespace(
        query_devices=lambda: listed,
        query_hostapis=lambda: [{"name": "ALSA"}],
        default=SimpleNamespace(device=[0, 1]),
        Stream=_Stream,
        OutputStream=_Stream,
        PortAudioError=RuntimeError,
    )
    monkeypatch.setitem(sys.modules, "sounddevice", module)
    return opened


def test_keys_change_voice_pitch_gain_and_sound(session: Session) -> None:
    for key in "2+++- ]]x5":
        session.press(key)
    session.engine.settle()
    target = session.engine.stream._target
    assert target.voice is session.voices[1][1]
    assert (session.voice, session.semitones, target.semitones) == (1, 2.0, 2.0)
    assert session.engine.controls.passing
    assert session.engine.controls.gain == pytest.approx(10 ** (4 / 20))
    assert not session.ended
    session.press("q")
    assert session.ended


@pytest.mark.skipif(sys.platform == "win32", reason="needs a pseudo-terminal")
def test_keys_of_a_terminal_come_one_by_one(monkeypatch: pytest.MonkeyPatch) -> None:
    import os
    import pty
    import termios

    from fastvoicegrad.live.keys import keys

    ours, theirs = pty.openpty()
    with os.fdopen(theirs) as terminal:
        monkeypatch.setattr(sys, "stdin", terminal)
        with keys() as pressed:
            before = termios.tcgetattr(terminal)
            assert pressed() == ""
            os.write(ours, b"2+q")
            time.sleep(0.1)
            assert [pressed() for _ in range(4)] == ["2", "+", "q", ""]
            os.write(ours, b"\x1b[A")  # an arrow, which has no character
            time.sleep(0.1)
            assert [pressed() for _ in range(3)] == ["", "", ""]
            os.write(ours, b"\x1b[3~")
            time.sleep(0.1)
            assert pressed() == ""
            os.write(ours, b"1")
            time.sleep(0.1)
            assert pressed() == "1"
            before[3] |= termios.ICANON  # as a shell does when the job is stopped
            termios.tcsetattr(terminal, termios.TCSANOW, before)
            assert pressed() == ""
            os.write(ours, b"2")
            time.sleep(0.1)
            assert pressed() == "2"
    os.close(ours)


def test_the_screen_shows_delay_queue_and_late_blocks(session: Session) -> None:
    text = "\n".join(session.lines())
    assert "voice   high · pitch +0 semitones" in text
    assert f"delay   {1000 * session.engine.delay / RATE:.0f} ms" in text
    assert "late blocks 0" in text
    session.engine.exchange(np.ones(4 * RATE, np.float32))
    session.engine.settle()
    text = "\n".join(session.lines())
    assert "late blocks 1" in text
    assert "overload: " in text
    assert "CLIPPED" in text
    assert "faults" not in text + session.summary()
    session.devices = Open(latency=0.01, faults=3)
    assert "faults of the devices 3" in "\n".join(session.lines())
    assert "faults of the devices 3" in session.summary()


def test_an_overload_over_several_pictures_is_one(session: Session, monkeypatch: pytest.MonkeyPatch) -> None:
    status, messages = session.engine.status(), []
    monkeypatch.setattr(session.engine, "status", lambda: status)
    for missing in (0.0, 0.1, 0.2, 0.24, 0.24, 0.24, 0.3):
        status.missing = missing
        messages.append([line.split(" were ")[0] for line in session.lines() if "overload" in line])
    lengths = ["100", "200", "240", "240", "240", "60"]
    assert messages == [[], *[[f"overload: {length} ms"] for length in lengths]]


def test_a_job_in_the_background_has_no_keys(monkeypatch: pytest.MonkeyPatch) -> None:
    """There, the system stops a process that changes the terminal or reads from it."""
    if sys.platform == "win32":
        pytest.skip("Windows has no jobs")
    import os
    import pty
    import termios

    from fastvoicegrad.live.keys import keys

    other, terminal = pty.openpty()
    with os.fdopen(terminal) as stdin:
        monkeypatch.setattr(sys, "stdin", stdin)
        monkeypatch.setattr(os, "tcgetpgrp", lambda _: os.getpgrp() + 1)
        before = termios.tcgetattr(terminal)
        with keys() as pressed:
            os.write(other, b"q\n")
            assert termios.tcgetattr(terminal) == before
            assert pressed() == ""
            monkeypatch.setattr(os, "tcgetpgrp", lambda _: os.getpgrp())
            assert pressed() == "q"
    os.close(other)


def test_the_screen_tells_that_the_recording_has_ended(session: Session, tmp_path: Path) -> None:
    session.recorder = Recorder(tmp_path / "talk.wav", RATE)
    assert "recording talk.wav" in "\n".join(session.lines())
    session.recorder.failure = InputError("no room left")
    assert "the recording has ended: no room left" in session.lines()


def test_devices_are_found_by_number_and_name(sound_card: list[_Stream], monkeypatch: pytest.MonkeyPatch) -> None:
    assert devices.find(None, "input").name == "Built-in Microphone"
    assert devices.find(None, "output").name == "Speakers"
    assert devices.find("2", "input").name == "USB Headset"
    assert devices.find("headset", "input").name == "USB Headset"
    assert devices.find("USB Headset", "output").index == 2
    for wanted, message in (("9", "no output device '9'"), ("Micro", "no output device"), ("headset", "numbers 2, 3")):
        with pytest.raises(InputError, match=message):
            devices.find(wanted, "output")
    monkeypatch.setattr(devices, "listed", list)
    with pytest.raises(InputError, match="no input device; connect one"):
        devices.find(None, "input")


def test_of_several_interfaces_that_of_the_usual_device_is_taken(monkeypatch: pytest.MonkeyPatch) -> None:
    """As on Windows, where each device is there once for each interface and MME cuts long names."""
    cable = "CABLE Input (VB-Audio Virtual Cable)"
    named = [("Microphone", 0, 1), ("Speakers", 0, 0), (cable[: devices.CUT], 0, 0), (cable, 1, 0), (cable, 2, 0)]
    listed = [
        {"name": n, "hostapi": h, "max_input_channels": i, "max_output_channels": 2, "default_samplerate": 48000.0}
        for n, h, i in named
    ]
    hosts = [{"name": name} for name in ("MME", "DirectSound", "WASAPI")]
    module = SimpleNamespace(
        query_devices=lambda: listed, query_hostapis=lambda: hosts, default=SimpleNamespace(device=[0, 1])
    )
    monkeypatch.setitem(sys.modules, "sounddevice", module)
    assert devices.find("CABLE Input", "output").index == 2
    assert devices.find(cable, "output").index == 2
    module.default.device = [0, 4]
    assert devices.find("cable", "output").index == 4
    assert devices.find("3", "output").index == 3


def test_a_device_is_one_line(sound_card: list[_Stream]) -> None:
    assert str(devices.listed()[1]) == "1: Speakers (ALSA), 0 in, 2 out, 48000 Hz, default output"


def test_a_device_plays_what_the_engine_gives(session: Session, sound_card: list[_Stream]) -> None:
    session.engine.controls.passing = True
    microphone, headset = devices.find("0", "input"), devices.find("2", "output")
    with devices.opened(session.engine, BLOCK, microphone, headset, devices.find("1", "output")) as state:
        time.sleep(0.4)
    assert state.latency == pytest.approx(0.03)
    assert state.faults == 0
    main, monitor = (np.concatenate(stream.played) for stream in sound_card)
    assert main.shape[1] == 2
    assert 0.25 in main
    assert 0.25 in monitor
    assert not session.engine.sinks


def test_a_device_that_cannot_be_opened_is_one_line(
    stream_folder: Path, voices: list[Any], sound_card: list[_Stream]
) -> None:
    engine = Engine(StreamingConverter(StreamBundle.open(stream_folder), voices[0], 12345), BLOCK)
    microphone, speakers = devices.find(None, "input"), devices.find(None, "output")
    with (
        pytest.raises(InputError, match=r"cannot be opened \(Invalid sample rate\)"),
        devices.opened(engine, BLOCK, microphone, speakers),
    ):
        pass


# -- the command ----------------------------------------------------------------------------------------------


def run(*arguments: object) -> Any:
    return CliRunner().invoke(app, ["live", *map(str, arguments)])


def test_the_command_lists_devices(sound_card: list[_Stream]) -> None:
    done = run("--devices")
    assert done.exit_code == 0
    assert "0: Built-in Microphone (ALSA)" in done.output


def test_without_sounddevice_the_command_names_the_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "sounddevice", None)
    done = run("--devices")
    assert done.exit_code == 2
    assert "fastvoicegrad[live]" in done.output


@pytest.mark.parametrize("clock", ["real", "fast"])
def test_a_file_goes_through_the_command(stream_folder: Path, tmp_path: Path, clock: str) -> None:
    soundfile.write(tmp_path / "a.wav", vowels(0.6, rate=RATE), RATE)
    more = ("--record", tmp_path / "kept.wav", "--gate", -50, "--pitch", 2) if clock == "fast" else ("--cushion", 200)
    done = run(
        *("--to", "nora", "--to", "theo", "--from", tmp_path / "a.wav", "--to-file", tmp_path / "b.wav"),
        *("--clock", clock, "--stream-bundle", stream_folder, *more),
    )
    assert done.exit_code == 0, done.output
    assert "late blocks 0" in done.output
    info = soundfile.info(tmp_path / "b.wav")
    assert (info.frames, info.samplerate) == (9600, RATE)
    if clock == "fast":
        assert soundfile.info(tmp_path / "kept.wav").frames >= 9600


def test_a_microphone_runs_for_a_while(stream_folder: Path, sound_card: list[_Stream]) -> None:
    done = run("--to", "nora", "--seconds", 0.3, "--stream-bundle", stream_folder, "--monitor", 2, "--quiet")
    assert done.exit_code == 0, done.output
    assert "delay " in done.output
    assert [stream.rate for stream in sound_card] == [48000, 48000]


def test_a_microphone_with_192_khz_has_the_highest_rate(
    stream_folder: Path, sound_card: list[_Stream], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules["sounddevice"].query_devices()[0], "default_samplerate", 192000.0)
    done = run("--to", "nora", "--seconds", 0.2, "--stream-bundle", stream_folder, "--quiet")
    assert done.exit_code == 0, done.output
    assert [stream.rate for stream in sound_card] == [96000]


@pytest.mark.skipif(sys.platform == "win32", reason="signals")
def test_ctrl_c_keeps_the_recording_and_the_summary(
    stream_folder: Path, tmp_path: Path, sound_card: list[_Stream], monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupt_once(show: object) -> None:
        if sound_card and len(sound_card[0].played) > 20:
            signal.raise_signal(signal.SIGINT)

    handlers = {number: signal.getsignal(number) for number in stopping.SIGNALS}
    monkeypatch.setattr(sys.modules["fastvoicegrad.cli.live"]._Screen, "__call__", interrupt_once)
    try:
        signal.signal(signal.SIGINT, stopping._stop)  # as in a command that may be stopped
        done = run("--to", "nora", "--stream-bundle", stream_folder, "--quiet", "--record", tmp_path / "kept.wav")
    finally:
        for number, handler in handlers.items():
            signal.signal(number, handler)
    assert done.exit_code == 0, done.output
    assert "stopped" in done.output
    assert "delay " in done.output
    assert soundfile.info(tmp_path / "kept.wav").frames > 0


def test_a_file_that_is_cut_off_is_named(stream_folder: Path, tmp_path: Path) -> None:
    soundfile.write(tmp_path / "a.wav", vowels(0.6, rate=RATE), RATE)
    (tmp_path / "cut.wav").write_bytes((tmp_path / "a.wav").read_bytes()[:10000])
    done = run(
        *("--to", "nora", "--from", tmp_path / "cut.wav", "--to-file", tmp_path / "b.wav"),
        *("--clock", "fast", "--stream-bundle", stream_folder),
    )
    assert done.exit_code == 0, done.output
    assert "cut.wav ends after 0.3 s of the 0.6 s" in " ".join(done.output.split())


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--to", "nora", "--from", "a.wav"], "--from and --to-file belong together"),
        (["--to", "nora", "--clock", "fast"], "--clock is the pace of --from; leave it out"),
        (
            ["--to", "nora", "--from", "a.wav", "--to-file", "b.wav", "--input", "1"],
            "--from takes the place of devices",
        ),
        ([*["--to", "nora"] * 10, "--from", "a.wav", "--to-file", "b.wav"], "10 targets were given"),
        (["--to", "nora", "--from", "a.wav", "--to-file", "./a.wav"], "--from and --to-file name one file"),
        (["--to", "b.wav", "--from", "a.wav", "--to-file", "b.wav"], "b.wav is a reference itself"),
        (["--to", "b.wav", "--from", "a.wav", "--to-file", "c.wav", "--record", "b.wav"], "is a reference itself"),
        (["--to", "nora", "--record", "b.wav", "--from", "a.wav", "--to-file", "b.wav"], "--to-file and --record"),
        ([], "name a target with --to"),
        (["--to", "nora", "--stream-bundle", "missing"], "no such bundle"),
    ],
)
def test_wrong_uses_are_one_line(arguments: list[str], message: str) -> None:
    done = run(*arguments)
    assert done.exit_code == 2
    assert message in done.output


def test_a_recording_that_ends_early_names_what_is_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(file: Any, block: np.ndarray) -> None:
        raise InputError("no room")

    recorder = Recorder(tmp_path / "talk.wav", RATE).__enter__()
    recorder.write(np.zeros(RATE, np.float32))
    while recorder._blocks.qsize():
        time.sleep(0.01)
    monkeypatch.setattr("fastvoicegrad.audio.Writer.write", full)
    recorder.write(np.zeros(RATE, np.float32))
    while recorder.failure is None:
        time.sleep(0.01)
    with pytest.raises(InputError, match=r"^no room; .*talk\.wav has the sound before that$"):
        recorder.__exit__(None, None, None)
    assert len(soundfile.read(tmp_path / "talk.wav")[0]) == RATE

"""``fastvoicegrad convert`` for folders and pipes, in a new process each time, but for refusals."""

from __future__ import annotations

import io
import json
import os
import re
import shlex
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import soundfile
from benchmarks import folder as benchmark
from rich.console import Console
from rich.progress import Progress

from fastvoicegrad.batch import Advance, Outcome, Task
from fastvoicegrad.cli.convert_many import Bar, folder_names
from tests.cli.conftest import Inside
from tests.conftest import vowels

LOG = "fastvoicegrad.jsonl"


def run(*arguments: object, cwd: Path, data: bytes = b"") -> subprocess.CompletedProcess[bytes]:
    command = [sys.executable, "-m", "fastvoicegrad", "convert", *map(str, arguments)]
    return subprocess.run(command, capture_output=True, input=data, cwd=cwd, timeout=120, check=False)


def text(stream: bytes) -> str:
    return " ".join(stream.decode().split())


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with recordings and two references."""
    place = tmp_path_factory.mktemp("place")
    (place / "in/deep").mkdir(parents=True)
    soundfile.write(place / "in/a.wav", vowels(0.6, rate=16000), 16000)
    soundfile.write(place / "in/deep/b ü.flac", vowels(0.7, rate=44100, seed=1), 44100)
    soundfile.write(place / "anna.wav", vowels(3.0, pitch=210.0, seed=3), 22050)
    soundfile.write(place / "ben.wav", vowels(3.0, pitch=100.0, seed=4), 22050)
    return place


def files(folder: Path) -> set[str]:
    return {path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file() and path.name != LOG}


RESULTS = {"a.wav", "deep/b ü.flac"}


@pytest.mark.slow
def test_good_and_broken_recordings_and_a_kill(tmp_path: Path) -> None:
    """A small run of ``benchmarks/folder.py``."""
    test = benchmark.Test(tmp_path, None, files=12, broken=4, workers=1)
    assert benchmark.check(test, kills=1, seed=0) == []


def test_a_folder_and_once_more(place: Path) -> None:
    done = run("in", "--to", "anna.wav", "-o", "once", cwd=place)
    assert done.returncode == 0, done.stderr
    assert "once: 2 converted, 0 skipped, 0 failed" in text(done.stdout)
    assert f"log: once/{LOG}" in text(done.stdout)
    assert done.stderr == b""
    assert files(place / "once") == RESULTS
    again = run("in", "--to", "anna.wav", "-o", "once", "--json", cwd=place)
    report = json.loads(again.stdout)
    assert (report["converted"], report["skipped"], report["failed"], report["failures"]) == (0, 2, 0, [])
    forced = run("in", "--to", "anna.wav", "-o", "once", "--force", "--workers", 2, cwd=place)
    assert "2 converted" in text(forced.stdout)


def test_results_go_to_a_folder_of_that_name(place: Path) -> None:
    done = run("in/a.wav", "--to", "anna.wav", cwd=place)
    assert done.returncode == 0, done.stderr
    assert files(place / "converted") == {"a.wav"}


def test_a_pattern_in_quotes(place: Path) -> None:
    done = run("in/**/*.flac", "--to", "anna.wav", "--format", ".MP3", "-o", "mp3/", cwd=place)
    assert done.returncode == 0, done.stderr
    assert files(place / "mp3") == {"deep/b ü.mp3"}


def test_several_voices(place: Path) -> None:
    done = run("in", "--each", "anna.wav", "--each", "ben.wav", "-o", "each", cwd=place)
    assert done.returncode == 0, done.stderr
    assert files(place / "each") == {f"{name}/{result}" for name in ("anna", "ben") for result in RESULTS}
    assert (place / "each/anna/a.wav").read_bytes() != (place / "each/ben/a.wav").read_bytes()


def test_a_failure_is_named_and_the_exit_code_is_1(place: Path, tmp_path: Path) -> None:
    (tmp_path / "bad.wav").write_text("none")
    done = run("in", tmp_path / "bad.wav", "--to", "anna.wav", "-o", tmp_path / "out", cwd=place)
    assert done.returncode == 1
    assert "2 converted, 0 skipped, 1 failed" in text(done.stdout)
    assert text(done.stderr).startswith(f"fastvoicegrad: {tmp_path / 'bad.wav'} is not audio")
    report = json.loads(run(tmp_path, "--to", "anna.wav", "-o", tmp_path / "out", "--json", cwd=place).stdout)
    assert [Path(failure["source"]).name for failure in report["failures"]] == ["bad.wav"]


def test_a_json_report_of_a_folder_has_the_warnings(place: Path, tmp_path: Path) -> None:
    whole = (place / "in/a.wav").read_bytes()
    (tmp_path / "cut.wav").write_bytes(whole[: len(whole) // 2])
    done = run(tmp_path, "--to", "anna.wav", "-o", tmp_path / "out", "--json", cwd=place)
    found = json.loads(done.stdout)["warnings"]
    assert any("cut.wav" in warning and "ends after 0.3 s of the 0.6 s" in warning for warning in found)


def test_options_of_the_sound(place: Path) -> None:
    options = ["--semitones", "-3", "--loudness", "-20", "--channel", "left", "--subtype", "24", "--rate", "48000"]
    done = run("in", "--to", "anna.wav", "-o", "sound", *options, "--no-tags", cwd=place)
    assert done.returncode == 0, done.stderr
    info = soundfile.info(place / "sound/a.wav")
    assert (info.subtype, info.samplerate) == ("PCM_24", 48000)
    kept = run("in/a.wav", "--to", "anna.wav", "-o", "kept.wav", "--keep-pitch", cwd=place)
    assert kept.returncode == 0, kept.stderr
    assert "voice of anna" in soundfile.SoundFile(place / "kept.wav").copy_metadata()["comment"]


def test_opus_takes_a_rate_of_its_own(place: Path) -> None:
    soundfile.write(place / "cd.wav", vowels(1.0), 44100)
    assert run("cd.wav", "--to", "anna.wav", "-o", "cd.opus", cwd=place).returncode == 0
    assert soundfile.info(place / "cd.opus").samplerate == 48000


def test_an_empty_folder_is_named(inside: Inside, place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(place)
    (place / "empty").mkdir()
    done = inside("convert", "empty", "--to", "anna.wav", "-o", "out")
    assert done.returncode == 0
    assert "warning: empty: no recordings" in done.stderr


def test_voices_of_one_name_have_folders_of_their_own(place: Path) -> None:
    for folder, name in (("studio", "anna.wav"), ("home", "ben.wav")):
        (place / folder).mkdir()
        shutil.copy(place / name, place / folder / "x.wav")
    done = run("in", "--each", "studio/x.wav", "--each", "home/x.wav", "-o", "alike", cwd=place)
    assert done.returncode == 0, done.stderr
    assert files(place / "alike") == {f"{name}/{result}" for name in ("studio_x", "home_x") for result in RESULTS}


def test_a_folder_as_the_voice(place: Path, tmp_path: Path) -> None:
    (tmp_path / "both").mkdir()
    for name in ("anna.wav", "ben.wav"):
        shutil.copy(place / name, tmp_path / "both")
    for result, voice in (("a.wav", [tmp_path / "both"]), ("b.wav", [place / "anna.wav", place / "ben.wav"])):
        to = [argument for reference in voice for argument in ("--to", reference)]
        done = run(place / "in/a.wav", *to, "-o", tmp_path / result, "--no-tags", cwd=tmp_path)
        assert done.returncode == 0, done.stderr
    assert (tmp_path / "a.wav").read_bytes() == (tmp_path / "b.wav").read_bytes()
    done = run(place / "in", "--each", tmp_path / "both", "--each", "nora", "-o", tmp_path / "out", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert files(tmp_path / "out") == {f"{voice}/{name}" for voice in ("both", "nora") for name in RESULTS}


def test_options_that_change_the_sound(place: Path) -> None:
    stereo = np.stack([vowels(1.0, rate=48000), vowels(1.0, pitch=220.0, rate=48000)], axis=1)
    soundfile.write(place / "stereo.wav", stereo, 48000)
    options = ["--formant", "-2.5", "--pauses", "silence", "--channel", "each", "--bitrate", "96"]
    done = run("stereo.wav", "--to", "anna.wav", "-o", "stereo.opus", *options, cwd=place)
    assert done.returncode == 0, done.stderr
    info = soundfile.info(place / "stereo.opus")
    assert (info.channels, info.frames) == (2, 48000)
    described = json.loads(info_of("stereo.opus", "--json", cwd=place))
    assert (described["channels"], described["rate"]) == (2, 48000)
    assert described["comment"].startswith("Converted speech: voice of anna")
    assert "voice of anna" in text(info_of("stereo.opus", cwd=place))
    refused = run("stereo.wav", "--to", "anna.wav", "-o", "x.wav", "--bitrate", "96", cwd=place)
    assert refused.returncode == 2
    assert "no fixed bitrate" in text(refused.stderr)


def info_of(*arguments: object, cwd: Path) -> bytes:
    command = [sys.executable, "-m", "fastvoicegrad", "info", *map(str, arguments)]
    return subprocess.run(command, capture_output=True, cwd=cwd, timeout=120, check=True).stdout


def test_pipes(place: Path) -> None:
    data = (place / "in/a.wav").read_bytes()
    done = run("-", "--to", "anna.wav", "-o", "-", cwd=place, data=data)
    assert done.returncode == 0, done.stderr
    wave, rate = soundfile.read(io.BytesIO(done.stdout))
    assert (len(wave), rate) == (9600, 16000)
    assert "times as fast" in text(done.stderr)
    to_file = run("-", "--to", "anna.wav", "-o", "piped.wav", "--json", cwd=place, data=data)
    assert json.loads(to_file.stdout)["samples"] == 9600
    assert (place / "piped.wav").read_bytes() == done.stdout
    other = run("in/a.wav", "--to", "anna.wav", "-o", "-", "--format", "flac", "--json", cwd=place)
    assert soundfile.info(io.BytesIO(other.stdout)).format == "FLAC"
    assert json.loads(other.stderr)["output"] == "standard output"


def test_a_bad_pipe(place: Path) -> None:
    for data in (b"", b"no recording" * 100):
        done = run("-", "--to", "anna.wav", "-o", "-", cwd=place, data=data)
        assert (done.returncode, done.stdout) == (2, b"")
        assert text(done.stderr).startswith("fastvoicegrad: standard input is ")
    done = run("-", "--to", "anna.wav", "--format", "exe", cwd=place, data=(place / "in/a.wav").read_bytes())
    assert text(done.stderr).startswith("fastvoicegrad: the format must be one of wav, ")
    done = run("in/a.wav", "--to", "anna.wav", "-o", "-", "--bitrate", "64", cwd=place)
    assert text(done.stderr).startswith("fastvoicegrad: standard output: WAV has no fixed bitrate")


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs /dev/full")
def test_a_full_disk_behind_a_pipe_is_one_line(place: Path) -> None:
    command = [sys.executable, "-m", "fastvoicegrad", "convert", "in/a.wav", "--to", "anna.wav", "-o", "-"]
    with open("/dev/full", "wb") as full:
        done = subprocess.run(command, stdout=full, stderr=subprocess.PIPE, cwd=place, timeout=120, check=False)
    assert done.returncode == 2
    assert text(done.stderr).splitlines()[-1].endswith("choose another place")
    assert b"Traceback" not in done.stderr


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["in", "-o", "x"], "name a voice with --to, e.g. --to nora"),
        (["in", "--to", "anna.wav", "--each", "ben.wav", "-o", "x"], "but not both"),
        (["none", "in", "--to", "anna.wav", "-o", "x"], "none: no such file or folder"),
        (["none/*.wav", "--to", "anna.wav", "-o", "x"], "nothing matches it"),
        (["talk [final].wav", "--to", "anna.wav", "-o", "x.wav"], "nothing matches it"),
        (["https://x.org/watch?v=1", "--to", "anna.wav", "-o", "x.wav"], "addresses are not read"),
        (["https://x.org/a.wav", "--to", "anna.wav"], "addresses are not read"),
        (["in", "--to", "none.wav", "-o", "x"], "none.wav"),
        (["in", "--to", "anna.wav", "-o", "in"], "lie among the sources"),
        (["in", "--to", "anna.wav", "-o", "anna.wav"], "is not a folder"),
        (["in", "--to", "anna.wav", "-o", "x.wav"], "names one file"),
        (["in/a.wav", "in/*.wav", "--to", "anna.wav", "-o", "x.mp3"], "names one file"),
        (["in", "--to", "anna.wav", "-o", "-"], "takes one recording"),
        (["in", "-", "--to", "anna.wav", "-o", "x"], "is one recording"),
        (["-", "--to", "anna.wav", "-o", "in"], "name one file"),
        (["in/a.wav", "--to", "anna.wav", "-o", "x.wav", "--format", "mp3"], "--format is for folders"),
        (["in", "--to", "anna.wav", "-o", "x", "--format", "doc"], "format must be one of"),
        (["in", "--to", "anna.wav", "-o", "x", "--steps", "7"], "at most 1 step"),
        (["in", "--each", "anna.wav", "--each", "anna.wav", "-o", "x"], "two targets"),
        (["in", "--to", "anna.wav", "-o", "x", "--bitrate", "64"], "no result is MP3 or Opus"),
        (["in", "--to", "anna.wav", "-o", "x", "--bitrate", "6400", "--format", "mp3"], "fastvoicegrad: MP3 with"),
        (["in", "--to", "", "-o", "x"], "--to is empty; give it a name"),
        (["in/a.wav", "--to", "anna.wav", "-o", ""], "-o is empty; give it a name"),
        (["", "--to", "anna.wav"], "IN is empty; give it a name"),
        (["in/a.wav", "--to", "anna(0)+ben(0)", "-o", "x.wav"], "'anna(0)+ben(0)' are all 0; give one voice a weight"),
        (["in", "--to", "anna.wav", "-o", "x", "--channel", "middle"], "channel must be left"),
    ],
)
def test_bad_arguments_are_one_line_and_exit_code_2(
    inside: Inside, place: Path, monkeypatch: pytest.MonkeyPatch, arguments: list[str], message: str
) -> None:
    before = sorted(place.rglob("*"))
    monkeypatch.chdir(place)
    done = inside("convert", *arguments)
    assert done.returncode == 2, done.stdout + done.stderr
    assert done.stdout == ""
    assert message in done.stderr
    assert len(done.stderr.strip().splitlines()) == 1
    assert sorted(place.rglob("*")) == before


@pytest.mark.parametrize("output", ["x.wav", "x/"])
@pytest.mark.parametrize(
    ("option", "value", "message"),
    [
        ("--formant", "nan", "formant must lie between -12 and 12, got nan"),
        ("--semitones", "25", "semitones must lie between -24 and 24, got 25"),
        ("--rate", "100", "rate must lie between 8000 and 96000 Hz, got 100"),
        ("--loudness", "3", "the loudness must lie"),
    ],
)
def test_what_no_bundle_can_do_is_refused_before_one_loads(
    inside: Inside, place: Path, monkeypatch: pytest.MonkeyPatch, output: str, option: str, value: str, message: str
) -> None:
    monkeypatch.chdir(place)
    done = inside("convert", "in/a.wav", "--to", "anna.wav", "-o", output, option, value, "--bundle", "none")
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.startswith(f"fastvoicegrad: {message}")


def test_an_empty_format_is_refused(inside: Inside, place: Path) -> None:
    for empty in ("", "."):
        done = inside("convert", "in", "--to", "anna.wav", "-o", "out", "--format", empty)
        assert done.stderr.startswith("fastvoicegrad: --format is empty; give wav")


def test_choices_are_taken_in_any_case(inside: Inside, place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(place)
    done = inside(
        *("convert", "in/a.wav", "--to", "anna.wav", "-o", "case.wav"), "--pauses", "SILENCE", "--channel", "EACH"
    )
    assert done.returncode == 0, done.stderr
    assert soundfile.info(place / "case.wav").frames == 9600


def started(place: Path, *arguments: str) -> subprocess.Popen[str]:
    """A command that can be stopped, even where the tests themselves ignore signals."""
    code = (
        "import signal; [signal.signal(s, signal.SIG_DFL) for s in (signal.SIGINT, signal.SIGTERM)]\n"
        "from fastvoicegrad.__main__ import run; run()"
    )
    return subprocess.Popen(
        [sys.executable, "-c", code, "convert", *arguments],
        cwd=place,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


@pytest.mark.skipif(sys.platform == "win32", reason="there are no such signals")
@pytest.mark.parametrize("name", ["SIGINT", "SIGTERM"])
def test_a_signal_ends_a_run_and_cleans_up(place: Path, tmp_path: Path, name: str) -> None:
    soundfile.write(tmp_path / "long.flac", np.tile(vowels(), 60), 22050)
    out = tmp_path / "out"
    process = started(place, "in", str(tmp_path / "long.flac"), "--to", "anna.wav", "-o", str(out))
    until(lambda: any(".part" in path.name for path in out.glob(".long*")))
    process.send_signal(getattr(signal, name))
    _, lines = process.communicate(timeout=30)
    assert (process.returncode, lines.strip()) == (128 + getattr(signal, name), "stopped")
    assert files(out) == RESULTS
    assert "2 skipped" in text(run("in", "--to", "anna.wav", "-o", out, cwd=place).stdout)


def until(happens: object, seconds: float = 60.0) -> None:
    end = time.monotonic() + seconds
    while not happens():  # type: ignore[operator]
        assert time.monotonic() < end
        time.sleep(0.02)


@pytest.mark.skipif(sys.platform == "win32", reason="there are no such signals")
def test_watch_converts_what_arrives_and_ends_by_ctrl_c(place: Path, tmp_path: Path) -> None:
    inbox, out = tmp_path / "in box", tmp_path / "out"
    inbox.mkdir()
    (inbox / "a.wav").write_bytes((place / "in/a.wav").read_bytes())
    process = started(place, str(inbox), "--to", "anna.wav", "-o", str(out), "--watch")
    until(lambda: (out / "a.wav").exists())
    (inbox / "new").mkdir()
    os.replace(_copy(place / "in/deep/b ü.flac", tmp_path / "b.flac"), inbox / "new/b.flac")
    until(lambda: len((out / LOG).read_text().splitlines()) == 2)
    time.sleep(0.2)
    process.send_signal(signal.SIGINT)
    output, lines = process.communicate(timeout=30)
    assert process.returncode == 0, lines
    assert "2 converted, 0 skipped, 0 failed" in output
    assert str(out / "new/b.flac") in output
    assert files(out) == {"a.wav", "new/b.flac"}


def _copy(source: Path, target: Path) -> Path:
    target.write_bytes(source.read_bytes())
    return target


def test_each_voice_has_a_folder_of_its_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    for path in ("nora.wav", "a/x/me.wav", "b/x/me.wav", "me.voice"):
        (tmp_path / path).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / path).touch()
    home = tmp_path.name
    for given, folders in (
        (["nora", "nora.wav"], ["nora", f"{home}_nora"]),
        (["a/x/me.wav", "b/x/me.wav"], ["x_me", "x_me-2"]),
        (["me.wav", "me.voice"], ["me.wav", "me"]),
        (["nora", "ben"], ["nora", "ben"]),
        (["nora.wav", "./nora.wav"], [f"{home}_nora"] * 2),  # one voice twice, which is refused
    ):
        assert folder_names(given) == folders


def test_names_of_files_are_printed_whole(inside: Inside, place: Path, tmp_path: Path) -> None:
    name = str(tmp_path / ("out:dog:" + "x" * 120 + ".wav"))
    done = inside("convert", place / "in/a.wav", "--to", place / "anna.wav", "-o", name)
    assert done.stdout.startswith(f"{name}: ")


def test_a_format_that_a_pipe_cannot_have_is_named(inside: Inside, place: Path) -> None:
    done = inside("convert", place / "in/a.wav", "--to", place / "anna.wav", "-o", "-", "--format", "m4a")
    assert done.stderr.startswith("fastvoicegrad: the format must be one of wav, ")


def test_the_bar_counts_files_and_leaves_out_what_is_skipped(tmp_path: Path) -> None:
    tasks = []
    for size in (100, 200, 300):
        (tmp_path / f"{size}.wav").write_bytes(bytes(size))
        tasks.append(Task(tmp_path / f"{size}.wav", Path(f"{size}.wav")))
    progress = Progress(console=Console(file=io.StringIO()))
    bar = Bar(tasks, progress)
    state = progress.tasks[0]

    def outcome(number: int, kind: str) -> Outcome:
        return Outcome(tasks[number].source, tasks[number].output, kind)  # type: ignore[arg-type]

    bar.update(outcome(0, "skipped"))
    assert (state.completed, state.total, state.fields["count"]) == (0, 500, "1/3")
    bar.update(Advance(tasks[1].source, tasks[1].output, 0.5))
    assert (state.completed, state.total, state.fields["count"]) == (100, 500, "1/3")
    bar.update(outcome(1, "converted"))
    bar.update(outcome(2, "failed"))
    assert (state.completed, state.total, state.fields["count"]) == (500, 500, "3/3")
    Bar(tasks, None).update(outcome(0, "failed"))  # without a display it does nothing


def test_a_folder_names_what_was_found(inside: Inside, place: Path, tmp_path: Path) -> None:
    (tmp_path / "talks").mkdir()
    data = (place / "in/a.wav").read_bytes()
    for name, kept in (("whole.wav", 1.0), ("cut.wav", 0.7)):
        (tmp_path / "talks" / name).write_bytes(data[: round(kept * len(data))])
    done = inside("convert", str(tmp_path / "talks"), "--to", str(place / "anna.wav"), "-o", str(tmp_path / "results"))
    assert done.returncode == 0, done.stderr
    assert re.fullmatch(r"fastvoicegrad: warning: \S*cut.wav ends after .*\n", done.stderr)
    assert "2 converted" in done.stdout
    assert "1 with warnings" in done.stdout


# -- closed streams and folders ------------------------------------------------------------------------------


@pytest.mark.skipif(os.name != "posix", reason="a shell")
@pytest.mark.parametrize(
    ("words", "message"),
    [
        ("- --to anna.wav -o piped.wav <&-", "standard input is closed; send a sound file to it"),
        ("in/a.wav --to anna.wav -o - --format wav >&-", "standard output is closed; send it to a file or a program"),
    ],
)
def test_closed_streams_are_one_line(place: Path, words: str, message: str) -> None:
    command = f"{shlex.quote(sys.executable)} -m fastvoicegrad convert {words}"
    done = subprocess.run(command, shell=True, capture_output=True, cwd=place, timeout=120, check=False)
    assert (done.returncode, text(done.stderr)) == (2, f"fastvoicegrad: {message}")


def test_files_need_no_temporary_folder(place: Path, tmp_path: Path) -> None:
    """Python takes none of the folders that it knows, as on a disk that cannot be written."""
    program = (
        "import sys, tempfile; tempfile._candidate_tempdir_list = lambda: []\n"
        "import fastvoicegrad.__main__ as main; main.run()"
    )
    for source, output in ((place / "in/a.wav", tmp_path / "a.wav"), (place / "in", tmp_path / "many")):
        command = [sys.executable, "-c", program, "convert", str(source), "--to", str(place / "anna.wav")]
        done = subprocess.run([*command, "-o", str(output)], capture_output=True, timeout=120, check=False)
        assert done.returncode == 0, done.stderr
        assert output.exists()

"""The command as a user runs it: a new process each time, but for refusals and help."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import soundfile

import fastvoicegrad
from fastvoicegrad import audio
from fastvoicegrad.demo import SAMPLES
from fastvoicegrad.files import shown
from tests.cli.conftest import Inside
from tests.conftest import vowels


def run(*arguments: object, cwd: Path | None = None) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "fastvoicegrad", *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, cwd=cwd, timeout=120, check=False)


def test_the_run_time_never_imports_torch() -> None:
    code = (
        "import sys, fastvoicegrad, fastvoicegrad.cli, fastvoicegrad.converter, fastvoicegrad.demo\n"
        "fastvoicegrad.VoiceConverter.load()\n"
        "assert not {'torch', 'onnx', 'yaml'} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], check=True, timeout=60)


def test_convert(tmp_path: Path, speech_file: Path, reference_file: Path) -> None:
    out = tmp_path / "out\x1b[31m[bold].wav"
    done = run("convert", speech_file, "--to", reference_file, "--to", speech_file, "-o", out)
    assert done.returncode == 0, done.stderr
    assert "out\\x1b[31m[bold].wav" in done.stdout
    assert "\x1b" not in done.stdout + done.stderr
    assert "times as fast as real time" in done.stdout
    assert soundfile.info(out).frames == soundfile.info(speech_file).frames
    wave, _ = soundfile.read(out)
    assert 0.01 < np.sqrt(np.mean(wave**2)) < 0.5


def test_convert_by_json_rate_and_voice_file(tmp_path: Path, speech_file: Path, reference_file: Path) -> None:
    made = run("voice", "make", reference_file, "-o", tmp_path / "v.voice")
    assert made.returncode == 0, made.stderr
    done = run(
        "convert",
        speech_file,
        "--to",
        tmp_path / "v.voice",
        "-o",
        tmp_path / "o.flac",
        "--rate",
        16000,
        "--seed",
        3,
        "--steps",
        1,
        "--json",
        "--threads",
        1,
    )
    report = json.loads(done.stdout)
    assert report["rate"] == soundfile.info(tmp_path / "o.flac").samplerate == 16000
    assert report["samples"] == soundfile.info(tmp_path / "o.flac").frames
    stages = {"load", "read", "voice", "encoders", "converter", "vocoder", "audio"}
    assert set(report["stages"]) == stages
    assert report["warnings"] == []
    assert report["seed"] == 3


def test_info() -> None:
    done = run("info")
    assert done.returncode == 0
    assert "converter.onnx" in done.stdout
    assert json.loads(run("info", "--json").stdout)["max_steps"] == 1


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        (["convert", "none.wav", "--to", "ref.wav", "-o", "o.wav"], "no such file"),
        (["convert", "empty.wav", "--to", "ref.wav", "-o", "o.wav"], "is empty"),
        (["convert", "silent.wav", "--to", "ref.wav", "-o", "o.wav"], "is silent"),
        (["convert", "text.wav", "--to", "ref.wav", "-o", "o.wav"], "is not audio"),
        (["convert", "cut.wav", "--to", "ref.wav", "-o", "o.wav", "--strict"], "ends after"),
        (["convert", "nan.wav", "--to", "ref.wav", "-o", "o.wav"], "not numbers"),
        (["convert", "short.wav", "--to", "ref.wav", "-o", "o.wav"], "shorter than one frame"),
        (["convert", "ref.wav", "--to", "noise.wav", "-o", "o.wav"], "no speech"),
        (["convert", "ref.wav", "--to", "text.voice", "-o", "o.wav"], "no voice"),
        (["convert", "ref.wav", "--to", "ref.wav", "-o", "none/o.wav"], "not a folder"),
        (["convert", "ref.wav", "--to", "ref.wav", "-o", "o.doc"], "unknown kind"),
        (["convert", "ref.wav", "--to", "ref.wav", "-o", "ref.wav"], "is the source itself"),
        (["convert", "ref.wav", "--to", "ref.wav", "-o", "o.wav", "--bundle", "none"], "no such bundle"),
        (["convert", "ref.wav", "--to", "ref.wav", "-o", "o.wav", "--steps", "6"], "at most 1 step"),
        (["convert", "ref.wav", "--to", "ref.wav", "-o", "o.wav", "--rate", "100"], "between 8000 and 96000"),
        (["voice", "make", "ref.wav", "-o", "v.txt"], "must be named .voice"),
        (["info", "text.wav"], "is not audio"),
        (["info", "none.wav"], "none.wav: no such file or folder; check its name"),
        (["info", "x" * 300], "no such file or folder; check its name"),
        (["info", "text.voice"], "'fastvoicegrad voice show' describes it"),
    ],
)
def test_bad_input_is_one_line_and_exit_code_2(
    inside: Inside, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, arguments: list[str], text: str
) -> None:
    wave = vowels(1.0)
    for name, data in {
        "ref": wave,
        "silent": wave * 0,
        "short": wave[:500],
        "noise": np.random.default_rng(0).normal(0, 0.1, 44100),
        "nan": np.where(np.arange(len(wave)) == 9, np.nan, wave),
    }.items():
        soundfile.write(tmp_path / f"{name}.wav", data, 22050, "FLOAT" if name == "nan" else "PCM_16")
    (tmp_path / "empty.wav").touch()
    (tmp_path / "text.wav").write_text("not a recording" * 100)
    (tmp_path / "text.voice").write_text("not a voice")
    (tmp_path / "cut.wav").write_bytes((tmp_path / "ref.wav").read_bytes()[:9000])
    before = sorted(tmp_path.iterdir())
    monkeypatch.chdir(tmp_path)
    done = inside(*arguments)
    assert done.returncode == 2, done.stdout + done.stderr
    assert text in done.stderr
    assert done.stderr.startswith("fastvoicegrad: ")
    assert len(done.stderr.strip().splitlines()) == 1
    assert sorted(tmp_path.iterdir()) == before


def test_version_and_first_screen() -> None:
    assert run("--version").stdout.strip() == f"fastvoicegrad {fastvoicegrad.__version__}"
    screen = run("--help").stdout
    shown = re.findall(r"^. (\w+) +\w", screen.split("Commands")[1], flags=re.MULTILINE)
    assert shown == ["demo", "convert", "live", "serve", "ui", "adapt", "info", "voice", "dev"]


def test_info_gives_the_length_that_decodes_and_warns(inside: Inside, tmp_path: Path) -> None:
    soundfile.write(tmp_path / "whole.wav", vowels(2.0), 22050)
    (tmp_path / "cut.wav").write_bytes((tmp_path / "whole.wav").read_bytes()[:9044])
    broken = "ends after 0.2 s of the 2.0 s that its header gives"
    done = inside("info", tmp_path / "cut.wav")
    assert (done.returncode, done.stderr) == (0, f"fastvoicegrad: warning: {tmp_path / 'cut.wav'} {broken}\n")
    assert "seconds: 0.204\n" in done.stdout
    report = json.loads(inside("info", tmp_path / "cut.wav", "--json").stdout)
    assert report["warnings"] == [f"{tmp_path / 'cut.wav'} {broken}"]
    assert report["seconds"] == pytest.approx(4500 / 22050, abs=1e-6)
    soundfile.write(tmp_path / "one.wav", np.ones(1), 16000)
    assert "seconds: 0.000063\n" in inside("info", tmp_path / "one.wav").stdout
    assert inside("info", tmp_path / "whole.wav").stderr == ""


def test_info_reads_standard_input(tmp_path: Path) -> None:
    soundfile.write(tmp_path / "whole.wav", vowels(2.0), 22050)
    command = [sys.executable, "-m", "fastvoicegrad", "info", "-"]
    data = (tmp_path / "whole.wav").read_bytes()[:9044]
    done = subprocess.run(command, input=data, capture_output=True, timeout=60, check=True)
    assert b"rate: 22050" in done.stdout
    assert done.stderr.startswith(b"fastvoicegrad: warning: standard input ends after 0.2 s")
    bad = subprocess.run(command, input=b"no sound", capture_output=True, timeout=60, check=False)
    assert bad.returncode == 2
    assert bad.stderr.startswith(b"fastvoicegrad: standard input is not audio")


@pytest.mark.parametrize("command", ["prepare", "train", "export", "store", "pairs", "evaluate", "reproduce", "probe"])
def test_every_developer_command_has_help(inside: Inside, command: str) -> None:
    done = inside("dev", command, "--help")
    assert done.returncode == 0
    assert f"fastvoicegrad dev {command}" in done.stdout


def test_a_new_process_refuses_in_one_line(tmp_path: Path) -> None:
    done = run("convert", "none.wav", "--to", "ref.wav", "-o", "o.wav", cwd=tmp_path)
    assert (done.returncode, done.stdout) == (2, "")
    assert re.fullmatch("fastvoicegrad: none.wav: no such file.*\n", done.stderr)


def test_demo(tmp_path: Path) -> None:
    done = run("demo", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    folder = tmp_path / "fastvoicegrad-demo"
    assert {f.name for f in folder.iterdir()} == {"source.opus", "reference.opus", "converted.wav", "index.html"}
    source, _ = soundfile.read(folder / "source.opus")
    converted, _ = soundfile.read(folder / "converted.wav")
    assert len(converted) == len(source)
    assert np.abs(converted - source).max() > 0.05
    page = (folder / "index.html").read_text()
    assert all(name in page for name in ("source.opus", "reference.opus", "converted.wav"))
    result = (folder / "converted.wav").read_bytes()
    (folder / "converted.wav").unlink()
    (folder / "notes.txt").write_text("mine")
    (folder / "reference.opus").unlink()  # as if it had been stopped
    again = run("demo", cwd=tmp_path)
    assert again.returncode == 0, again.stderr
    assert (folder / "converted.wav").read_bytes() == result
    assert (folder / "notes.txt").read_text() == "mine"


def test_a_demo_that_was_stopped_is_made_again(inside: Inside, tmp_path: Path) -> None:
    """It had no time to write all of its first recording."""
    folder = tmp_path / "demo"
    assert inside("demo", folder, "--bundle", tmp_path / "none").returncode == 2
    assert not folder.exists()
    folder.mkdir()
    (folder / "source.opus").write_bytes((SAMPLES / "source.opus").read_bytes()[:1000])
    assert inside("demo", folder).returncode == 0
    assert audio.read_tags(folder / "converted.wav")["comment"].startswith("Converted speech: ")
    (folder / "index.html").unlink()
    (folder / "index.html").mkdir()
    assert inside("demo", folder).stderr.endswith("index.html is a folder; name a file in it\n")


def test_a_demo_keeps_away_from_other_folders(inside: Inside, tmp_path: Path) -> None:
    (tmp_path / "source.opus").write_text("mine")
    done = inside("demo", tmp_path)
    assert done.returncode == 2
    reason = f"{shown(tmp_path)} is not empty; name a new folder: fastvoicegrad demo NEW_FOLDER"
    assert done.stderr == f"fastvoicegrad: {reason}\n"
    assert [(path.name, path.read_text()) for path in tmp_path.iterdir()] == [("source.opus", "mine")]

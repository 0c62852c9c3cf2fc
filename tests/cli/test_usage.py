"""Wrong options and arguments: one line and exit code 2, by every command."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from fastvoicegrad.cli import app
from tests.cli.conftest import Inside


def commands() -> list[list[str]]:
    """The words of every command."""
    import typer.main

    found, waiting = [], [([], typer.main.get_command(app))]
    while waiting:
        words, command = waiting.pop()
        below = getattr(command, "commands", {})
        waiting += [([*words, name], child) for name, child in below.items()]
        found += [] if below else [words]
    return found


@pytest.mark.parametrize("words", commands(), ids=" ".join)
def test_an_unknown_option_is_one_line(inside: Inside, words: list[str]) -> None:
    done = inside(*words, "--nosuch")
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.startswith("fastvoicegrad: ")
    assert done.stderr.endswith("--help'\n")
    assert len(done.stderr.splitlines()) == 1


@pytest.mark.parametrize(
    ("words", "line"),
    [
        (
            ["convert", "a.wav", "--formant", "abc"],
            "invalid value for '--formant': .*number; see 'fastvoicegrad convert",
        ),
        (["convert", "a.wav", "--bitrate", "64k"], "invalid value for '--bitrate': .*whole number; see"),
        (["convert", "a.wav", "--bitrate", "-5"], "invalid value for '--bitrate': .*1.*; see"),
        (["convert", "a.wav", "--steps", "0"], "invalid value for '--steps': .*1.*; see"),
        (["convert", "a.wav", "--pauses", "off"], "invalid value for '--pauses': 'off' is not one of 'converted', "),
        (["live", "--to", "nora", "--gate", "nan"], "invalid value for '--gate': give a finite number; see"),
        (["live", "--to", "nora", "--seconds", "inf"], "invalid value for '--seconds': give a finite number; see"),
        (["live", "--to", "nora", "--seconds", "0"], "invalid value for '--seconds': give a number above 0; see"),
        (["serve", "--voices", ""], "invalid value for '--voices': it is empty; give it a name; see"),
        (["demo", ""], "invalid value for 'FOLDER': it is empty; give it a name; see"),
        (["convert"], "missing argument 'IN.*'; see 'fastvoicegrad convert --help'"),
        (["voice", "make"], "missing argument '.*'; see 'fastvoicegrad voice make --help'"),
        (["dev", "train", "teacher", "-o", "x"], "missing option '--recipe'; see 'fastvoicegrad dev train --help'"),
        (["conver"], "no such command 'conver'.*fastvoicegrad --help"),
        (["dev", "nosuch"], "no such command 'nosuch'; see 'fastvoicegrad dev --help'"),
        (["info", "a", "b"], "got unexpected extra argument"),
    ],
)
def test_wrong_usage_is_one_line_that_names_the_help(inside: Inside, words: list[str], line: str) -> None:
    done = inside(*words)
    assert (done.returncode, done.stdout) == (2, "")
    assert re.match(f"fastvoicegrad: {line}", done.stderr)
    assert len(done.stderr.splitlines()) == 1


def test_a_new_process_draws_no_box(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "fastvoicegrad", "convert", "a.wav", "--formant", "abc"]
    done = subprocess.run(command, capture_output=True, text=True, cwd=tmp_path, timeout=60, check=False)
    assert (done.returncode, done.stdout) == (2, "")
    assert len(done.stderr.splitlines()) == 1
    assert done.stderr.startswith("fastvoicegrad: invalid value for '--formant': ")


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs /dev/full")
@pytest.mark.parametrize("words", [["--version"], ["voice", "list"], ["voice", "list", "--json"]], ids=" ".join)
def test_a_full_disk_behind_standard_output_is_one_line(tmp_path: Path, words: list[str]) -> None:
    command = [sys.executable, "-m", "fastvoicegrad", *words]
    environment = os.environ | {"FASTVOICEGRAD_VOICES": str(tmp_path)}
    with open("/dev/full", "wb") as full:
        done = subprocess.run(command, stdout=full, stderr=subprocess.PIPE, env=environment, timeout=60, check=False)
    assert done.returncode == 2
    assert re.fullmatch(rb"fastvoicegrad: no room left .*\n", done.stderr)


def test_a_reader_that_has_ended_is_no_error() -> None:
    read, write = os.pipe()
    os.close(read)
    command = [sys.executable, "-m", "fastvoicegrad", "--version"]
    done = subprocess.run(command, stdout=write, stderr=subprocess.PIPE, timeout=60, check=False)
    os.close(write)
    assert (done.returncode, done.stderr) == (1, b"")


@pytest.mark.parametrize("words", [[], ["voice"], ["dev"]])
def test_a_group_alone_prints_its_help(inside: Inside, words: list[str]) -> None:
    done = inside(*words)
    assert "Commands" in done.stdout
    assert done.stderr == ""


def test_other_programs_may_run_a_command_without_an_end() -> None:
    import typer.main

    command = typer.main.get_command(app)
    assert command.main(["--version"], prog_name="fastvoicegrad", standalone_mode=False) == 0


@pytest.mark.parametrize("words", ["convert a.wav --to ", "convert a.wav --each ", "live --to ", "voice show "])
def test_the_shell_completes_voices(tmp_path: Path, words: str) -> None:
    line = f"fastvoicegrad {words}no"
    environment = {
        "_FASTVOICEGRAD_COMPLETE": "complete_bash",
        "COMP_WORDS": line,
        "COMP_CWORD": str(len(line.split()) - 1),
        "FASTVOICEGRAD_VOICES": str(tmp_path),
    }
    command = [sys.executable, "-m", "fastvoicegrad"]
    done = subprocess.run(command, env=os.environ | environment, capture_output=True, text=True, check=False)
    assert "nora" in done.stdout.split()

"""What ``fastvoicegrad adapt`` refuses before any work. Its trainings are in tests/training/adapt."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
import soundfile

from tests.conftest import RATE, vowels


@pytest.mark.parametrize(
    ("options", "text"),
    [
        ([], "give either -o NAME.voice for one voice, or --bundle-out FOLDER"),
        (["-o", "a.voice", "--bundle-out", "b"], "give either -o NAME.voice"),
        (["-o", "a.txt"], "must be named .voice"),
        (["-o", "a.voice", "--minutes", "nan"], "--minutes must lie between 0.1 and 10080, got nan"),
        (["-o", "none/a.voice"], "is not a folder"),
        (["-o", "a.voice", "--metric-weights", "none"], "none: no such folder of metric weights"),
        (["--bundle-out", "."], "exists already"),
    ],
)
def test_bad_options_are_one_line(tmp_path: Path, options: list[str], text: str) -> None:
    pytest.importorskip("torch")
    soundfile.write(tmp_path / "a.wav", vowels(1.0), RATE)
    command = [sys.executable, "-m", "fastvoicegrad", "adapt", "a.wav", *options]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 2, done.stderr
    assert text in done.stderr
    assert len(done.stderr.strip().splitlines()) == 1
    assert [path.name for path in tmp_path.iterdir()] == ["a.wav"]

"""The programs in examples/: short, and they run with the samples that ship."""

from __future__ import annotations

import importlib.util
import os
import re
import signal
import subprocess
import sys
from pathlib import Path

import pytest
import soundfile

EXAMPLES = Path(__file__).parents[1] / "examples"
SAMPLES = Path(__file__).parents[1] / "src" / "fastvoicegrad" / "samples"
MOST_LINES = 40
RESULTS = {
    "convert.py": ["converted.wav"],
    "folder.py": ["converted/source.flac", "converted/reference.flac"],
    "blend.py": [f"blend-{share:.2f}.wav" for share in (0, 0.25, 0.5, 0.75, 1)],
    "arrays.py": ["lower.wav"],
    "client.py": ["from-server.wav"],
}


def run(name: str, folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    """A program in a folder of its own, without the user's voices."""
    environment = {**os.environ, "FASTVOICEGRAD_VOICES": str(folder / "library")}
    command = [sys.executable, str(EXAMPLES / name), *arguments]
    return subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, timeout=300)


def sample_of(result: str) -> Path:
    """The sample that a result was made of."""
    return SAMPLES / ("reference.opus" if "reference" in result else "source.opus")


def check_results(name: str, folder: Path) -> None:
    """Each result is as long as its source, and another sound."""
    for result in RESULTS[name]:
        converted, rate = soundfile.read(folder / result)
        source, source_rate = soundfile.read(sample_of(result))
        assert len(converted) / rate == pytest.approx(len(source) / source_rate, abs=1e-3)
        assert abs(converted).max() > 0.05
        assert len(converted) != len(source) or abs(converted - source).max() > 0.05


def test_every_example_is_known() -> None:
    assert {path.name for path in EXAMPLES.glob("*.py")} == set(RESULTS)


@pytest.mark.parametrize("name", RESULTS)
def test_an_example_is_short(name: str) -> None:
    assert len((EXAMPLES / name).read_text(encoding="utf-8").splitlines()) <= MOST_LINES


@pytest.mark.parametrize("name", sorted(set(RESULTS) - {"client.py"}))
def test_an_example_runs_with_the_samples(name: str, tmp_path: Path) -> None:
    done = run(name, tmp_path)
    assert done.returncode == 0, done.stderr
    check_results(name, tmp_path)
    if name == "folder.py":  # the next time it skips what is done
        assert "skipped" not in done.stdout
        assert run(name, tmp_path).stdout.count("skipped") == 2


def test_an_error_is_one_line(tmp_path: Path) -> None:
    done = run("convert.py", tmp_path, "missing.wav", "missing.wav", "converted.wav")
    assert (done.returncode, done.stderr.count("\n")) == (1, 1)
    assert "missing.wav" in done.stderr


def test_the_client_converts_with_a_server(tmp_path: Path) -> None:
    if not importlib.util.find_spec("fastapi"):
        pytest.skip("needs the extra 'serve'")
    command = [sys.executable, "-m", "fastvoicegrad", "serve", "--port", "0", "--voices", str(tmp_path / "library")]
    variables = {**os.environ, "PYTHONUNBUFFERED": "1"}
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, env=variables, text=True
    ) as server:
        try:
            assert server.stdout is not None
            address = re.search(r"http://[\d.]+:\d+", server.stdout.readline())
            assert address is not None
            samples = [str(SAMPLES / "source.opus"), str(SAMPLES / "reference.opus")]
            done = run("client.py", tmp_path, address.group(0), *samples, "from-server.wav")
        finally:
            server.send_signal(signal.SIGINT)
            server.communicate(timeout=60)
    assert done.returncode == 0, done.stderr
    check_results("client.py", tmp_path)

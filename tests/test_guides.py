"""The guides: their commands and Python blocks run as they stand, in a folder with recordings of the names they use."""

from __future__ import annotations

import importlib.util
import os
import re
import shlex
import shutil
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path

import pytest
import soundfile

ROOT = Path(__file__).parents[1]
SAMPLES = ROOT / "src" / "fastvoicegrad" / "samples"
# tests/ui drives the page, tests/training/adapt its command, tests/live and tests/stream the streams.
TESTED_ELSEWHERE = {"page.md", "adapt.md", "live.md"}
PAGES = [ROOT / "README.md", ROOT / "docs" / "index.md", *sorted((ROOT / "docs" / "guides").glob("*.md"))]
PAGES = [page for page in PAGES if page.name not in TESTED_ELSEWHERE]
PORT = "8000"  # of the server in the guides
PATIENCE = 300  # seconds

BLOCK = re.compile(r"^```(sh|python)\n(.*?)^```", re.MULTILINE | re.DOTALL)


def blocks(text: str, language: str) -> list[str]:
    """The fenced blocks of a page in one language."""
    return [code for found, code in BLOCK.findall(text) if found == language]


def command_lines(script: str) -> list[str]:
    """The commands of a shell block, one each, without comments and without what installs packages."""
    lines = script.replace("\\\n", " ").splitlines()
    return [line for line in lines if (words := shlex.split(line, comments=True)) and words[0] != "pip"]


def is_endless(line: str) -> bool:
    """Whether a command runs until Ctrl-C."""
    words = shlex.split(line, comments=True)
    return "--watch" in words or words[:2] == ["fastvoicegrad", "serve"]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Recordings under the names that the guides use."""
    source, rate = soundfile.read(SAMPLES / "source.opus")
    reference, _ = soundfile.read(SAMPLES / "reference.opus")
    middle, shorter = len(reference) // 2, min(len(source), len(reference))
    sounds = {
        "talk.wav": source,
        "talk.mp3": source,
        "my-recording.wav": source,
        "ben.wav": source,
        "anna1.wav": reference[:middle],
        "anna2.wav": reference[middle:],
        "carla1.wav": reference[:middle],
        "carla2.wav": reference[middle:],
        "their-voice.wav": reference,
        "interview.wav": [*zip(source[:shorter], reference[:shorter], strict=True)],
        "talks/monday.wav": source[: 2 * rate],
        "talks/week 2/tuesday.flac": source[2 * rate :],
    }
    for name, wave in sounds.items():
        (tmp_path / name).parent.mkdir(exist_ok=True, parents=True)
        soundfile.write(tmp_path / name, wave, rate)
    (tmp_path / ".curlrc").write_text("fail\nsilent\nshow-error\n")  # an error of the server ends the test
    return tmp_path


@pytest.fixture
def environment(folder: Path) -> dict[str, str]:
    """Of a user who has installed the package, with a library of voices of their own."""
    path = os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])
    variables = {"PATH": path, "HOME": str(folder), "CURL_HOME": str(folder), "PYTHONUNBUFFERED": "1"}
    return {**os.environ, **variables, "FASTVOICEGRAD_VOICES": str(folder / "library")}


def run(command: Sequence[str], folder: Path, environment: dict[str, str]) -> None:
    done = subprocess.run(
        command, cwd=folder, env=environment, capture_output=True, text=True, errors="replace", timeout=PATIENCE
    )
    assert done.returncode == 0, f"{command[-1]}\n{done.stdout}\n{done.stderr}"


@contextmanager
def endless(line: str, folder: Path, environment: dict[str, str]) -> Iterator[None]:
    """A command that runs in the background, from its first line of output on, until Ctrl-C."""
    with subprocess.Popen(
        shlex.split(line),
        cwd=folder,
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),  # a background job ignores it
    ) as process:
        try:
            assert process.stdout is not None
            assert process.stdout.readline(), f"{line}: it ended at once"
            yield
        finally:
            process.send_signal(signal.SIGINT)
            rest, _ = process.communicate(timeout=PATIENCE)
        assert process.returncode in (0, 128 + signal.SIGINT), f"{line}\n{rest}"


def require(text: str) -> None:
    """Skips a page whose programs are not installed."""
    if not shutil.which("bash") or ("curl " in text and not shutil.which("curl")):
        pytest.skip("needs bash and curl")
    if "fastvoicegrad serve" in text and not importlib.util.find_spec("fastapi"):
        pytest.skip("needs the extra 'serve'")
    if "--watermark" in text and not importlib.util.find_spec("perth"):
        pytest.skip("needs the extra 'watermark'")


def free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return int(listener.getsockname()[1])


@pytest.mark.slow
@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_a_page_runs_as_it_stands(page: Path, folder: Path, environment: dict[str, str]) -> None:
    text, port = page.read_text(encoding="utf-8"), free_port()
    require(text)
    with ExitStack() as background:
        for line in (line for script in blocks(text, "sh") for line in command_lines(script)):
            line = line.replace(f":{PORT}", f":{port}")
            if is_endless(line):
                line += f" --port {port}" if "serve" in line else ""
                background.enter_context(endless(line, folder, environment))
            else:
                run(["bash", "-e", "-o", "pipefail", "-c", line], folder, environment)
    if code := blocks(text, "python"):
        run([sys.executable, "-c", "\n".join(code)], folder, environment)


def test_pages_have_commands_and_code() -> None:
    texts = [page.read_text(encoding="utf-8") for page in PAGES]
    assert sum(len(command_lines(script)) for text in texts for script in blocks(text, "sh")) > 30
    assert sum(len(blocks(text, "python")) for text in texts) > 5


def test_commands_are_found_as_a_reader_finds_them() -> None:
    script = "# a comment\npip install .\nfastvoicegrad convert a.wav \\\n    --to b.wav -o c.wav\n\ncat a | b\n"
    first, second = command_lines(script)
    assert " ".join(shlex.split(first)) == "fastvoicegrad convert a.wav --to b.wav -o c.wav"
    assert second == "cat a | b"


@pytest.mark.parametrize(
    ("line", "expected"),
    [("fastvoicegrad serve --port 1", True), ("fastvoicegrad convert a --watch", True), ("fastvoicegrad demo", False)],
)
def test_endless_commands_are_recognised(line: str, expected: bool) -> None:
    assert is_endless(line) is expected

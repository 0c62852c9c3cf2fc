"""A stopped command prints one line, whatever a library makes of the interruption."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

pytestmark = pytest.mark.skipif(os.name != "posix", reason="signals")

WORK = """
import signal, sys
for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):  # as in a terminal, also where a test runner ignores them
    signal.signal(number, signal.SIG_DFL)
import fastvoicegrad.__main__ as main, fastvoicegrad.cli as cli

def app(prog_name):
    try:
        signal.raise_signal(signal.{name})
    except BaseException as error:
        {reaction}
    sys.exit(0)

cli.app = app
main.run()
"""
REACTIONS = {
    "passes it on": "raise",
    "makes another error of it": "raise ImportError('initialization failed') from error",
    "loses it": "print('Exception ignored in a callback', file=sys.stderr)",
    "is asked again": "signal.raise_signal(signal.SIGTERM); raise",
}


@pytest.mark.parametrize(("name", "code"), [("SIGINT", 130), ("SIGTERM", 143), ("SIGHUP", 129)])
@pytest.mark.parametrize("reaction", REACTIONS)
def test_a_library_cannot_change_how_a_command_stops(name: str, code: int, reaction: str) -> None:
    work = WORK.format(name=name, reaction=REACTIONS[reaction])
    result = subprocess.run([sys.executable, "-c", work], capture_output=True, text=True, check=False)
    assert (result.returncode, result.stderr) == (code, "stopped\n")


def test_a_terminal_that_is_gone_changes_no_exit_code() -> None:
    work = WORK.format(name="SIGHUP", reaction="raise")
    process = subprocess.Popen([sys.executable, "-c", "import os; os.read(0, 1)\n" + work], stdin=-1, stderr=-1)
    assert process.stdin is not None
    assert process.stderr is not None
    process.stderr.close()
    process.stdin.write(b"x")
    process.stdin.close()
    assert process.wait(60) == 129


def test_a_signal_after_the_end_changes_nothing() -> None:
    work = WORK.replace("signal.raise_signal(signal.{name})", "pass").replace("{reaction}", "raise")
    work = "import atexit, signal; atexit.register(signal.raise_signal, signal.SIGTERM)\n" + work
    result = subprocess.run([sys.executable, "-c", work], capture_output=True, text=True, check=False)
    assert (result.returncode, result.stderr) == (0, "")


def test_what_waits_for_a_signal_goes_on_after_it() -> None:
    waiting = "with until_stopped(): signal.raise_signal(signal.SIGTERM)\n        print('warned', file=sys.stderr)"
    work = WORK.replace("signal.raise_signal(signal.{name})", waiting).replace("{reaction}", "raise")
    work = "from fastvoicegrad.stopping import until_stopped\n" + work
    result = subprocess.run([sys.executable, "-c", work], capture_output=True, text=True, check=False)
    assert (result.returncode, result.stderr) == (0, "stopped\nwarned\n")

"""Processes that others start: none outlives its parent, and the death of one is a line."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from concurrent.futures.process import BrokenProcessPool
from contextlib import suppress
from pathlib import Path

import pytest

from fastvoicegrad import InputError
from fastvoicegrad.evaluation.processes import deaths_in_one_line

PROGRAM = """
import multiprocessing, os, pathlib, sys, time

def child():
    print(os.getpid(), flush=True)
    while not pathlib.Path(sys.argv[1]).exists():
        time.sleep(0.02)
    from fastvoicegrad.evaluation.processes import end_with_parent
    end_with_parent()
    print("watches", flush=True)
    time.sleep(60)

if __name__ == "__main__":
    multiprocessing.get_context("spawn").Process(target=child).start()
    time.sleep(60)
"""


@pytest.mark.parametrize("earlier", [True, False])
def test_a_process_ends_with_its_parent(tmp_path: Path, earlier: bool) -> None:
    """Also where the parent was killed earlier, while the child imported its modules."""
    (tmp_path / "program.py").write_text(PROGRAM)
    program = [sys.executable, str(tmp_path / "program.py"), str(tmp_path / "ready")]
    parent = subprocess.Popen(program, stdout=subprocess.PIPE, text=True)
    assert parent.stdout is not None
    child = int(parent.stdout.readline())
    try:
        if not earlier:
            (tmp_path / "ready").touch()
            assert parent.stdout.readline() == "watches\n"
        parent.kill()
        parent.wait()
        (tmp_path / "ready").touch()
        parent.communicate(timeout=120)  # the pipe's end: no process writes to it any more
    finally:
        with suppress(ProcessLookupError):
            os.kill(child, signal.SIGKILL)


def test_the_death_of_a_process_is_one_line() -> None:
    with (
        pytest.raises(InputError, match="^a b failed: a process ended by itself, .*lack of memory; do c$"),
        deaths_in_one_line("a b failed", "do c"),
    ):
        raise BrokenProcessPool("terminated abruptly")

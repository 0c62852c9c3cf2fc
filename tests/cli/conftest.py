"""The command line in the process of the tests: a new process takes half a second to start."""

from __future__ import annotations

import subprocess
from collections.abc import Callable

import pytest

from fastvoicegrad.cli import app

Inside = Callable[..., "subprocess.CompletedProcess[str]"]


@pytest.fixture
def inside(capfd: pytest.CaptureFixture[str]) -> Inside:
    """Runs a command; its output is all that reaches the two streams, from libraries in C as well."""

    def run(*arguments: object) -> subprocess.CompletedProcess[str]:
        words = list(map(str, arguments))
        capfd.readouterr()
        with pytest.raises(SystemExit) as end:
            app(words, prog_name="fastvoicegrad")
        code = end.value.code
        assert isinstance(code, int)
        return subprocess.CompletedProcess(words, code, *capfd.readouterr())

    return run

"""How much memory a process has needed."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pytest

from fastvoicegrad import memory
from fastvoicegrad.memory import peak_mb


@pytest.mark.parametrize("status", ["Name:\tpython\nVmHWM:\t   51200 kB\nVmRSS:\t 1 kB\n"])
def test_the_peak_is_the_systems(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, status: str) -> None:
    (tmp_path / "status").write_text(status)
    monkeypatch.setattr(memory, "STATUS", tmp_path / "status")
    assert peak_mb() == 50.0


@pytest.mark.skipif(sys.platform == "win32", reason="there is no other measure")
@pytest.mark.parametrize("status", ["", "Name:\tpython\nVmRSS:\t 1 kB\n", "Name:\tVmHWM:\n", "VmHWM:\n"])
def test_a_system_that_gives_no_peak_has_another_measure(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, status: str
) -> None:
    (tmp_path / "status").write_text(status)
    monkeypatch.setattr(memory, "STATUS", tmp_path / "status")
    wave = np.ones(1 << 22)  # 32 MB
    assert wave.nbytes / (1 << 20) < peak_mb() < 1 << 20

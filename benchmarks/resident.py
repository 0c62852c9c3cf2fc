"""The memory that a process holds, for benchmarks that watch it."""

from __future__ import annotations

import sys
from pathlib import Path

PROCESSES = Path("/proc")


def needs_linux() -> None:
    """Ends with one line where the memory cannot be read."""
    if not (PROCESSES / "self" / "status").exists():
        sys.exit("this benchmark reads the memory of processes from /proc, which only Linux has; run it there")


def resident_mb(process: int | None = None) -> float:
    """Of a process by its number; None: of this one."""
    status = PROCESSES / str(process or "self") / "status"
    return float(status.read_text().split("VmRSS:")[1].split()[0]) / 1024

"""How much memory this process has needed, and what it gives back."""

from __future__ import annotations

import ctypes
import math
import sys
from pathlib import Path


def peak_mb() -> float:
    """Of this process so far; NaN on Windows.

    Linux hands ru_maxrss down from the process that started it, VmHWM it does not.
    """
    status = Path("/proc/self/status")
    if status.exists():
        return float(status.read_text().split("VmHWM:")[1].split()[0]) / 1024
    try:
        import resource
    except ImportError:
        return math.nan
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / (1 << 20 if sys.platform == "darwin" else 1 << 10)


def release_memory() -> None:
    """Give freed memory back to the system. glibc would keep what a network needed only while it was loaded."""
    if sys.platform == "linux" and (trim := getattr(ctypes.CDLL(None), "malloc_trim", None)):
        trim(0)

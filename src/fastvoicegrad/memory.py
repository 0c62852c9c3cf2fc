"""How much memory this process has needed, and what it gives back."""

from __future__ import annotations

import ctypes
import math
import re
import sys
from pathlib import Path

STATUS = Path("/proc/self/status")


def peak_mb() -> float:
    """Of this process so far; NaN on Windows.

    Linux hands ru_maxrss down from the process that started it, VmHWM it does not. Some sandboxes lack VmHWM.
    """
    if STATUS.exists() and (found := re.search(r"^VmHWM:\s*(\d+)", STATUS.read_text(), re.MULTILINE)):
        return float(found[1]) / 1024
    try:
        import resource
    except ImportError:
        return math.nan
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / (1 << 20 if sys.platform == "darwin" else 1 << 10)


def release_memory() -> None:
    """Give freed memory back to the system. glibc would keep what a network needed only while it was loaded."""
    if sys.platform == "linux" and (trim := getattr(ctypes.CDLL(None), "malloc_trim", None)):
        trim(0)

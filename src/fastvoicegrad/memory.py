"""How much memory this process has needed."""

from __future__ import annotations

from pathlib import Path


def peak_mb() -> float:
    """Of this process so far. Linux hands ru_maxrss down from the process that started it, VmHWM it does not."""
    status = Path("/proc/self/status")
    if status.exists():
        return float(status.read_text().split("VmHWM:")[1].split()[0]) / 1024
    import resource

    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024

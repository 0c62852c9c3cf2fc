"""How many CPU threads a conversion may use."""

from __future__ import annotations

import os
from pathlib import Path

MOST_THREADS = 8  # small networks gain nothing from more
CGROUP_QUOTA = Path("/sys/fs/cgroup/cpu.max")


def default_threads() -> int:
    """Cores that this process may use, 8 at most; ``OMP_NUM_THREADS`` may ask for fewer, or for more of them."""
    available = available_cores()
    wanted = os.environ.get("OMP_NUM_THREADS", "").split(",")[0]
    return min(available, int(wanted)) if wanted.isdecimal() and int(wanted) > 0 else min(available, MOST_THREADS)


def available_cores() -> int:
    """Cores of this process by affinity and cgroup quota, at least one."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return max(1, min(cores, _cgroup_cores(cores)))


def _cgroup_cores(otherwise: int) -> int:
    """Cores that a container's quota allows, rounded up."""
    try:
        quota, period = CGROUP_QUOTA.read_text().split()
        return -(-int(quota) // int(period))
    except (OSError, ValueError):  # no cgroup, or no quota: "max"
        return otherwise

"""How many CPU threads a conversion may use, and how it shares them with NumPy."""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from threadpoolctl import ThreadpoolController

MOST_THREADS = 8  # small networks gain nothing from more
CGROUP_QUOTA = Path("/sys/fs/cgroup/cpu.max")

_lock = threading.Lock()
_users = 0  # conversions that run now, in all threads of this process
_limit: Any = None  # what restores BLAS when the last of them ends


def default_threads() -> int:
    """Cores that this process may use: affinity, cgroup quota and ``OMP_NUM_THREADS`` are honoured, 8 at most."""
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


@contextmanager
def single_threaded_blas() -> Iterator[None]:
    """Limits BLAS to one thread for the whole process while any such block runs.

    The matrix products here are small. Idle BLAS workers busy-wait and would take cores from ONNX Runtime. Blocks may
    overlap in several threads: the last one that ends restores what the first one found.
    """
    global _users, _limit
    with _lock:
        if _users == 0:
            _limit = ThreadpoolController().limit(limits=1, user_api="blas")
        _users += 1
    try:
        yield
    finally:
        with _lock:
            _users -= 1
            if _users == 0:
                _limit.restore_original_limits()
                _limit = None

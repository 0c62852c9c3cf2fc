"""How many CPU threads a conversion may use."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

MOST_THREADS = 8  # small networks gain nothing from more
CGROUPS, OWN_CGROUPS = Path("/sys/fs/cgroup"), Path("/proc/self/cgroup")


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
    """Cores that the quotas of this process's cgroups and of those above them allow, rounded up."""
    try:
        lines = OWN_CGROUPS.read_text(encoding="utf-8", errors="surrogateescape").splitlines()
    except OSError:  # it is not Linux, or has no /proc
        lines = ["0::/"]
    cores = [otherwise]
    for _, controllers, name in (line.split(":", 2) for line in lines if line.count(":") >= 2):
        if not controllers:
            cores += _quotas(CGROUPS, name, ["cpu.max"])
        elif "cpu" in controllers.split(","):  # version 1
            cores += _quotas(CGROUPS / "cpu", name, ["cpu.cfs_quota_us", "cpu.cfs_period_us"])
    return min(cores)


def _quotas(top: Path, name: str, files: list[str]) -> Iterator[int]:
    """The quota of a cgroup and of each above it. A container sees its own as `top`, whatever its name."""
    own = top / name.strip("/")
    for folder in (own, *own.parents):
        if folder.is_relative_to(top):
            with suppress(OSError, ValueError):  # ValueError: no quota, "max" in version 2
                quota, period = " ".join((folder / file).read_text() for file in files).split()
                if int(quota) > 0:  # -1: no quota in version 1
                    yield -(-int(quota) // int(period))

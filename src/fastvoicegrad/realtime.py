"""Real-time priority: a thread that sound waits for runs before all ordinary ones, where the system grants it."""

from __future__ import annotations

import os

PRIORITY = 5  # of 1 to 99; sound servers have more


def prefer_thread() -> bool:
    """Give the calling thread real-time priority, and no process or thread that it starts.

    Linux grants it to root, and to users up to their limit `rtprio`. Elsewhere nothing changes.

    Returns:
        Whether the system granted it.
    """
    if not hasattr(os, "sched_setscheduler"):
        return False
    try:
        os.sched_setscheduler(0, os.SCHED_RR | os.SCHED_RESET_ON_FORK, os.sched_param(PRIORITY))
    except OSError:
        return False
    return True

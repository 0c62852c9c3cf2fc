"""How often a client may call: a sliding window."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable

WINDOW = 60.0  # seconds
MOST_CLIENTS = 10_000  # of which calls are remembered


class SlidingWindow:
    """Allows a number of calls per client in any 60 s.

    Args:
        most: calls.
        clock: gives seconds.
    """

    def __init__(self, most: int, clock: Callable[[], float] = time.monotonic) -> None:
        self.most, self.clock = most, clock
        self._calls: dict[str, deque[float]] = {}

    def wait(self, client: str) -> float:
        """Seconds until this client may call again; 0.0: now, and the call counts."""
        now = self.clock()
        calls = self._calls.setdefault(client, deque())
        while calls and calls[0] <= now - WINDOW:
            calls.popleft()
        if len(calls) >= self.most:
            return calls[0] + WINDOW - now
        calls.append(now)
        if len(self._calls) > MOST_CLIENTS:
            self._forget(now)
        return 0.0

    def _forget(self, now: float) -> None:
        """Drops clients that have not called for a while, or else the ones that are known longest."""
        for client in [c for c, calls in self._calls.items() if not calls or calls[-1] <= now - WINDOW]:
            del self._calls[client]
        while len(self._calls) > MOST_CLIENTS:
            del self._calls[next(iter(self._calls))]

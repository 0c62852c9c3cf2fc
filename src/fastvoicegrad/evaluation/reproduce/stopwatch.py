"""How long each part takes, over several starts of a command that may be killed."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

TICK = 5.0  # seconds between two writes; a kill loses at most so much


class Stopwatch:
    """Seconds by part, kept in a JSON file. Parts may run at once, each in a thread of its own."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.seconds: dict[str, float] = json.loads(path.read_text()) if path.exists() else {}
        self._lock = threading.Lock()

    @contextmanager
    def part(self, name: str) -> Iterator[None]:
        """Counts the time inside the block for a part."""
        done, before, started = threading.Event(), self.seconds.get(name, 0.0), time.monotonic()

        def tick() -> None:
            while not done.wait(TICK):
                self._put(name, before + time.monotonic() - started)

        ticking = threading.Thread(target=tick, daemon=True)
        ticking.start()
        try:
            yield
        finally:
            done.set()
            ticking.join()
            self._put(name, before + time.monotonic() - started)

    def _put(self, name: str, seconds: float) -> None:
        with self._lock:
            self.seconds[name] = seconds
            part = self.path.with_suffix(".part")
            part.write_text(json.dumps(self.seconds, indent=1) + "\n")
            part.replace(self.path)


def duration(seconds: float) -> str:
    """A time for people: "42 s", "7 min", "1 h 05 min"."""
    if seconds < 90:
        return f"{seconds:.0f} s"
    minutes = round(seconds / 60)
    return f"{minutes} min" if minutes < 60 else f"{minutes // 60} h {minutes % 60:02d} min"

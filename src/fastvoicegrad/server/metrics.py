"""Figures for Prometheus."""

from __future__ import annotations

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest
from starlette.types import Scope

from .jobs import JobQueue

SECONDS = (0.1, 0.2, 0.5, 1, 2, 5, 10, 20, 50, 100)  # bounds of the histograms


class Metrics:
    """Counters of one server.

    Attributes:
        refused: requests that were not let in, by reason.
        audio: seconds of converted recordings.
        first, whole: seconds from a job's start to its first and last output.
    """

    def __init__(self, queue: JobQueue) -> None:
        self.registry = CollectorRegistry()
        self.requests = self._counter("requests", "Answered requests", "method", "path", "status")
        self.refused = self._counter("refused", "Requests that were not let in", "reason")
        self.audio = self._counter("audio_seconds", "Converted recordings in seconds")
        self.first = self._histogram("first_output_seconds", "Time of a conversion to its first output")
        self.whole = self._histogram("conversion_seconds", "Time of a whole conversion")
        self._gauge("jobs_running", "Jobs in worker threads").set_function(lambda: queue.running)
        self._gauge("jobs_waiting", "Jobs that wait for a thread").set_function(lambda: queue.waiting)

    def _counter(self, name: str, text: str, *labels: str) -> Counter:
        return Counter(f"fastvoicegrad_{name}", text, labels, registry=self.registry)

    def _histogram(self, name: str, text: str) -> Histogram:
        return Histogram(f"fastvoicegrad_{name}", text, buckets=SECONDS, registry=self.registry)

    def _gauge(self, name: str, text: str) -> Gauge:
        return Gauge(f"fastvoicegrad_{name}", text, registry=self.registry)

    def count(self, scope: Scope, status: int) -> None:
        """Count an answered request; status 0: the connection ended without an answer."""
        path = getattr(scope.get("route"), "path", "other")
        method = scope["method"] if scope["method"] in ("GET", "HEAD", "POST", "DELETE") else "other"
        self.requests.labels(method, path, str(status)).inc()

    def text(self) -> bytes:
        """All figures in Prometheus' text format."""
        return generate_latest(self.registry)

"""What the service counts of itself."""

from __future__ import annotations

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, PlatformCollector, ProcessCollector
from prometheus_client.exposition import CONTENT_TYPE_LATEST, generate_latest

from covsvc.version import __version__

CONTENT_TYPE = CONTENT_TYPE_LATEST

_SECONDS = (0.002, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0)

_METHODS = ("GET", "HEAD", "POST", "OPTIONS", "PUT", "PATCH", "DELETE")


class Metrics:
    """Counters of requests, of maps and of refusals, as Prometheus reads them; names of clients are not among them."""

    def __init__(self) -> None:
        self._registry = CollectorRegistry()
        ProcessCollector(registry=self._registry)
        PlatformCollector(registry=self._registry)
        self._requests = Counter("covsvc_requests", "Answers", ["method", "route", "status"], registry=self._registry)
        self._seconds = Histogram(
            "covsvc_request_seconds", "Time until the end of an answer", ["route"], buckets=_SECONDS,
            registry=self._registry,
        )  # fmt: skip
        self._inside = Gauge("covsvc_requests_in_progress", "Requests that are being answered", registry=self._registry)
        self._prepared = Histogram(
            "covsvc_maps_seconds", "Time in which the maps of a commit were at hand", buckets=_SECONDS,
            registry=self._registry,
        )  # fmt: skip
        self._swapped = Counter(
            "covsvc_snapshots", "Times that main of a study was answered from another commit", ["study"],
            registry=self._registry,
        )  # fmt: skip
        self._cached = Counter("covsvc_answers_cached", "Answers that were at hand", registry=self._registry)
        Gauge("covsvc_build_info", "Version", ["version"], registry=self._registry).labels(__version__).set(1)

    def begin(self) -> None:
        """Count a request that begins."""
        self._inside.inc()

    def end(self, method: str, route: str, status: int, seconds: float) -> None:
        """Count a request that is answered; `route` is its pattern, of which there are few."""
        self._inside.dec()
        self._requests.labels(method if method in _METHODS else "other", route, status).inc()
        self._seconds.labels(route).observe(seconds)

    def prepared(self, seconds: float) -> None:
        """Count the maps of a commit."""
        self._prepared.observe(seconds)

    def answers_from(self, study: str) -> None:
        """Count that main of a study is answered from another commit from now on."""
        self._swapped.labels(study).inc()

    def cached(self) -> None:
        """Count an answer that was at hand."""
        self._cached.inc()

    def told(self) -> bytes:
        """Return all of it in the text format."""
        return generate_latest(self._registry)

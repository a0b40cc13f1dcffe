"""Prometheus metrics of the API process; the registry is the application's own, so that tests do not share counts."""

from __future__ import annotations

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest
from prometheus_client.exposition import CONTENT_TYPE_LATEST

CONTENT_TYPE = CONTENT_TYPE_LATEST


class Metrics:
    """Counts by operation, never by object: a label with tenants' names would grow without bound."""

    def __init__(self) -> None:
        self._registry = CollectorRegistry()
        self.requests = Counter(
            "wcp360_http_requests", "Requests answered.", ("operation", "status"), registry=self._registry
        )
        self.seconds = Histogram(
            "wcp360_http_request_seconds", "Time to answer.", ("operation",), registry=self._registry
        )
        self.streams = Gauge("wcp360_streams_open", "Open event streams.", registry=self._registry)
        self.dropped = Counter(
            "wcp360_streams_dropped", "Streams closed by the server.", ("reason",), registry=self._registry
        )

    def render(self) -> bytes:
        """Return the metrics as Prometheus reads them."""
        return generate_latest(self._registry)

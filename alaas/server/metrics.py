"""What Prometheus can read of the service. Labels never hold an address or a text."""

from __future__ import annotations

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest

from alaas import __version__
from alaas.core.wire import QueryResponse
from alaas.models.card import ModelCard

_SECONDS = (0.01, 0.03, 0.1, 0.3, 1, 3, 10, 30, 100, 300, 1000)


class Metrics:
    """The instruments of one server, in a registry of their own."""

    def __init__(self, card: ModelCard) -> None:
        self.registry = CollectorRegistry()
        self.requests = Counter(
            "alaas_http_requests_total", "HTTP requests by route, method and status.",
            ["route", "method", "status"], registry=self.registry,
        )  # fmt: skip
        self.request_seconds = Histogram(
            "alaas_http_request_duration_seconds", "Seconds from request to answer.",
            ["route"], buckets=_SECONDS, registry=self.registry,
        )  # fmt: skip
        self.in_flight = Gauge(
            "alaas_requests_in_flight", "Queries that are being answered.", registry=self.registry
        )
        self.stage_seconds = Counter(
            "alaas_stage_busy_seconds_total", "Seconds of work, over micro-batches and replicas.",
            ["stage"], registry=self.registry,
        )  # fmt: skip
        self.items = Counter(
            "alaas_items_total", "Items by outcome: ranked, or the code of their failure.",
            ["outcome", "code"], registry=self.registry,
        )  # fmt: skip
        model = Gauge(
            "alaas_model_info", "The loaded model.", ["name", "digest"], registry=self.registry
        )
        model.labels(card.name, card.digest).set(1)
        build = Gauge("alaas_build_info", "This build.", ["version"], registry=self.registry)
        build.labels(__version__).set(1)

    def answered(self, response: QueryResponse) -> None:
        """Count what one query did."""
        self.items.labels("ranked", "").inc(response.receipt.pool_size)
        for failure in response.failures:
            self.items.labels("failed", failure.code).inc()
        for stage, timing in response.timings.stages.items():
            self.stage_seconds.labels(stage).inc(timing.busy_s)

    def exposition(self) -> bytes:
        """Everything in Prometheus' text format."""
        return generate_latest(self.registry)

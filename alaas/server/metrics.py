"""What Prometheus can read of the service. Labels never hold an address or a text."""

from __future__ import annotations

import time
from collections.abc import Iterable

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest

from alaas import __version__
from alaas.core.wire import Failure, PoolInfo, PushResponse, QueryResponse, Timings
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
        self.stage_waits = Counter(
            "alaas_stage_wait_seconds_total", "Seconds for which micro-batches waited for a stage.",
            ["stage"], registry=self.registry,
        )  # fmt: skip
        self.stage_bytes = Counter(
            "alaas_stage_bytes_total", "Bytes that came out of a stage.",
            ["stage"], registry=self.registry,
        )  # fmt: skip
        self.hits = Counter(
            "alaas_cache_hits_total", "Items for which a stage had nothing to do.",
            ["stage"], registry=self.registry,
        )  # fmt: skip
        self.items = Counter(
            "alaas_items_total", "Items by outcome: ranked, or the code of their failure.",
            ["outcome", "code"], registry=self.registry,
        )  # fmt: skip
        self.rejected = Counter(
            "alaas_rejected_total", "Requests that were refused, by the code of their problem.",
            ["reason"], registry=self.registry,
        )  # fmt: skip
        self.queue_items = Gauge(
            "alaas_queue_items", "Items of documents that are held.", registry=self.registry
        )
        self.jobs = Gauge("alaas_jobs", "Jobs by state.", ["state"], registry=self.registry)
        self.job_seconds = Histogram(
            "alaas_job_duration_seconds", "Seconds from the start of a job to its end.",
            buckets=_SECONDS, registry=self.registry,
        )  # fmt: skip
        self._expiries: dict[str, float | None] = {}
        pools = Gauge(
            "alaas_pools", "Stored pools, as of the last listing.", registry=self.registry
        )
        pools.set_function(self._alive)
        model = Gauge(
            "alaas_model_info", "The loaded model.", ["name", "digest"], registry=self.registry
        )
        model.labels(card.name, card.digest).set(1)
        build = Gauge("alaas_build_info", "This build.", ["version"], registry=self.registry)
        build.labels(__version__).set(1)

    def answered(self, response: QueryResponse) -> None:
        """Count what one query did."""
        self._count(response.receipt.pool_size, response.failures, response.timings)

    def pushed(self, response: PushResponse) -> None:
        """Count what one push did."""
        self._count(response.pool.items, response.failures, response.timings)
        self._expiries[response.pool.name] = response.pool.expires

    def listed(self, pools: Iterable[PoolInfo]) -> None:
        """Note which pools are stored."""
        self._expiries = {pool.name: pool.expires for pool in pools}

    def deleted(self, name: str) -> None:
        """Note that a pool is stored no longer."""
        self._expiries.pop(name, None)

    def _alive(self) -> float:
        now = time.time()
        return sum(expires is None or expires > now for expires in self._expiries.values())

    def _count(self, ranked: int, failures: Iterable[Failure], timings: Timings) -> None:
        self.items.labels("ranked", "").inc(ranked)
        for failure in failures:
            self.items.labels("failed", failure.code).inc()
        for stage, timing in timings.stages.items():
            self.stage_seconds.labels(stage).inc(timing.busy_s)
            self.stage_waits.labels(stage).inc(timing.wait_s)
            self.stage_bytes.labels(stage).inc(timing.bytes)
            self.hits.labels(stage).inc(timing.hits)

    def exposition(self) -> bytes:
        """Everything in Prometheus' text format."""
        return generate_latest(self.registry)

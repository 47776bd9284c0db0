"""What Prometheus can read of the service.

Labels hold nothing that a caller wrote, no address and no key, so that the number of series
is bounded by the service itself.
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Mapping, Sequence
from typing import Literal

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from alaas import __version__
from alaas.core.types import Admitted, Spent
from alaas.core.wire import Failure, PoolInfo, PushResponse, QueryResponse, Timings
from alaas.models.card import ModelCard
from alaas.pipeline.stages import READ
from alaas.server.replicas import Replicas

Protocol = Literal["http", "websocket", "grpc"]

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"

BLOCKED = frozenset({"uri_blocked", "uri_invalid", "scheme_disabled", "too_many_redirects"})
"""Failures of addresses that the service did not read because it must not."""

_SECONDS = (0.01, 0.03, 0.1, 0.3, 1, 3, 10, 30, 100, 300, 1000)
_SHORT = (0.001, 0.003, 0.01, 0.03, 0.1, 0.3, 1, 3, 10, 30)
_KINDS: Mapping[Protocol, tuple[str, str]] = {
    "http": ("HTTP requests", "a request"),
    "websocket": ("Conversations by WebSocket", "a connection"),
    "grpc": ("gRPC calls", "a call"),
}


class Metrics:
    """The instruments of one server, in a registry of their own.

    Args:
        cards: The models that are served.
        others: What else is asked for its figures whenever ours are read.

    Attributes:
        registry: Where all of them are.
        labels: Name of every figure to the names of its labels.
    """

    def __init__(self, cards: Iterable[ModelCard], *, others: Iterable[Replicas] = ()) -> None:
        self.registry = CollectorRegistry()
        self.labels: dict[str, tuple[str, ...]] = {}
        self._calls = {kind: self._instruments(kind) for kind in _KINDS}
        self.in_flight = self._gauge(
            "requests_in_flight", "Queries and pushes that are being answered."
        )
        self.rejected = self._counter(
            "rejected_total", "Requests that were refused, by the code of their problem.", "reason"
        )
        self.queue_items = self._gauge("queue_items", "Items of documents that are held.")
        self.queue_wait = self._histogram(
            "queue_wait_seconds", "Seconds that a micro-batch waited for its turn.", _SHORT
        )
        self._count_stages()
        self.items = self._counter(
            "items_total", "Items of answered queries by outcome: ranked, or the code of their "
            "failure.", "outcome", "code",
        )  # fmt: skip
        self.jobs = self._gauge("jobs", "Jobs by state.", "state")
        self.job_seconds = self._histogram(
            "job_duration_seconds", "Seconds from the start of a job to its end.", _SECONDS
        )
        self._expiries: dict[str, float | None] = {}
        self._gauge("pools", "Stored pools, as of the last listing.").set_function(self._alive)
        model = self._gauge("model_info", "The loaded model.", "name", "digest")
        for card in cards:
            model.labels(card.name, card.digest).set(1)
        self._gauge("build_info", "This build.", "version").labels(__version__).set(1)
        for other in others:
            self.registry.register(other)
            self.labels.update(other.LABELS)

    def _instruments(self, kind: Protocol) -> tuple[Counter, Histogram]:
        several, one = _KINDS[kind]
        calls = f"{several} by route, method and status."
        seconds = f"Seconds from the start of {one} to its end."
        labels = ("route", "method")
        return (
            self._counter(f"{kind}_requests_total", calls, *labels, "status"),
            self._histogram(f"{kind}_request_duration_seconds", seconds, _SECONDS, *labels),
        )

    def _count_stages(self) -> None:
        self.stage_seconds = self._histogram(
            "stage_duration_seconds", "Seconds of work of a stage on a micro-batch; of admit on "
            "items that may be known already; of select on a whole pool.", _SHORT, "stage",
        )  # fmt: skip
        self.stage_waits = self._counter(
            "stage_wait_seconds_total", "Seconds for which micro-batches waited for a stage.",
            "stage",
        )  # fmt: skip
        self.stage_bytes = self._counter(
            "stage_bytes_total", "Bytes that came out of a stage.", "stage"
        )
        self.fetched = self._counter(
            "fetch_bytes_total", "Bytes of items that were read, by the scheme of their address.",
            "scheme",
        )  # fmt: skip
        self.blocked = self._counter(
            "fetch_blocked_total", "Items whose address must not be read, by the code of their "
            "failure.", "reason",
        )  # fmt: skip
        self.hits = self._counter(
            "cache_hits_total", "Items of answered queries for which a stage had nothing to do.",
            "stage",
        )  # fmt: skip
        self.misses = self._counter(
            "cache_misses_total", "Items of answered queries that a stage had to work on.", "stage"
        )
        self.corrupt = self._counter(
            "cache_corrupt_total", "Stored rows that were damaged, and were computed again."
        )

    def _counter(self, name: str, text: str, *labels: str) -> Counter:
        return Counter(self._named(name, labels), text, labels, registry=self.registry)

    def _gauge(self, name: str, text: str, *labels: str) -> Gauge:
        return Gauge(self._named(name, labels), text, labels, registry=self.registry)

    def _histogram(self, name: str, text: str, buckets: Sequence[float], *labels: str) -> Histogram:
        whole = self._named(name, labels)
        return Histogram(whole, text, labels, buckets=buckets, registry=self.registry)

    def _named(self, name: str, labels: tuple[str, ...]) -> str:
        self.labels[f"alaas_{name}"] = labels
        return f"alaas_{name}"

    def called(
        self, protocol: Protocol, route: str, method: str, status: str, *, seconds: float
    ) -> None:
        """Count one call.

        Args:
            protocol: How it came.
            route: Pattern of the route, never the path that the caller wrote.
            method: What was asked of it, one of a few.
            status: Of the answer.
            seconds: From its begin to its end.
        """
        calls, durations = self._calls[protocol]
        calls.labels(route, method, status).inc()
        durations.labels(route, method).observe(seconds)

    def admitted(self, admitted: Admitted, *, seconds: float) -> None:
        """Count what it took to know some items again, and what was damaged of them."""
        self.stage_seconds.labels("admit").observe(seconds)
        self.corrupt.inc(admitted.corrupt)

    def chosen(self, *, seconds: float) -> None:
        """Count one choice over a whole pool."""
        self.stage_seconds.labels("select").observe(seconds)

    def spent(self, spent: Mapping[str, Spent]) -> None:
        """Count what the stages spent on one micro-batch."""
        for stage, one in spent.items():
            self.stage_seconds.labels(stage).observe(one.busy_s)
            self.stage_waits.labels(stage).inc(one.wait_s)
            self.stage_bytes.labels(stage).inc(one.bytes)
            for name, count in one.counts.items():
                if name.startswith(READ):
                    self.fetched.labels(name.removeprefix(READ)).inc(count)

    def answered(self, response: QueryResponse) -> None:
        """Count what came of one query."""
        self._count(response.receipt.pool_size, response.failures, response.timings)

    def pushed(self, response: PushResponse) -> None:
        """Count what came of one push."""
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
            if failure.code in BLOCKED:
                self.blocked.labels(failure.code).inc()
        for stage in ("fetch", "infer"):
            if (timing := timings.stages.get(stage)) is not None:
                self.hits.labels(stage).inc(timing.hits)
                self.misses.labels(stage).inc(max(0, timing.items - timing.hits))

    def exposition(self) -> bytes:
        """Everything in Prometheus' text format."""
        return generate_latest(self.registry)

    def app(self) -> Starlette:
        """An application of nothing but ``/metrics``, for a port of its own."""

        async def metrics(_: Request) -> Response:
            return Response(self.exposition(), media_type=CONTENT_TYPE)

        return Starlette(routes=[Route("/metrics", metrics)])

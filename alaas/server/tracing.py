"""Traces by OpenTelemetry: where the time of one request went. None unless an endpoint is set.

A span a request, and below it one for each part of a pool that is looked up, one for each
micro-batch with its stages, and one for the choice. The gateway makes them all: what stages
spent comes back with every micro-batch, so that executors need to know nothing of it. The
context of a caller is continued; none is sent on to the servers that hold the items, since
they are strangers. No address and no text of a caller stands in a span.
"""

from __future__ import annotations

import os
import re
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING, TypeAlias

from opentelemetry import trace
from opentelemetry.context import Context
from opentelemetry.trace import Span, SpanKind, Status, StatusCode, Tracer
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

from alaas import __version__
from alaas.config.operation import TracingSettings
from alaas.core.types import Spent
from alaas.core.wire import STAGES

if TYPE_CHECKING:
    from opentelemetry.sdk.trace import TracerProvider

Attributes: TypeAlias = Mapping[str, str | int]

FLUSH_S = 3.0
"""Seconds that spans get to be sent when the service stops."""

_ENDPOINTS = ("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "OTEL_EXPORTER_OTLP_ENDPOINT")
_PATH = "/v1/traces"
_PROPAGATOR = TraceContextTextMapPropagator()


class Tracing:
    """Makes spans, and has them sent in the background.

    The variables ``OTEL_*`` of OpenTelemetry are respected: for headers, certificates,
    sampling, and further attributes of the resource.

    Args:
        settings: Where to send them; by default as ``OTEL_EXPORTER_OTLP_ENDPOINT`` says.
        name: Name of the service.
    """

    def __init__(self, settings: TracingSettings, name: str = "alaas") -> None:
        self._tracer: Tracer = trace.NoOpTracer()
        self._provider: TracerProvider | None = None
        if settings.endpoint is None and not any(os.environ.get(one) for one in _ENDPOINTS):
            return
        # Half a second and some threads, that nobody else needs to pay.
        from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
        from opentelemetry.sdk.resources import Resource
        from opentelemetry.sdk.trace import TracerProvider
        from opentelemetry.sdk.trace.export import BatchSpanProcessor

        about = Resource.create({"service.name": name, "service.version": __version__})
        self._provider = TracerProvider(resource=about, shutdown_on_exit=False)
        exporter = OTLPSpanExporter(endpoint=_whole(settings.endpoint))
        self._provider.add_span_processor(BatchSpanProcessor(exporter))
        self._tracer = self._provider.get_tracer("alaas", __version__)

    @contextmanager
    def request(self, name: str, headers: Mapping[str, str]) -> Iterator[Span]:
        """A span of a whole request, below that of the caller where it names one.

        Args:
            name: Of the span, until more is known.
            headers: Of the request, or its metadata; names in lower case.
        """
        caller = _PROPAGATOR.extract(headers, context=Context())
        with self._tracer.start_as_current_span(
            name, context=caller, kind=SpanKind.SERVER, record_exception=False
        ) as span:
            yield span

    @contextmanager
    def span(self, name: str, attributes: Attributes | None = None) -> Iterator[Span]:
        """A span below the present one."""
        # Exceptions are in the log, under the request's id and without secrets.
        with self._tracer.start_as_current_span(
            name, attributes=attributes, record_exception=False, set_status_on_exception=False
        ) as span:
            try:
                yield span
            except BaseException as error:
                span.set_status(Status(StatusCode.ERROR, type(error).__name__))
                raise

    def stages(self, spent: Mapping[str, Spent]) -> None:
        """The spans of stages that a micro-batch has gone through, below its own.

        Args:
            spent: Stage name to what it spent.
        """
        whole = trace.get_current_span()
        if not whole.is_recording():
            return
        moment: int = getattr(whole, "start_time", 0)
        for stage in STAGES:
            if (one := spent.get(stage)) is None:
                continue
            moment += round(one.wait_s * 1e9)
            span = self._tracer.start_span(
                stage,
                start_time=moment,
                attributes={"alaas.wait_s": one.wait_s, "alaas.bytes": one.bytes},
            )
            moment += round(one.busy_s * 1e9)
            span.end(end_time=moment)

    def close(self) -> None:
        """Send what waits, for a few seconds at most. Blocks."""
        if self._provider is None:
            return
        # By itself it tries for half a minute where the collector does not answer.
        sending = threading.Thread(target=self._provider.shutdown, daemon=True)
        sending.start()
        sending.join(FLUSH_S)


def trace_id() -> str:
    """The id of the present trace in hexadecimal; empty where there is none.

    A caller may name one although none is drawn here.
    """
    context = trace.get_current_span().get_span_context()
    return trace.format_trace_id(context.trace_id) if context.is_valid else ""


def _whole(endpoint: str | None) -> str | None:
    """The address that takes traces, of a collector whose address may be given without path."""
    if endpoint is None or re.search(r"://[^/]+/.+", endpoint):
        return endpoint
    return endpoint.rstrip("/") + _PATH

"""What a collector of traces is sent: one tree a request, and no word of a caller."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread
from typing import Any

import asgi_calls
import grpc
import pytest
import structlog
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.trace.v1.trace_pb2 import Span
from test_metrics import Reading, body, listening
from test_pipeline_engine import Toy, in_time

from alaas.config import Settings
from alaas.config.operation import TracingSettings
from alaas.core.wire import STAGES
from alaas.proto.alaas.v1 import active_learning_pb2 as pb
from alaas.proto.alaas.v1 import active_learning_pb2_grpc as stubs
from alaas.server import http
from alaas.server.metrics import Metrics
from alaas.server.models import Models
from alaas.server.service import Service
from alaas.server.tracing import Tracing

SENTINEL = "s3nt1nel"
TRACE, CALLER = "0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331"
PARENT = f"00-{TRACE}-{CALLER}-01"


class Collector:
    """A collector that takes OTLP over HTTP.

    Attributes:
        url: Where it is.
        paths: Where it was sent something.
        requests: What it was sent.
    """

    def __init__(self) -> None:
        self.paths: list[str] = []
        self.requests: list[ExportTraceServiceRequest] = []
        taken = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                sent = self.rfile.read(int(self.headers["Content-Length"]))
                taken.paths.append(self.path)
                taken.requests.append(ExportTraceServiceRequest.FromString(sent))
                self.send_response(200)
                self.end_headers()

            def log_message(self, *_: Any) -> None:
                """Say nothing."""

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server.server_port}"

    @property
    def spans(self) -> list[Span]:
        return [
            span
            for request in self.requests
            for resource in request.resource_spans
            for scope in resource.scope_spans
            for span in scope.spans
        ]

    @property
    def about(self) -> dict[str, str]:
        """What is said of the service."""
        (resource, *_) = self.requests[0].resource_spans
        return {one.key: one.value.string_value for one in resource.resource.attributes}


@pytest.fixture
def collector() -> Iterator[Collector]:
    one = Collector()
    thread = Thread(target=one.server.serve_forever)
    thread.start()
    yield one
    one.server.shutdown()
    thread.join()
    one.server.server_close()


def traced(engine: Toy, endpoint: str | None) -> Service:
    tracing = Tracing(TracingSettings(endpoint=endpoint), "mine")
    return Service(Models([engine]), Settings(), Metrics([engine.card]), tracing)


def attributes(span: Span) -> dict[str, Any]:
    return {
        one.key: getattr(one.value, one.value.WhichOneof("value") or "") for one in span.attributes
    }


def ask(service: Service, document: Any, **headers: str) -> asgi_calls.Answer:
    app = http.create_app(service)
    return in_time(asgi_calls.request(app, "POST", "/query", document, headers=headers))


def test_a_query_is_a_tree(collector: Collector) -> None:
    service = traced(Reading(batch_size=3), collector.url)
    answer = ask(service, body(6), traceparent=PARENT, **{"X-Request-ID": "mine-1"})
    assert answer.status == 200
    service.tracing.close()
    assert set(collector.paths) == {"/v1/traces"}
    assert collector.about["service.name"] == "mine"
    spans = collector.spans
    (root,) = [span for span in spans if span.name == "POST /query"]
    assert {span.trace_id.hex() for span in spans} == {TRACE}
    assert root.parent_span_id.hex() == CALLER
    assert root.kind == Span.SPAN_KIND_SERVER
    assert attributes(root) == {
        "alaas.request_id": "mine-1", "alaas.status": "200", "http.route": "/query",
    }  # fmt: skip
    below = [span.name for span in spans if span.parent_span_id == root.span_id]
    assert sorted(below) == ["admit", "micro-batch", "micro-batch", "select"]
    for batch in (span for span in spans if span.name == "micro-batch"):
        stages = [span for span in spans if span.parent_span_id == batch.span_id]
        assert [span.name for span in sorted(stages, key=begin)] == list(STAGES)
        seconds = [(end(span) - begin(span)) / 1e9 for span in sorted(stages, key=begin)]
        assert seconds == [8.0, 4.0, 2.0, 1.0]  # what the toy says that they took
        assert begin(min(stages, key=begin)) - begin(batch) == 500_000_000  # the wait of fetch


def begin(span: Span) -> int:
    return int(span.start_time_unix_nano)


def end(span: Span) -> int:
    return int(span.end_time_unix_nano)


def test_lines_name_the_trace(collector: Collector) -> None:
    service = traced(Toy(), collector.url)
    with structlog.testing.capture_logs([structlog.contextvars.merge_contextvars]) as written:
        ask(service, body(), traceparent=PARENT)
    assert {line["trace_id"] for line in written} == {TRACE}
    service.tracing.close()


def test_no_word_of_a_caller_is_sent(collector: Collector) -> None:
    service = traced(Toy(), collector.url)
    uri = f"https://{SENTINEL}:{SENTINEL}@host/{SENTINEL}?sig={SENTINEL}"
    document = {"data": [{"id": SENTINEL, "uri": uri}], "parameters": {"budget": 1}}
    headers = {"Authorization": f"Bearer {SENTINEL}", "Cookie": SENTINEL, "User-Agent": SENTINEL}
    assert ask(service, document, **headers).status == 200
    wrong = {**document, "parameters": {"budget": SENTINEL}}
    assert ask(service, wrong, **headers).status == 422
    service.tracing.close()
    assert len(collector.spans) >= 4
    assert SENTINEL.encode() not in b"".join(one.SerializeToString() for one in collector.requests)


def test_a_failed_request_is_marked(collector: Collector) -> None:
    class Failing(Toy):
        async def process(self, *_: Any) -> Any:
            raise ValueError(SENTINEL)

    service = traced(Failing(), collector.url)
    assert ask(service, body()).status == 500
    service.tracing.close()
    marked = {span.name for span in collector.spans if span.status.code == 2}
    assert marked == {"POST /query", "micro-batch"}
    assert not [event for span in collector.spans for event in span.events]


def test_a_grpc_call_continues_the_trace_of_its_caller(collector: Collector) -> None:
    async def story() -> None:
        service = traced(Toy(), collector.url)
        server, target = await listening(service)
        async with grpc.aio.insecure_channel(target) as channel:
            asked = pb.QueryRequest(
                parameters=pb.Parameters(budget=1), items=[pb.Item(id="a", uri="u")]
            )
            metadata = (("traceparent", PARENT),)
            await stubs.ActiveLearningStub(channel).Query(asked, metadata=metadata)
        await server.stop(5)
        await asyncio.to_thread(service.tracing.close)

    in_time(story())
    (root,) = [span for span in collector.spans if span.parent_span_id.hex() == CALLER]
    assert root.name == "Query /alaas.v1.ActiveLearning"
    assert attributes(root)["alaas.status"] == "OK"
    below = {span.name for span in collector.spans if span.parent_span_id == root.span_id}
    assert below == {"admit", "micro-batch", "select"}


def test_probes_are_not_drawn(collector: Collector) -> None:
    service = traced(Toy(), collector.url)
    app = http.create_app(service)
    for path in ("/livez", "/models"):
        assert in_time(asgi_calls.request(app, "GET", path)).status == 200
    service.tracing.close()
    assert [span.name for span in collector.spans] == ["GET /models"]


def test_callers_may_ask_for_no_trace(collector: Collector) -> None:
    service = traced(Toy(), collector.url)
    assert ask(service, body(), traceparent=f"00-{TRACE}-{CALLER}-00").status == 200
    assert ask(service, body(), traceparent="nonsense").status == 200
    service.tracing.close()
    assert TRACE not in {span.trace_id.hex() for span in collector.spans}
    assert len({span.trace_id for span in collector.spans}) == 1


@pytest.mark.parametrize("path", ["", "/", "/v1/traces", "/of/others"])
def test_where_traces_are_sent(collector: Collector, path: str) -> None:
    service = traced(Toy(), collector.url + path)
    ask(service, body())
    service.tracing.close()
    assert set(collector.paths) == {path if len(path) > 1 else "/v1/traces"}


def test_the_environment_says_where_as_well(
    collector: Collector, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", collector.url)
    service = traced(Toy(), None)
    ask(service, body())
    service.tracing.close()
    assert set(collector.paths) == {"/v1/traces"}


def test_without_an_endpoint_nothing_is_drawn(monkeypatch: pytest.MonkeyPatch) -> None:
    """And OpenTelemetry's machinery is not even loaded."""
    for name in [name for name in sys.modules if name.startswith("opentelemetry.sdk")]:
        monkeypatch.delitem(sys.modules, name)
    service = traced(Toy(), None)
    with structlog.testing.capture_logs([structlog.contextvars.merge_contextvars]) as written:
        assert ask(service, body(), traceparent=PARENT).status == 200
    service.tracing.close()
    assert {line["trace_id"] for line in written} == {TRACE}  # the caller's, to be found by
    assert not [name for name in sys.modules if name.startswith("opentelemetry.sdk")]

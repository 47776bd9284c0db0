"""What is counted, under which names, and that callers cannot make series of their own."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import asgi_calls
import grpc
import pytest
import structlog
from asgi_calls import Answer
from prometheus_client.parser import text_string_to_metric_families
from test_pipeline_engine import SPENT, Toy, in_time, pool, source
from test_service import Storing

from alaas.config import Settings
from alaas.config.listeners import Listener
from alaas.core.types import Admitted, Items, Plan, Scored, Spent
from alaas.core.wire import Failure
from alaas.proto.alaas.v1 import active_learning_pb2 as pb
from alaas.proto.alaas.v1 import active_learning_pb2_grpc as stubs
from alaas.server import grpc as ours
from alaas.server import http
from alaas.server.metrics import Metrics
from alaas.server.models import Models
from alaas.server.observed import TimedSlots
from alaas.server.replicas import Replicas
from alaas.server.service import Service
from alaas.server.status import StageStatus, Status

SENTINEL = "s3nt1nel"

PROMISED = {
    "alaas_http_requests_total": {"route", "method", "status"},
    "alaas_http_request_duration_seconds": {"route", "method"},
    "alaas_websocket_requests_total": {"route", "method", "status"},
    "alaas_websocket_request_duration_seconds": {"route", "method"},
    "alaas_grpc_requests_total": {"route", "method", "status"},
    "alaas_grpc_request_duration_seconds": {"route", "method"},
    "alaas_requests_in_flight": set(),
    "alaas_queue_items": set(),
    "alaas_queue_wait_seconds": set(),
    "alaas_rejected_total": {"reason"},
    "alaas_stage_duration_seconds": {"stage"},
    "alaas_stage_wait_seconds_total": {"stage"},
    "alaas_stage_bytes_total": {"stage"},
    "alaas_items_total": {"outcome", "code"},
    "alaas_fetch_bytes_total": {"scheme"},
    "alaas_fetch_blocked_total": {"reason"},
    "alaas_cache_hits_total": {"stage"},
    "alaas_cache_misses_total": {"stage"},
    "alaas_cache_corrupt_total": set(),
    "alaas_replicas": {"stage", "state"},
    "alaas_replica_restarts_total": {"stage", "reason"},
    "alaas_jobs": {"state"},
    "alaas_job_duration_seconds": set(),
    "alaas_pools": set(),
    "alaas_model_info": {"name", "digest"},
    "alaas_build_info": {"version"},
}


def served(engine: Toy | None = None, runtime: Path | None = None) -> Service:
    engine = engine or Toy()
    others = () if runtime is None else [Replicas(runtime)]
    return Service(Models([engine]), Settings(), Metrics([engine.card], others=others))


def figures(service: Service) -> dict[tuple[str, str], float]:
    """What is exposed: name and labels, but for buckets, to value."""
    read: dict[tuple[str, str], float] = {}
    for family in text_string_to_metric_families(service.metrics.exposition().decode()):
        for sample in family.samples:
            if not sample.name.endswith(("_bucket", "_created")):
                labels = ",".join(f"{key}={sample.labels[key]}" for key in sorted(sample.labels))
                read[sample.name, labels] = sample.value
    return read


def ask(service: Service, method: str, path: str, *sent: Any, **more: Any) -> Answer:
    """Ask the service's application over HTTP."""
    return in_time(asgi_calls.request(http.create_app(service), method, path, *sent, **more))


def body(size: int = 5, **parameters: Any) -> dict[str, Any]:
    return {"data": [f"u{row}" for row in range(size)], "parameters": {"budget": 2, **parameters}}


def test_the_promised_names_and_labels(tmp_path: Path) -> None:
    Status(stages={"infer": StageStatus(wanted=1)}).write(tmp_path)
    metrics = served(runtime=tmp_path).metrics
    assert {name: set(labels) for name, labels in metrics.labels.items()} == PROMISED
    exposed = {
        family.name + ("_total" if family.type == "counter" else "")
        for family in metrics.registry.collect()
    }
    assert exposed == set(PROMISED)


def test_a_request_is_counted_by_its_route() -> None:
    service = served()
    assert ask(service, "POST", "/query", body()).status == 200
    assert ask(service, "POST", "/query", {}).status == 422
    found = figures(service)
    assert found["alaas_http_requests_total", "method=POST,route=/query,status=200"] == 1
    assert found["alaas_http_requests_total", "method=POST,route=/query,status=422"] == 1
    assert found["alaas_http_request_duration_seconds_count", "method=POST,route=/query"] == 2


async def harass(service: Service) -> None:
    """Write one's own words wherever a caller can write some."""
    app = http.create_app(service)
    for row in range(20):
        name = f"{SENTINEL}{row}"
        for method, path, sent, headers in (
            ("GET", f"/{name}?{name}={name}", None, {}),
            (name.upper(), "/query", None, {}),
            ("GET", "/livez", None, {"X-Request-ID": name, "traceparent": name}),
            ("GET", "/models", None, {"Host": f"{name}.example"}),
            ("GET", f"/pools/{name}", None, {}),
            ("DELETE", f"/pools/{name}", None, {}),
            ("POST", "/query", body(strategy=name), {}),
            ("POST", "/query", {"data": [{"id": name, "uri": name}], name: name}, {}),
            ("POST", "/query", name, {"Content-Type": name}),
        ):
            await asgi_calls.request(app, method, path, sent, headers=headers)


def test_callers_make_no_series() -> None:
    """Neither by paths, nor by methods, nor by headers, nor by what is in a body."""
    service = served(Storing(None))
    in_time(harass(service))
    before = set(figures(service))
    in_time(harass(service))
    assert set(figures(service)) == before
    assert SENTINEL not in service.metrics.exposition().decode().lower()
    routes = {
        labels.partition("route=")[2].partition(",")[0]
        for name, labels in before
        if name == "alaas_http_requests_total"
    }
    assert routes == {"unknown", "/query", "/livez", "/models", "/pools/{name:path}"}


def test_an_error_of_ours_has_an_answer_an_id_and_a_line() -> None:
    service = served()
    service.strategies = lambda: [1 / 0]  # type: ignore[assignment,method-assign,list-item]
    with structlog.testing.capture_logs([structlog.contextvars.merge_contextvars]) as written:
        answer = ask(service, "GET", "/strategies", headers={"X-Request-ID": "mine"})
    assert (answer.status, answer.json()["code"]) == (500, "internal")
    assert answer.json()["instance"] == "urn:alaas:request:mine"
    assert answer.headers["X-Request-ID"] == "mine"
    assert b"division" not in answer.body
    (line,) = written
    assert (line["request_id"], line["log_level"], line["exc_info"]) == ("mine", "error", True)
    found = figures(service)
    assert found["alaas_http_requests_total", "method=GET,route=/strategies,status=500"] == 1


@pytest.mark.parametrize(
    ("given", "taken"),
    [
        ("order-66_a.B", True),
        ("x" * 64, True),
        ("x" * 65, False),
        ("", False),
        ("a b", False),
        ("a/b", False),
        ("{id}", False),
        ("a\n", False),
        ("\xe4", False),
    ],
)
def test_the_id_of_a_caller(given: str, taken: bool) -> None:
    answer = ask(served(), "POST", "/query", body(), headers={"X-Request-ID": given})
    named = answer.headers["X-Request-ID"]
    assert answer.json()["header"]["requestId"] == named
    assert (named == given) is taken
    assert taken or len(named) == 32


class Noting(Toy):
    """A toy that notes the names of queries."""

    def __init__(self) -> None:
        super().__init__()
        self.names: set[str] = set()

    async def admit(self, plan: Plan, items: Items) -> Admitted:
        self.names.add(plan.query)
        return await super().admit(plan, items)


def test_the_same_id_twice_is_no_obstacle() -> None:
    """Not even at the same time: inside, every query has a name of its own."""
    engine = Noting()
    app = http.create_app(served(engine))

    async def query() -> list[str]:
        headers = {"X-Request-ID": "again"}
        answer = await asgi_calls.request(app, "POST", "/query", body(9), headers=headers)
        assert answer.status == 200, answer.body
        return [one["id"] for one in answer.json()["data"]]

    async def story() -> None:
        first, second = await asyncio.gather(query(), query())
        assert first == second == await query()

    in_time(story())
    assert len(engine.names) == 3
    assert not [name for name in engine.names if name.startswith("again")]


def test_a_conversation_is_counted() -> None:
    service = served()
    app = http.create_app(service)

    def converse(*messages: Any, **headers: str) -> dict[str, Any]:
        answer = in_time(asgi_calls.converse(app, "/ws", messages, headers=headers))
        return {"id": answer.headers["X-Request-ID"], **json.loads((answer.texts or ["{}"])[-1])}

    whole = ({"type": "query", **body()}, {"type": "end"})
    answer = converse(*whole, **{"X-Request-ID": "mine"})
    assert (answer["type"], answer["header"]["requestId"], answer["id"]) == (
        "result", "mine", "mine",
    )  # fmt: skip
    for wrong in ({"type": "push", "data": [], "parameters": {}}, {"type": SENTINEL}):
        refused = converse(wrong)
        assert refused["problem"]["instance"].endswith(refused["id"])
    converse({"type": "query", **body()}, None)
    found = figures(service)
    calls = {labels: n for (name, labels), n in found.items() if "websocket_requests_t" in name}
    assert calls == {
        "method=query,route=/ws,status=200": 1,
        "method=push,route=/ws,status=422": 1,
        "method=unknown,route=/ws,status=422": 1,
        "method=query,route=/ws,status=499": 1,
    }
    assert found["alaas_websocket_request_duration_seconds_count", "method=query,route=/ws"] == 2


def test_a_grpc_call_is_counted() -> None:
    reached, left = asyncio.Event(), asyncio.Event()

    async def hold(_: Items) -> None:
        reached.set()
        try:
            await asyncio.Event().wait()
        finally:
            left.set()

    async def story() -> dict[tuple[str, str], float]:
        service = served()
        server, target = await listening(service)
        async with grpc.aio.insecure_channel(target) as channel:
            stub = stubs.ActiveLearningStub(channel)
            asked = pb.QueryRequest(
                parameters=pb.Parameters(budget=2),
                items=[pb.Item(id=f"i{row}", uri="u") for row in range(3)],
            )
            answer = await stub.Query(asked, metadata=(("x-request-id", "mine"),))
            assert answer.request_id == "mine"
            with pytest.raises(grpc.aio.AioRpcError) as refused:
                await stub.Query(pb.QueryRequest(), metadata=(("x-request-id", "mine"),))
            (problem,) = [
                value
                for key, value in refused.value.trailing_metadata() or ()
                if key == "alaas-problem-bin"
            ]
            assert json.loads(problem)["instance"] == "urn:alaas:request:mine"
            with pytest.raises(grpc.aio.AioRpcError):
                await channel.unary_unary("/alaas.v1.ActiveLearning/S3nt1nel")(b"")
            engine = service.engine
            assert isinstance(engine, Toy)
            engine.during = hold
            stream = stub.QueryStream()
            part = pb.QueryPart(parameters=asked.parameters, items=asked.items)
            await stream.write(part)
            await stream.done_writing()
            await reached.wait()
            stream.cancel()
            await left.wait()
            await server.stop(5)
        return figures(service)

    found = in_time(story())
    calls = {labels: n for (name, labels), n in found.items() if "grpc_requests_total" in name}
    route = "route=/alaas.v1.ActiveLearning"
    assert calls == {
        f"method=Query,{route},status=OK": 1,
        f"method=Query,{route},status=INVALID_ARGUMENT": 1,
        f"method=QueryStream,{route},status=CANCELLED": 1,
    }


async def listening(service: Service) -> tuple[grpc.aio.Server, str]:
    """A gRPC server of the service, and where it listens."""
    with free_port() as port:
        listener = Listener("grpc", "127.0.0.1", port, False, ("grpc",))
    return await ours.serve(service, listener, None), f"127.0.0.1:{port}"


@contextmanager
def free_port() -> Iterator[int]:
    import socket

    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        yield probe.getsockname()[1]


class Reading(Toy):
    """A toy whose stages read, know again, and find damage."""

    async def admit(self, plan: Plan, items: Items) -> Admitted:
        return replace(await super().admit(plan, items), corrupt=2)

    async def process(self, plan: Plan, items: Items) -> Scored:
        scored = await super().process(plan, items)
        fetch = Spent(8.0, 0.5, 100, {"read_https": 70, "read_file": 30})
        return replace(scored, spent={**scored.spent, "fetch": fetch})


def test_what_stages_spend_is_counted_as_it_happens() -> None:
    lost = [
        Failure("i0", "fetch", "uri_blocked", "no"),
        Failure("i1", "fetch", "fetch_timeout", "no"),
    ]
    service = served(Reading(batch_size=3, lost=lost))
    in_time(service.query({"budget": 2}, source([pool(6)])))
    found = figures(service)
    for stage, spent in SPENT.items():
        assert found["alaas_stage_duration_seconds_sum", f"stage={stage}"] == 2 * spent.busy_s
        assert found["alaas_stage_duration_seconds_count", f"stage={stage}"] == 2
    assert found["alaas_stage_duration_seconds_count", "stage=select"] == 1
    assert found["alaas_stage_duration_seconds_count", "stage=admit"] == 1
    assert found["alaas_stage_wait_seconds_total", "stage=fetch"] == 1.0
    assert found["alaas_stage_bytes_total", "stage=fetch"] == 200
    assert found["alaas_fetch_bytes_total", "scheme=https"] == 140
    assert found["alaas_fetch_bytes_total", "scheme=file"] == 60
    assert found["alaas_cache_corrupt_total", ""] == 2
    assert found["alaas_items_total", "code=,outcome=ranked"] == 4
    assert found["alaas_items_total", "code=fetch_timeout,outcome=failed"] == 1
    assert found["alaas_fetch_blocked_total", "reason=uri_blocked"] == 1
    assert ("alaas_fetch_blocked_total", "reason=fetch_timeout") not in found
    assert found["alaas_cache_misses_total", "stage=infer"] == 4
    assert found["alaas_cache_hits_total", "stage=infer"] == 0


def test_the_canary_is_no_work() -> None:
    service = served(Storing(None))
    in_time(service.check())
    assert ("alaas_stage_duration_seconds_count", "stage=infer") not in figures(service)


def test_waiting_for_a_turn_is_counted() -> None:
    async def story() -> dict[tuple[str, str], float]:
        service = served()
        slots = TimedSlots(1, waits=service.metrics.queue_wait)
        await slots.acquire("a")
        second = asyncio.create_task(slots.acquire("b"))
        await asyncio.sleep(0)
        assert figures(service)["alaas_queue_wait_seconds_count", ""] == 1
        slots.release("a")
        await second
        return figures(service)

    assert in_time(story())["alaas_queue_wait_seconds_count", ""] == 2


def test_replicas_are_those_of_the_status(tmp_path: Path) -> None:
    service = served(runtime=tmp_path)
    assert not [name for name, _ in figures(service) if "replica" in name]
    stages = {"infer": StageStatus(wanted=3, ready=1, starting=1, restarts={"killed": 4})}
    Status(state="ready", stages=stages).write(tmp_path)
    found = figures(service)
    states = {labels: n for (name, labels), n in found.items() if name == "alaas_replicas"}
    assert states == {
        "stage=infer,state=ready": 1,
        "stage=infer,state=starting": 1,
        "stage=infer,state=silent": 0,
        "stage=infer,state=missing": 1,
    }
    assert found["alaas_replica_restarts_total", "reason=killed,stage=infer"] == 4
    assert found["alaas_replica_restarts_total", "reason=hung,stage=infer"] == 0


def test_a_port_of_its_own_has_nothing_but_figures() -> None:
    app = served().metrics.app()
    answer = in_time(asgi_calls.request(app, "GET", "/metrics"))
    assert answer.headers["Content-Type"].startswith("text/plain; version=0.0.4")
    assert b"alaas_build_info" in answer.body
    for path in ("/", "/query", "/docs", "/openapi.json", "/readyz"):
        assert in_time(asgi_calls.request(app, "GET", path)).status == 404

"""Nonsense gets a clear answer, with one code over every protocol."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import grpc
import pytest
import requests
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection_pb2, reflection_pb2_grpc

from alaas.client import Client
from alaas.core import errors
from alaas.proto.alaas.v1 import active_learning_pb2 as pb
from alaas.proto.alaas.v1 import active_learning_pb2_grpc as stubs
from alaas.server import Server

JSON = {"Content-Type": "application/json"}


def post(
    server: Server, body: bytes | str, path: str = "/query", **headers: str
) -> requests.Response:
    return requests.post(
        server.urls["http"] + path, data=body, headers={**JSON, **headers}, timeout=60
    )


ONE = '"data": [{"uri": "a.png"}]'


@pytest.mark.parametrize(
    ("body", "status", "code", "pointer"),
    [
        ("{", 400, "malformed_json", None),
        ("", 400, "malformed_json", None),
        ("[" * 100_000, 400, "malformed_json", None),
        ("[]", 422, "validation", ""),
        ('{"data": [], "parameters": {"budget": 1}}', 422, "empty_input", None),
        ('{"parameters": {"budget": 1}}', 422, "empty_input", None),
        ('{"data": 5, "parameters": {"budget": 1}}', 422, "validation", "/data"),
        ('{"data": [7], "parameters": {"budget": 1}}', 422, "validation", "/data/0"),
        ('{"data": [{}], "parameters": {"budget": 1}}', 422, "validation", "/data/0"),
        (f"{{{ONE}}}", 422, "validation", "/parameters/budget"),
        (f'{{{ONE}, "parameters": {{"budget": 0}}}}', 422, "validation", "/parameters/budget"),
        (f'{{{ONE}, "parameters": {{"budget": -2}}}}', 422, "validation", "/parameters/budget"),
        (f'{{{ONE}, "parameters": {{"budget": "many"}}}}', 422, "validation", "/parameters/budget"),
        (f'{{{ONE}, "parameters": {{"budget": 1.5}}}}', 422, "validation", "/parameters/budget"),
        (f'{{{ONE}, "parameters": {{"budget": true}}}}', 422, "validation", "/parameters/budget"),
        (f'{{{ONE}, "parameters": {{"budget": NaN}}}}', 422, "validation", None),
        (
            f'{{{ONE}, "parameters": {{"budget": 1, "seed": -1}}}}',
            422, "validation", "/parameters/seed",
        ),
        (
            f'{{{ONE}, "parameters": {{"budget": 1, "params": {{"x": 1}}}}}}',
            422, "validation", "/parameters/params/x",
        ),
        (
            f'{{{ONE}, "parameters": {{"budget": 1, "strategy": "LeastConfidense"}}}}',
            404, "unknown_strategy", None,
        ),
        (
            '{"data": [{"id": "a", "uri": "x"}, {"id": "a", "uri": "y"}], "parameters": '
            '{"budget": 1}}',
            422, "validation", "/data/1/id",
        ),
        (f'{{{ONE}, "parameters": {{"budget": 1}}}}', 422, "all_items_failed", "/data/0"),
    ],
)  # fmt: skip
def test_http_names_what_is_wrong(
    server: Server, body: str, status: int, code: str, pointer: str | None
) -> None:
    answer = post(server, body)
    problem = answer.json()
    assert (answer.status_code, problem["code"]) == (status, code), problem
    assert answer.headers["Content-Type"] == "application/problem+json"
    assert problem["status"] == status
    assert answer.headers["X-Request-ID"] in problem["instance"]
    if pointer is not None:
        assert problem["errors"][0]["pointer"] == pointer


def test_other_paths_types_and_endpoints(server: Server) -> None:
    body = f'{{{ONE}, "parameters": {{"budget": 1}}}}'
    assert post(server, body, "/nothing").json()["code"] == "not_found"
    get = requests.get(server.urls["http"] + "/query", timeout=60)
    assert (get.status_code, get.json()["code"]) == (405, "method_not_allowed")
    assert get.headers["Allow"] == "POST"
    odd = post(server, body, **{"Content-Type": "text/plain"})
    assert (odd.status_code, odd.json()["code"]) == (415, "unsupported_media_type")
    old = post(server, body.replace('"data"', '"execEndpoint": "/update", "data"', 1), "/post")
    assert (old.status_code, old.json()["code"]) == (404, "not_found")


@pytest.mark.parametrize("protocol", ["http", "ws", "grpc"])
@pytest.mark.parametrize(
    ("items", "arguments", "expected"),
    [
        ([], {"budget": 1}, errors.EmptyInput),
        (["x"], {"budget": 0}, errors.ValidationFailed),
        (["x"], {"budget": 1, "strategy": "Nothing"}, errors.UnknownStrategy),
        (["x"], {"budget": 1, "params": {"y": 2}}, errors.ValidationFailed),
        (["nothing.png"], {"budget": 1}, errors.AllItemsFailed),
        (["nothing.png"], {"budget": 1, "on_item_error": "fail"}, errors.ItemFailed),
    ],
)
def test_the_client_raises_what_the_server_meant(
    server: Server,
    protocol: str,
    items: list[str],
    arguments: dict[str, Any],
    expected: type[errors.AlaasError],
) -> None:
    with Client(server.urls[protocol]) as client, pytest.raises(expected) as raised:
        client.query(items, **arguments)
    assert type(raised.value) is expected


def test_a_budget_above_the_pool_gives_all_of_it(server: Server, photos: Path) -> None:
    paths = [str(path) for path in sorted(photos.iterdir())[:7]]
    for protocol in ("http", "ws", "grpc"):
        with Client(server.urls[protocol]) as client:
            result = client.query(paths, 100)
        assert sorted(pick.uri for pick in result) == paths
        assert [warning.code for warning in result.warnings] == ["budget_exceeds_pool"]


def test_a_deadline_ends_a_query(server: Server, photos: Path) -> None:
    paths = [str(path) for path in sorted(photos.iterdir())]
    with Client(server.urls["grpc"]) as client:
        with pytest.raises(errors.DeadlineExceeded):
            client.query(paths, 5, timeout_s=0.001)
        assert len(client.query(paths[:50], 5)) == 5


def test_probes_and_catalogue(server: Server) -> None:
    def get(path: str) -> requests.Response:
        return requests.get(server.urls["http"] + path, timeout=60)

    assert get("/livez").json() == {"status": "alive"}
    assert get("/readyz").json() == {"status": "ready"}
    listed = {one["name"]: one for one in get("/strategies").json()["strategies"]}
    assert "LC" in listed["least_confidence"]["aliases"]
    (model,) = get("/models").json()["models"]
    assert (model["name"], model["classes"], model["dim"]) == ("networks:tiny", 5, 64)
    assert "/query" in get("/openapi.json").json()["paths"]
    assert "swagger" in get("/docs").text.lower()
    figures = get("/metrics").text
    assert f'alaas_model_info{{digest="{model["digest"]}",name="networks:tiny"}} 1.0' in figures
    assert "alaas_stage_duration_seconds" in figures


def test_grpc_speaks_the_standard_services(server: Server) -> None:
    with grpc.insecure_channel(server.urls["grpc"].removeprefix("grpc://")) as channel:
        health = health_pb2_grpc.HealthStub(channel)
        for name in ("", "alaas.v1.ActiveLearning"):
            status = health.Check(health_pb2.HealthCheckRequest(service=name), timeout=60).status
            assert status == health_pb2.HealthCheckResponse.SERVING
        with pytest.raises(grpc.RpcError) as unknown:
            health.Check(health_pb2.HealthCheckRequest(service="nothing"), timeout=60)
        assert unknown.value.code() == grpc.StatusCode.NOT_FOUND
        asked = reflection_pb2.ServerReflectionRequest(list_services="")
        stub = reflection_pb2_grpc.ServerReflectionStub(channel)
        (answer,) = stub.ServerReflectionInfo(iter([asked]), timeout=60)
        names = {service.name for service in answer.list_services_response.service}
        assert "alaas.v1.ActiveLearning" in names


def test_grpc_unary_and_its_errors(server: Server, photos: Path) -> None:
    paths = [str(path) for path in sorted(photos.iterdir())[:30]]
    with grpc.insecure_channel(server.urls["grpc"].removeprefix("grpc://")) as channel:
        stub = stubs.ActiveLearningStub(channel)
        items = [pb.Item(uri=path) for path in paths]
        answer = stub.Query(
            pb.QueryRequest(parameters=pb.Parameters(budget=4), items=items), timeout=60
        )
        with Client(server.urls["http"]) as client:
            assert [pick.uri for pick in answer.picks] == client.query_by_uri(paths, budget=4)
        with pytest.raises(grpc.RpcError) as refused:
            stub.Query(pb.QueryRequest(parameters=pb.Parameters(budget=4)), timeout=60)
        assert refused.value.code() == grpc.StatusCode.INVALID_ARGUMENT
        assert dict(refused.value.trailing_metadata())["alaas-code"] == "empty_input"
        with pytest.raises(grpc.RpcError) as empty:
            stub.Query(
                pb.QueryRequest(parameters=pb.Parameters(budget=4), items=[pb.Item()]), timeout=60
            )
        assert dict(empty.value.trailing_metadata())["alaas-code"] == "validation"
        listed = stub.Strategies(pb.StrategiesRequest(), timeout=60).strategies
        assert "KCG" in {name for one in listed for name in one.aliases}


def test_broken_unicode_and_long_names_are_answered(server: Server) -> None:
    odd = post(server, '{"data": [{"id": "\\ud800", "uri": "x"}], "parameters": {"budget": 1}}')
    assert (odd.status_code, odd.json()["errors"][0]["pointer"]) == (422, "/data/0/id")
    lost = post(server, '{"data": [{"uri": "\\ud800"}], "parameters": {"budget": 1}}').json()
    assert lost["code"] == "all_items_failed"
    assert "uri_invalid" in lost["errors"][0]["message"]
    for protocol in ("http", "ws", "grpc"):
        with Client(server.urls[protocol]) as client:
            for name in ("x" * 4_000, "\N{GRINNING FACE}" * 4_000):
                with pytest.raises(errors.UnknownStrategy):
                    client.query(["x"], 1, strategy=name)
            with pytest.raises(errors.ValidationFailed):
                client.query([{"id": "y" * 9_000, "uri": "x"}] * 2, 1)

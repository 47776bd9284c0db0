"""One contract: the same over every protocol, and as `openapi.json` says it."""

from __future__ import annotations

import base64
from collections.abc import Callable
from typing import Any

import grpc
import pytest
from faults import WAIT_S, Running

from alaas.client import Client
from alaas.core.errors import AlaasError
from alaas.proto.alaas.v1 import active_learning_pb2 as pb
from alaas.proto.alaas.v1 import active_learning_pb2_grpc as stubs
from alaas.proto.convert import parameters_to_message

Documents = list[dict[str, Any]]
Outcome = str | dict[str, Any]
"""The code of an error, or what an answer says."""

Ask = Callable[[Running, Documents, dict[str, Any]], Outcome]

BAD: Documents = [
    {"id": "noise", "blob": base64.b64encode(b"not a picture").decode()},
    {"id": "private", "uri": "http://127.0.0.1/a.png"},
    {"id": "outside", "uri": "/etc/hostname"},
    {"id": "scheme", "uri": "ftp://example.com/a.png"},
    {"id": "text", "text": "a sentence"},
]
LABELLED = [{"id": f"known {row}", "label": row % 3} for row in range(6)]


def by_http(server: Running, items: Documents, parameters: dict[str, Any]) -> Outcome:
    answer = server.post("/query", {"data": items, "parameters": parameters})
    document = answer.json()
    if answer.status_code != 200:
        assert document["status"] == answer.status_code
        return str(document["code"])
    return told(
        [(one["id"], one["score"]) for one in document["data"]],
        [(one["id"], one["code"]) for one in document["failures"]],
        [one["code"] for one in document["warnings"]],
    )


def by_grpc(server: Running, items: Documents, parameters: dict[str, Any]) -> Outcome:
    read = {"blob": base64.b64decode, "uri": str, "text": str, "id": str}
    messages = [
        pb.Item(**{name: read[name](value) for name, value in one.items()})  # type: ignore[operator]
        for one in items
    ]
    request = pb.QueryRequest(parameters=parameters_to_message(parameters), items=messages)
    with grpc.insecure_channel(server.addresses["grpc"].removeprefix("grpc://")) as channel:
        try:
            answer = stubs.ActiveLearningStub(channel).Query(request, timeout=WAIT_S)
        except grpc.RpcError as error:
            return str(dict(error.trailing_metadata())["alaas-code"])
    return told(
        [(one.id, one.score) for one in answer.picks],
        [(one.id, one.code) for one in answer.failures],
        [one.code for one in answer.warnings],
    )


def by_client(scheme: str) -> Ask:
    def ask(server: Running, items: Documents, parameters: dict[str, Any]) -> Outcome:
        given = {**parameters}
        with Client(server.addresses[scheme], progress=False) as client:
            try:
                pool = None if given.get("pool") else items
                answer = client.query(pool, given.pop("budget"), **given)
            except AlaasError as error:
                return error.code
        return told(
            [(one.id, one.score) for one in answer],
            [(one.id, one.code) for one in answer.failures],
            [one.code for one in answer.warnings],
        )

    return ask


def told(
    picks: list[tuple[str, float]], failures: list[tuple[str, str]], warnings: list[str]
) -> dict[str, Any]:
    return {"picks": picks, "failures": sorted(failures), "warnings": warnings}


WAYS: dict[str, Ask] = {
    "http": by_http,
    "grpc": by_grpc,
    "client, http": by_client("http"),
    "client, ws": by_client("ws"),
    "client, grpc": by_client("grpc"),
}


def ask_all(server: Running, items: Documents, parameters: dict[str, Any]) -> Outcome:
    """What every way answers; all must agree."""
    answers = {name: ask(server, items, parameters) for name, ask in WAYS.items()}
    first = answers["http"]
    assert answers == dict.fromkeys(WAYS, first)
    return first


@pytest.mark.parametrize(
    "parameters",
    [
        {"budget": 3},
        {"budget": 3, "strategy": "entropy"},
        {"budget": 4, "strategy": "RandomSampling", "seed": 5},
        {"budget": 4, "strategy": "KCenterGreedy"},
        {"budget": 3, "strategy": "entropy", "params": {"max_pool": 10}, "seed": 2},
        {"budget": 2, "cache": False},
        {"budget": 2, "timeout_s": WAIT_S},
    ],
    ids=str,
)
def test_row79_every_way_to_ask_picks_the_same(
    server: Running, blobs: Documents, parameters: dict[str, Any]
) -> None:
    answer = ask_all(server, blobs, parameters)
    assert isinstance(answer, dict), answer
    assert len(answer["picks"]) == parameters["budget"]
    assert not answer["failures"]


def test_row79_failures_and_warnings_are_the_same(server: Running, blobs: Documents) -> None:
    answer = ask_all(server, [*BAD, *blobs], {"budget": 100})
    assert isinstance(answer, dict), answer
    assert dict(answer["failures"]) == {
        "noise": "not_an_image",
        "private": "uri_blocked",
        "outside": "uri_blocked",
        "scheme": "scheme_disabled",
        "text": "wrong_modality",
    }
    assert answer["warnings"] == ["budget_exceeds_pool"]
    assert len(answer["picks"]) == len(blobs)


def test_row79_a_stored_pool_and_labelled_items_pick_the_same(
    server: Running, blobs: Documents
) -> None:
    pushed = server.post("/push", {"data": blobs, "parameters": {"pool": "twenty"}})
    assert pushed.status_code == 200, pushed.text
    stored = ask_all(server, [], {"budget": 3, "pool": "twenty"})
    sent = ask_all(server, blobs, {"budget": 3})
    assert isinstance(stored, dict)
    assert isinstance(sent, dict)
    assert stored["picks"] == sent["picks"]
    known = [{**one, "blob": blobs[row]["blob"]} for row, one in enumerate(LABELLED)]
    asked = {"budget": 3, "strategy": "CAL", "labelled": known}
    assert isinstance(ask_all(server, blobs[6:], asked), dict)


@pytest.mark.parametrize(
    ("items", "parameters", "code"),
    [
        (None, {"budget": 0}, "validation"),
        (None, {"budget": 2.5}, "validation"),
        (None, {"budget": 1, "seed": -1}, "validation"),
        (None, {"budget": 1, "params": {"nothing": 1}}, "validation"),
        (None, {"budget": 1, "timeout_s": -1}, "validation"),
        (None, {"budget": 1, "on_item_error": "perhaps"}, "validation"),
        (None, {"budget": 1, "strategy": "CAL"}, "validation"),
        ([{"id": "a", "uri": "x"}, {"id": "a", "uri": "y"}], {"budget": 1}, "validation"),
        ([], {"budget": 1}, "empty_input"),
        (None, {"budget": 1, "strategy": "Nothing"}, "unknown_strategy"),
        ([], {"budget": 1, "pool": "nowhere"}, "unknown_pool"),
        (None, {"budget": 1, "strategy": "GSy"}, "view_unavailable"),
        (None, {"budget": 4, "params": {"per_class": 1}}, "budget_unfillable"),
        (BAD, {"budget": 1}, "all_items_failed"),
        (BAD, {"budget": 1, "on_item_error": "fail"}, "item_failed"),
        (None, {"budget": 1, "timeout_s": 1e-9}, "deadline"),
    ],
    ids=str,
)
def test_row79_every_way_to_ask_is_refused_with_the_same_code(
    server: Running,
    blobs: Documents,
    items: Documents | None,
    parameters: dict[str, Any],
    code: str,
) -> None:
    assert ask_all(server, blobs if items is None else items, parameters) == code

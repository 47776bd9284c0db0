"""Requests that are wrong, or odd, get a clear answer; never a 500."""

from __future__ import annotations

import gzip
import json
from collections.abc import Iterator
from typing import Any

import pytest
import requests
from faults import WAIT_S, Running
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from small_server import JSON, LINES, Answer, SmallServer, lines, pool, query, request, serving


@pytest.fixture(scope="module")
def small() -> Iterator[SmallServer]:
    with serving() as server:
        yield server


def posted(server: SmallServer, body: bytes, kind: str = JSON, **headers: str) -> Answer:
    return server.send(request(body, kind=kind, **headers))


def pointers(answer: Answer) -> list[str]:
    return [error["pointer"] for error in answer.json()["errors"]]


@pytest.mark.parametrize(
    "body",
    [b"", b"{", b"\xff\xfe", b'{"data": [],}', b"{'data': []}", b"{} {}", b"query", b"\x00"],
    ids=str,
)
def test_row01_what_is_not_json_is_malformed(small: SmallServer, body: bytes) -> None:
    answer = posted(small, body)
    assert (answer.status, answer.json()["code"]) == (400, "malformed_json")
    assert answer.headers["content-type"] == "application/problem+json"
    in_lines = posted(small, lines(2) + (body or b"{") + b"\n", LINES)
    assert (in_lines.status, in_lines.json()["code"]) == (400, "malformed_json")
    assert pointers(in_lines) == ["/line/4"]


@pytest.mark.parametrize(
    ("document", "expected"),
    [
        ([], [""]),
        ({"data": "u"}, ["/data"]),
        ({"data": ["u", 7]}, ["/data/1"]),
        ({"data": [{"uri": "u", "blob": "AA=="}]}, ["/data/0"]),
        ({"data": ["u"], "parameters": []}, ["/parameters"]),
        (
            pool(1, budget="many", seed=-1, nDrop=0, timeout_s=0, onItemError="ask"),
            ["/parameters/budget", "/parameters/seed", "/parameters/nDrop",
             "/parameters/timeout_s", "/parameters/onItemError"],
        ),
        (pool(1, params={"x": 1}), ["/parameters/params/x"]),
    ],
    ids=str,
)  # fmt: skip
def test_row02_every_field_of_a_wrong_type_is_pointed_at(
    small: SmallServer, document: Any, expected: list[str]
) -> None:
    answer = posted(small, json.dumps(document).encode())
    assert (answer.status, answer.json()["code"]) == (422, "validation")
    assert sorted(pointers(answer)) == sorted(expected)


@pytest.mark.parametrize("endpoint", [["/query"], [None], 3, {"a": 1}])
def test_row02_an_endpoint_is_text(small: SmallServer, endpoint: Any) -> None:
    body = json.dumps({**pool(2), "execEndpoint": endpoint}).encode()
    answer = small.send(request(body, "/post"))
    assert (answer.status, answer.json()["code"]) == (422, "validation")
    assert pointers(answer) == ["/execEndpoint"]


@pytest.mark.parametrize("number", ["NaN", "Infinity", "-Infinity", "1e999", "-1E+400"])
@pytest.mark.parametrize("place", ["budget", "timeout_s", "params", "ignored"])
def test_row03_there_are_no_infinite_numbers(small: SmallServer, number: str, place: str) -> None:
    value = f'{{"tau": {number}}}' if place == "params" else number
    body = f'{{"data": ["u"], "parameters": {{"budget": 1, "{place}": {value}}}}}'.encode()
    answer = posted(small, body)
    assert (answer.status, answer.json()["code"]) == (422, "validation")


@pytest.mark.parametrize(
    "body",
    [query(0), b'{"parameters": {"budget": 1}}', b'{"data": null, "parameters": {"budget": 1}}'],
)
def test_row04_a_pool_without_items_is_refused_and_no_stage_works(
    small: SmallServer, body: bytes
) -> None:
    before = len(small.engine.cut)
    for kind in (JSON, LINES):
        answer = posted(small, lines(0) if kind == LINES else body, kind)
        assert (answer.status, answer.json()["code"]) == (422, "empty_input")
    assert len(small.engine.cut) == before


def test_row05_only_plain_json_and_lines_of_it_are_read(small: SmallServer) -> None:
    form = "multipart/form-data; boundary=x"
    for kind in ("", "text/plain", form, "application/x-www-form-urlencoded", "application/jsonp"):
        answer = posted(small, query(3), kind)
        assert (answer.status, answer.json()["code"]) == (415, "unsupported_media_type")
    for kind, body in ((JSON, query(3)), (LINES, lines(3))):
        for coding in ("gzip", "deflate", "br", "gzip, identity"):
            packed = posted(small, gzip.compress(body), kind, Content_Encoding=coding)
            assert (packed.status, packed.json()["code"]) == (415, "unsupported_media_type")
        assert posted(small, body, kind, Content_Encoding="identity").status == 200
        assert posted(small, body, f"{kind.upper()}; charset=utf-8").status == 200


@pytest.mark.parametrize("budget", [0, -1, 1.5, "3x", True, None, 2**63])
def test_row06_a_budget_is_a_whole_number_from_one(small: SmallServer, budget: object) -> None:
    answer = posted(small, query(3, budget=budget))
    assert (answer.status, pointers(answer)) == (422, ["/parameters/budget"])


def test_row06_a_budget_above_the_pool_gives_all_of_it_with_a_warning(small: SmallServer) -> None:
    answer = posted(small, query(3, budget=2**62)).json()
    assert sorted(pick["uri"] for pick in answer["data"]) == ["u0", "u1", "u2"]
    assert [warning["code"] for warning in answer["warnings"]] == ["budget_exceeds_pool"]


def test_row07_an_unknown_strategy_is_named_with_its_neighbours(small: SmallServer) -> None:
    answer = posted(small, query(3, strategy="LeastConfidense"))
    assert (answer.status, answer.json()["code"]) == (404, "unknown_strategy")
    assert "LeastConfidence" in answer.json()["detail"]


def test_row07_a_model_is_one_that_is_served_or_that_of_a_receipt(small: SmallServer) -> None:
    unknown = posted(small, query(3, model="another"))
    assert (unknown.status, unknown.json()["code"]) == (404, "unknown_model")
    assert (pointers(unknown), "there is default" in unknown.json()["detail"]) == (
        ["/parameters/model"], True,
    )  # fmt: skip
    played = posted(small, query(3, model="0123456789abcdef"))
    assert played.status == 200
    assert [warning["code"] for warning in played.json()["warnings"]] == ["model_differs"]


def nested(levels: int) -> bytes:
    """A query with an ignored key that makes it so deep."""
    deep = "[" * (levels - 1) + "]" * (levels - 1)
    return b'{"data": ["u"], "parameters": {"budget": 1}, "x": %b}' % deep.encode()


@pytest.mark.parametrize(
    ("body", "status"),
    [
        (nested(32), 200),
        (nested(33), 422),
        (nested(900), 422),
        (nested(10_000), 400),
        (b"[" * 1_000_000, 400),
        (b'{"a":' * 100_000, 400),
        (b'{"data": ["u"], "parameters": {"budget": %b}}' % (b"1" * 100_000), 400),
        (b'{"data": ["u"], "parameters": {"budget": %b.5}}' % (b"1" * 100_000), 422),
        (b'{"data": ["u"], "parameters": {"budget": 0.%b}}' % (b"1" * 1_000_000), 422),
    ],
    ids=["32", "33", "900", "10000", "open", "objects", "whole", "float", "fraction"],
)
def test_row12_depth_and_digits_have_an_end(small: SmallServer, body: bytes, status: int) -> None:
    answer = posted(small, body)
    assert answer.status == status
    assert b"Traceback" not in answer.body
    assert b"set_int_max_str_digits" not in answer.body
    line = posted(small, body + b'\n"u"\n', LINES)
    assert line.status == status
    if status == 422 and b'"x"' in body:
        assert "limits.depth" in answer.json()["detail"]


def test_row13_an_id_that_comes_twice_is_refused(small: SmallServer) -> None:
    items = [{"id": "a", "uri": "u"}, {"id": "b", "uri": "u"}, {"id": "a", "uri": "v"}]
    body = {"data": items, "parameters": {"budget": 1}}
    answer = posted(small, json.dumps(body).encode())
    assert (answer.status, answer.json()["code"]) == (422, "validation")
    assert pointers(answer) == ["/data/2/id"]


def test_row13_an_address_that_comes_twice_is_ranked_twice(
    server: Running, paths: list[str]
) -> None:
    doubled = [*paths[:5], *paths[:5]]
    body = {"data": doubled, "parameters": {"budget": 10}}
    answer = server.post("/query", body).json()
    assert answer["timings"]["stages"]["infer"]["hits"] >= 5
    scores: dict[str, set[float]] = {}
    for pick in answer["data"]:
        scores.setdefault(pick["uri"], set()).add(pick["score"])
    assert len(answer["data"]) == 10
    assert {len(one) for one in scores.values()} == {1}
    again = server.post("/query", body).json()
    assert again["timings"]["stages"]["infer"]["hits"] == 10


@settings(
    deadline=None, max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(
    texts=st.lists(
        st.text(st.characters(), min_size=1) | st.sampled_from(
            ["\0", "\u202eabc", "\ufeff", "\ud800", "a\r\nb", "\x1b[31m", "\U0010ffff", "e\u0301"]
        ), min_size=1, max_size=5,
    ),
    escaped=st.booleans(),
)  # fmt: skip
def test_row14_any_text_is_answered_and_comes_back_as_it_was(
    small: SmallServer, texts: list[str], escaped: bool
) -> None:
    named = [{"id": f"{row}{text}", "text": text} for row, text in enumerate(texts)]
    document = {"data": named, "parameters": {"budget": len(texts)}}
    body = json.dumps(document, ensure_ascii=escaped).encode(errors="surrogatepass")
    answer = posted(small, body)
    broken = any("\ud800" <= letter <= "\udfff" for text in texts for letter in text)
    if broken:
        assert answer.status in {400, 422}
        return
    assert answer.status == 200
    chosen = {pick["id"]: pick["text"] for pick in answer.json()["data"]}
    assert chosen == {one["id"]: one["text"] for one in named}


def test_row14_a_hundred_thousand_letters_come_back(small: SmallServer) -> None:
    text = "\N{ARABIC LETTER ALEF}\0x" * 33_334
    document = {"data": [{"text": text}], "parameters": {"budget": 1}}
    answer = posted(small, json.dumps(document, ensure_ascii=False).encode())
    assert (answer.status, answer.json()["data"][0]["text"]) == (200, text)


def test_info_says_what_runs_and_what_it_takes(small: SmallServer) -> None:
    told = requests.get(f"{small.url}/info", timeout=WAIT_S).json()
    assert told["limits"] == small.service.settings.limits.model_dump()
    assert told["models"] == [{"served_as": "default", "name": "toy", "digest": "m1"}]
    assert told["protocols"] == ["http"]
    assert told["version"]
    assert set(told) == {"name", "version", "protocols", "models", "limits"}

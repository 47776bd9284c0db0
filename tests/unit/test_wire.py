"""What travels, as JSON: what is written is what is read, and what a request may hold."""

from __future__ import annotations

import base64
import json
from typing import Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from alaas.core.errors import ValidationFailed
from alaas.core.wire import (
    STAGES,
    Failure,
    Item,
    Pick,
    PoolInfo,
    Progress,
    PushResponse,
    QueryResponse,
    Receipt,
    StageTiming,
    Timings,
    Warn,
    in_parts,
    item_from_json,
)

# No half surrogate pairs: protocol buffers, which the tests of `convert` write, have none.
TEXT = st.text(st.characters(exclude_categories=["Cs"]), max_size=12)
SOME = st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=12)
WHOLE = st.integers(0, 2**63 - 1)
FLOATS = st.floats(allow_nan=False, allow_infinity=False)
PARAMS = st.dictionaries(
    TEXT, st.booleans() | st.integers(-(2**53), 2**53) | TEXT | st.lists(TEXT, max_size=2),
    max_size=3,
)  # fmt: skip


def picks(content: st.SearchStrategy[dict[str, Any]]) -> st.SearchStrategy[Pick]:
    return st.builds(
        lambda content, **rest: Pick(**rest, **content), content, id=TEXT, rank=WHOLE, score=FLOATS
    )


def responses(picked: st.SearchStrategy[Pick]) -> st.SearchStrategy[QueryResponse]:
    stages = st.dictionaries(
        st.sampled_from(STAGES),
        st.builds(StageTiming, busy_s=FLOATS, items=WHOLE, wait_s=FLOATS, bytes=WHOLE, hits=WHOLE),
    )
    failures = st.builds(
        Failure, id=TEXT, stage=st.sampled_from(STAGES), code=TEXT, message=TEXT,
        uri=st.none() | TEXT,
    )  # fmt: skip
    receipts = st.builds(
        Receipt, strategy=TEXT, params=PARAMS, seed=WHOLE, budget=WHOLE, model=TEXT,
        version=TEXT, pool_size=WHOLE, calibrate=TEXT,
        calibration=st.dictionaries(TEXT, FLOATS, max_size=3),
    )  # fmt: skip
    return st.builds(
        QueryResponse,
        picks=st.lists(picked, max_size=4).map(tuple),
        failures=st.lists(failures, max_size=3).map(tuple),
        timings=st.builds(Timings, total_s=FLOATS, stages=stages),
        receipt=receipts,
        warnings=st.lists(st.builds(Warn, code=TEXT, message=TEXT), max_size=2).map(tuple),
        request_id=TEXT,
    )


NAMED: st.SearchStrategy[dict[str, Any]] = (
    st.fixed_dictionaries({"uri": TEXT}) | st.fixed_dictionaries({"text": TEXT}) | st.just({})
)
BLOBS = st.fixed_dictionaries({"blob": st.binary(max_size=20)})
RESPONSES = responses(picks(NAMED))
PROGRESS = st.builds(Progress, done=WHOLE, failed=WHOLE, received=WHOLE, total=st.none() | WHOLE)


PUSHES = st.builds(
    lambda answer, pool: PushResponse(
        pool, answer.failures, answer.timings, answer.warnings, answer.request_id
    ),
    RESPONSES,
    st.builds(
        PoolInfo, name=TEXT, items=WHOLE, space=TEXT, model=TEXT, created=FLOATS,
        expires=st.none() | FLOATS, bytes=WHOLE,
        views=st.dictionaries(TEXT, st.lists(WHOLE, max_size=3).map(tuple), max_size=2),
    ),
)  # fmt: skip


def through_json(document: Any) -> Any:
    return json.loads(json.dumps(document))


@settings(deadline=None)
@given(responses(picks(NAMED | BLOBS)))
def test_an_answer_reads_back(response: QueryResponse) -> None:
    assert QueryResponse.from_json(through_json(response.to_json())) == response


@settings(deadline=None)
@given(PUSHES)
def test_a_push_reads_back(response: PushResponse) -> None:
    assert PushResponse.from_json(through_json(response.to_json())) == response


def test_timings_of_a_server_that_tells_less() -> None:
    told = {"total_s": 1, "stages": {"infer": {"busy_s": 1, "items": 2}}}
    assert Timings.from_json(told) == Timings(1.0, {"infer": StageTiming(1.0, 2)})


def test_the_bottleneck_is_where_work_and_waiting_are() -> None:
    stages = {"fetch": StageTiming(busy_s=5), "infer": StageTiming(busy_s=3, wait_s=4)}
    assert Timings(9.0, stages).to_json()["bottleneck"] == "infer"
    assert Timings(0.0, {"fetch": StageTiming()}).bottleneck == ""


@settings(deadline=None)
@given(PROGRESS)
@example(Progress(0, 0, 0, 0))
def test_progress_reads_back(progress: Progress) -> None:
    assert Progress.from_json(through_json(progress.to_json())) == progress


def test_an_answer_has_the_shape_that_old_clients_read() -> None:
    receipt = Receipt("entropy", {}, 0, 1, "m", "1", 2)
    response = QueryResponse([Pick("a", 0, 0.5, uri="u")], [], Timings(), receipt, (), "r-1")
    document = response.to_json({"budget": 1})
    assert document["header"] == {
        "requestId": "r-1",
        "status": {"code": "SUCCESS", "description": "", "exception": None},
        "execEndpoint": "/query",
        "targetExecutor": "",
    }
    assert (document["parameters"], document["routes"]) == ({"budget": 1}, [])
    assert document["data"] == [{"id": "a", "uri": "u", "rank": 0, "score": 0.5}]


@pytest.mark.parametrize(
    ("pick", "document"),
    [
        (Pick("a", 0, 0.5, uri=""), {"uri": ""}),
        (Pick("a", 0, 0.5, text="t"), {"text": "t"}),
        (Pick("a", 0, 0.5, blob=b"\xff"), {"blob": "/w=="}),
        (Pick("a", 0, 0.5, blob=b""), {"blob": ""}),
        (Pick("a", 0, 0.5), {}),
    ],
)
def test_a_pick_names_its_content(pick: Pick, document: dict[str, Any]) -> None:
    assert pick.to_json() == {"id": "a", "rank": 0, "score": 0.5, **document}
    assert Pick.from_json(pick.to_json()) == pick


ITEMS = st.one_of(
    st.builds(Item, id=SOME, uri=SOME),
    st.builds(Item, id=SOME, text=st.just("") | SOME),
    st.builds(Item, id=SOME, blob=st.binary(min_size=1, max_size=30)),
)


@settings(deadline=None)
@given(item=ITEMS, row=WHOLE)
def test_an_item_reads_back(item: Item, row: int) -> None:
    assert item_from_json(through_json(item.to_json()), row) == item


@pytest.mark.parametrize(
    ("document", "item"),
    [
        ("http://a", Item("7", uri="http://a")),
        ({"uri": "u"}, Item("7", uri="u")),
        ({"uri": "u", "id": None}, Item("7", uri="u")),
        ({"uri": "u", "id": ""}, Item("7", uri="u")),
        ({"uri": "u", "id": 0}, Item("0", uri="u")),
        ({"uri": "u", "id": -3}, Item("-3", uri="u")),
        ({"uri": "u", "id": "x", "tags": {}, "embedding": None}, Item("x", uri="u")),
        ({"uri": "", "text": "t", "blob": None}, Item("7", text="t")),
        ({"uri": None, "text": "", "blob": "/w=="}, Item("7", blob=b"\xff")),
        ({"blob": ""}, Item("7", blob=b"")),
        ({"text": ""}, Item("7", text="")),
        ({"uri": "", "text": "", "blob": None, "group": 2}, Item("7", text="", group="2")),
    ],
)
def test_a_document(document: Any, item: Item) -> None:
    assert item_from_json(document, 7) == item


@pytest.mark.parametrize("blob", ["/w=", "/", "no base64", "/w==\n", "_w==", "é", "===="])
def test_a_blob_that_is_no_base64_is_one_lost_item(blob: str) -> None:
    failure = item_from_json({"id": "a", "blob": blob}, 7)
    message = "the blob is not valid base64"
    assert failure == Failure("a", "fetch", "invalid_blob", message)


@pytest.mark.parametrize(
    ("document", "pointer", "message"),
    [
        (3, "", "must be an object or a string, got int"),
        (None, "", "must be an object or a string, got NoneType"),
        (["u"], "", "must be an object or a string, got list"),
        ({}, "", "must have exactly one of uri, text and blob; it has none of them"),
        ({"uri": ""}, "", "must have exactly one of uri, text and blob; it has none of them"),
        ({"text": None}, "", "must have exactly one of uri, text and blob; it has none of them"),
        (
            {"uri": "u", "text": "t"},
            "",
            "must have exactly one of uri, text and blob; it has uri and text",
        ),
        ({"uri": ["u"]}, "/uri", "must be a string, got list"),
        ({"text": 3}, "/text", "must be a string, got int"),
        ({"blob": {"a": 1}}, "/blob", "must be a string, got dict"),
        ({"uri": "u", "id": 1.5}, "/id", "must be a string, got float"),
        ({"uri": "u", "id": ["a"]}, "/id", "must be a string, got list"),
    ],
)
def test_what_is_no_document(document: Any, pointer: str, message: str) -> None:
    with pytest.raises(ValidationFailed) as caught:
        item_from_json(document, 7)
    (error,) = caught.value.errors
    assert (error.pointer, error.message) == (f"/data/7{pointer}", message)
    assert caught.value.detail == f"/data/7{pointer}: {message}"


@settings(deadline=None)
@given(
    st.recursive(
        st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
        lambda inner: st.lists(inner) | st.dictionaries(
            st.sampled_from(["id", "uri", "text", "blob", "x"]), inner
        ),
        max_leaves=6,
    )
)  # fmt: skip
def test_any_json_is_an_item_a_failure_or_refused(document: Any) -> None:
    try:
        item = item_from_json(document, 3)
    except ValidationFailed:
        return
    assert isinstance(item.id, str)
    assert item.id
    if isinstance(item, Item):
        assert [item.uri, item.text, item.blob].count(None) == 2


@settings(deadline=None)
@given(size=st.integers(0, 40), most=st.integers(1, 9))
def test_parts_keep_the_order(size: int, most: int) -> None:
    pool = [Item(str(row), uri="u") for row in range(size)]
    parts = list(in_parts(iter(pool), most))
    assert [item for part in parts for item in part] == pool
    assert all(len(part) == most for part in parts[:-1])
    assert all(parts)


def test_base64_is_the_plain_one() -> None:
    blob = bytes(range(256))
    assert Item("a", blob=blob).to_json()["blob"] == base64.b64encode(blob).decode()

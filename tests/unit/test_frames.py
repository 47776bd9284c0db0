"""Frames: what is written is what is read, whatever is in it."""

from __future__ import annotations

import json
from dataclasses import fields, is_dataclass, replace
from time import monotonic
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays
from numpy.typing import NDArray

from alaas.core.errors import NoReplica
from alaas.core.types import (
    Admitted,
    Batch,
    Calibrated,
    Items,
    Notes,
    Plan,
    Raw,
    Raws,
    Scored,
    Selection,
    Spent,
    Stored,
    Views,
)
from alaas.core.wire import STAGES, Failure, Item, PoolInfo
from alaas.server import frames, logs
from alaas.server.frames import Message

# JSON carries half a surrogate pair as well, which a caller's JSON may hold.
TEXT = st.text(max_size=9)
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | TEXT,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(TEXT, inner, max_size=3),
    max_leaves=5,
)
SECONDS = st.floats(0, 1e6)
SEQ = st.integers(0, 2**40)
IDS = st.lists(TEXT, unique=True, max_size=6).map(tuple)
FAILURES = st.lists(
    st.builds(
        Failure, id=TEXT, stage=st.sampled_from(STAGES), code=TEXT, message=TEXT,
        uri=st.none() | TEXT,
    ),
    max_size=3,
).map(tuple)  # fmt: skip
PLANS = st.builds(
    Plan,
    query=TEXT,
    strategy=TEXT,
    params=st.dictionaries(TEXT, JSON, max_size=3),
    seed=st.integers(0, 2**63 - 1),
    budget=st.integers(1, 2**63 - 1),
    needs=st.lists(TEXT, max_size=3).map(tuple),
    measure=TEXT,
    reduction=TEXT,
    calibrate=TEXT,
    deadline=st.none() | SECONDS,
)
DTYPES = st.sampled_from(["u1", "i8", "<f4", "<f8", ">f4", "f2", "?", "c8"])
ITEMS = st.one_of(
    st.builds(Item, id=TEXT, uri=TEXT),
    st.builds(Item, id=TEXT, text=TEXT),
    st.builds(Item, id=TEXT, blob=st.binary(max_size=40)),
    st.builds(Item, id=TEXT, group=st.none() | TEXT),
)
NUMBERS = st.lists(SEQ, max_size=4).map(tuple)
DIGESTS = st.lists(TEXT, max_size=4).map(tuple)
RAWS = st.builds(
    Raw, id=TEXT, data=st.binary(max_size=40), is_text=st.booleans(), digest=TEXT
)  # fmt: skip
INFOS = st.builds(
    PoolInfo, name=TEXT, items=SEQ, views=st.dictionaries(TEXT, NUMBERS, max_size=3), space=TEXT,
    model=TEXT, created=SECONDS, expires=st.none() | SECONDS, bytes=SEQ,
)  # fmt: skip


@st.composite
def array(draw: st.DrawFn, rows: int, dims: int) -> NDArray[Any]:
    shape = (rows, *draw(st.lists(st.integers(0, 4), min_size=dims, max_size=dims)))
    made: NDArray[Any] = draw(arrays.arrays(draw(DTYPES), shape))
    # What comes of slicing and transposing is written as what it means, not as it lies.
    lies = draw(st.sampled_from(["as it is", "by columns", "backwards"]))
    if lies == "backwards":
        return made[:, ::-1]
    return np.asfortranarray(made) if lies == "by columns" else made


@st.composite
def batches(draw: st.DrawFn) -> Batch:
    ids = draw(IDS)
    return Batch(draw(SEQ), ids, draw(array(len(ids), 3)), draw(FAILURES), draw(DIGESTS))


@st.composite
def views(draw: st.DrawFn) -> Views:
    ids = draw(IDS)
    names = draw(st.lists(TEXT, unique=True, max_size=3))
    made = {name: draw(array(len(ids), draw(st.integers(1, 3)))) for name in names}
    return Views(draw(SEQ), ids, made, draw(TEXT), draw(FAILURES), draw(DIGESTS))


@st.composite
def selections(draw: st.DrawFn) -> Selection:
    ids = draw(IDS)
    scores = draw(arrays.arrays("f8", len(ids), elements=st.floats(allow_nan=False)))
    params = draw(st.dictionaries(TEXT, JSON, max_size=3))
    item = st.builds(Item, TEXT, uri=st.none() | TEXT, group=st.none() | TEXT)
    items = st.lists(item, max_size=3)
    return Selection(
        ids, scores, draw(TEXT), params, draw(SEQ), draw(SEQ), draw(TEXT), tuple(draw(items))
    )


CONTENTS: dict[str, st.SearchStrategy[frames.Content]] = {
    "Admitted": st.builds(Admitted, seq=SEQ, missing=NUMBERS, known=SEQ, corrupt=SEQ),
    "Items": st.builds(
        Items, seq=SEQ, items=st.lists(ITEMS, max_size=6).map(tuple), rows=NUMBERS, digests=DIGESTS
    ),
    "Notes": st.builds(
        Notes,
        labels=st.dictionaries(TEXT, SECONDS, max_size=3),
        seconds=st.none() | SECONDS,
        ttl_s=st.none() | SECONDS,
    ),
    "Raws": st.builds(Raws, seq=SEQ, raws=st.lists(RAWS, max_size=5).map(tuple), failures=FAILURES),
    "Batch": batches(),
    "Views": views(),
    "Scored": st.builds(Scored, seq=SEQ, count=SEQ, failures=FAILURES),
    "Selection": selections(),
    "Stored": st.builds(Stored, pools=st.lists(INFOS, max_size=3).map(tuple)),
    "Calibrated": st.builds(
        Calibrated,
        method=TEXT,
        items=SEQ,
        changed=st.booleans(),
        figures=st.dictionaries(TEXT, SECONDS, max_size=3),
    ),
}
COUNTS = st.dictionaries(TEXT, SEQ, max_size=2)
SPENT = st.dictionaries(st.sampled_from(STAGES), st.builds(Spent, SECONDS, SECONDS, SEQ, COUNTS))


def there_and_back(message: Message) -> Message:
    return frames.decode(*frames.encode(message))


def assert_equal(found: Any, expected: Any) -> None:
    """Equal to the last bit and of the same type; `==` of arrays would not tell."""
    assert type(found) is type(expected)
    if is_dataclass(expected):
        for field in fields(expected):
            assert_equal(getattr(found, field.name), getattr(expected, field.name))
    elif isinstance(expected, np.ndarray):
        assert (found.shape, found.dtype) == (expected.shape, expected.dtype)
        assert found.tobytes() == expected.tobytes()
    elif isinstance(expected, dict):
        assert list(found) == list(expected)
        for key, value in expected.items():
            assert_equal(found[key], value)
    else:
        assert found == expected


@pytest.mark.parametrize("kind", CONTENTS)
@settings(deadline=None)
@given(plan=PLANS, spent=SPENT, data=st.data())
def test_round_trip(kind: str, plan: Plan, spent: dict[str, Spent], data: st.DataObject) -> None:
    content = data.draw(CONTENTS[kind])
    before = monotonic()
    found = there_and_back(Message(plan, content, spent))
    assert before <= found.left <= monotonic()
    assert_equal(replace(found, left=0.0), Message(plan, content, spent))


@settings(deadline=None)
@given(content=st.one_of(*CONTENTS.values()))
def test_a_problem_travels(content: frames.Content) -> None:
    plan = Plan("q", "entropy", {}, 0, 1, ("probs",))
    problem = NoReplica("größe").problem()
    assert there_and_back(Message(plan, content, problem=problem)).problem == problem


def test_the_id_of_the_request_travels() -> None:
    """For the logs of all processes, whatever stage it has come to."""
    with logs.about("r-1"):
        sent = message(Items(4, (Item("a", uri="u"),)))
    arrived = there_and_back(sent)
    assert (arrived.request, arrived.after("fetch", Raws(4, ()), 0.0).request) == ("r-1", "r-1")
    assert there_and_back(replace(sent, request="")).request == ""


def message(content: frames.Content) -> Message:
    return Message(Plan("q", "entropy", {"a": 1}, 0, 1, ("probs",)), content, {"fetch": Spent(1.5)})


def test_arrays_are_neither_copied_nor_writable() -> None:
    pixels = np.arange(2 * 3 * 4 * 3, dtype=np.uint8).reshape(2, 3, 4, 3)
    probs, features = np.full((2, 5), 0.2, np.float32), np.ones((2, 7))
    for content in (
        Batch(0, ("a", "b"), pixels),
        Views(0, ("a", "b"), {"probs": probs, "embeddings": features}),
    ):
        header, payload = frames.encode(message(content))
        found = frames.decode(header, payload).content
        assert isinstance(found, Batch | Views)
        memory = np.frombuffer(payload, np.uint8)
        for one in [found.array] if isinstance(found, Batch) else found.arrays.values():
            assert np.shares_memory(one, memory)
            assert not one.flags.writeable


def test_the_payload_is_the_pixels() -> None:
    """One block a micro-batch: nothing is said twice, and nothing once a row."""
    pixels = np.arange(60, dtype=np.uint8).reshape(4, 5, 1, 3)
    header, payload = frames.encode(message(Batch(3, tuple("abcd"), pixels)))
    assert payload == pixels.tobytes()
    assert set(json.loads(header)) == {
        "plan", "kind", "seq", "spent", "left", "request", "problem", "failures", "ids",
        "digests", "shape", "dtype",
    }  # fmt: skip


def test_after_a_stage() -> None:
    first = replace(message(Items(4, (Item("a", uri="u"),))), left=monotonic() - 3)
    raws = Raws(4, (Raw("a", b"12345"),))
    later = first.after("infer", raws, monotonic() - 2)
    spent = later.spent["infer"]
    assert (later.content, later.spent["fetch"], spent.bytes) == (raws, Spent(1.5), 5)
    assert spent.busy_s == pytest.approx(2, abs=0.9)
    assert spent.wait_s == pytest.approx(1, abs=0.9)
    assert first.spent == {"fetch": Spent(1.5)}


def test_a_message_from_a_clock_that_is_ahead_has_not_waited() -> None:
    first = replace(message(Items(4, ())), left=monotonic() + 100)
    assert first.after("infer", Scored(4, 0), monotonic()).spent["infer"].wait_s == 0


def test_a_kind_that_there_is_not() -> None:
    unknown: Any = object()
    with pytest.raises(KeyError, match="object"):
        frames.encode(message(unknown))
    header, payload = frames.encode(message(Scored(0, 1)))
    with pytest.raises(ValueError, match="Other"):
        frames.decode(header.replace(b'"Scored"', b'"Other"'), payload)


@pytest.mark.parametrize("lost", [1, 100])
def test_a_payload_that_was_cut(lost: int) -> None:
    pixels = np.zeros((2, 8, 8, 3), np.uint8)
    for content in (Batch(0, ("a", "b"), pixels), Views(0, ("a", "b"), {"v": np.ones((2, 50))})):
        header, payload = frames.encode(message(content))
        with pytest.raises(ValueError, match=r"reshape|buffer size"):
            frames.decode(header, payload[:-lost])

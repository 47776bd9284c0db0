"""Frames: what is written is what is read, whatever is in it."""

from __future__ import annotations

import json
from dataclasses import fields, is_dataclass, replace
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays
from numpy.typing import NDArray

from alaas.core.errors import NoReplica
from alaas.core.types import Batch, Items, Plan, Raw, Raws, Scored, Selection, Views
from alaas.core.wire import STAGES, Failure, Item
from alaas.server import frames
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
)
DTYPES = st.sampled_from(["u1", "i8", "<f4", "<f8", ">f4", "f2", "?", "c8"])
ITEMS = st.one_of(
    st.builds(Item, id=TEXT, uri=TEXT),
    st.builds(Item, id=TEXT, text=TEXT),
    st.builds(Item, id=TEXT, blob=st.binary(max_size=40)),
    st.builds(Item, id=TEXT),
)
RAWS = st.builds(Raw, id=TEXT, data=st.binary(max_size=40), is_text=st.booleans())


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
    return Batch(draw(SEQ), ids, draw(array(len(ids), 3)), draw(FAILURES))


@st.composite
def views(draw: st.DrawFn) -> Views:
    ids = draw(IDS)
    names = draw(st.lists(TEXT, unique=True, max_size=3))
    made = {name: draw(array(len(ids), draw(st.integers(1, 3)))) for name in names}
    return Views(draw(SEQ), ids, made, draw(TEXT), draw(FAILURES))


@st.composite
def selections(draw: st.DrawFn) -> Selection:
    ids = draw(IDS)
    scores = draw(arrays.arrays("f8", len(ids), elements=st.floats(allow_nan=False)))
    params = draw(st.dictionaries(TEXT, JSON, max_size=3))
    return Selection(ids, scores, draw(TEXT), params, draw(SEQ), draw(SEQ), draw(TEXT))


CONTENTS: dict[str, st.SearchStrategy[frames.Content]] = {
    "Items": st.builds(Items, seq=SEQ, items=st.lists(ITEMS, max_size=6).map(tuple)),
    "Raws": st.builds(Raws, seq=SEQ, raws=st.lists(RAWS, max_size=5).map(tuple), failures=FAILURES),
    "Batch": batches(),
    "Views": views(),
    "Scored": st.builds(Scored, seq=SEQ, count=SEQ, failures=FAILURES),
    "Selection": selections(),
}
BUSY = st.dictionaries(st.sampled_from(STAGES), SECONDS)


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
@given(plan=PLANS, busy=BUSY, data=st.data())
def test_round_trip(kind: str, plan: Plan, busy: dict[str, float], data: st.DataObject) -> None:
    content = data.draw(CONTENTS[kind])
    found = there_and_back(Message(plan, content, busy))
    if isinstance(content, Scored):  # it is told the work of all stages
        content = replace(content, busy=busy)
    assert_equal(found, Message(plan, content, busy))


@settings(deadline=None)
@given(content=st.one_of(*CONTENTS.values()))
def test_a_problem_travels(content: frames.Content) -> None:
    plan = Plan("q", "entropy", {}, 0, 1, ("probs",))
    problem = NoReplica("größe").problem()
    assert there_and_back(Message(plan, content, problem=problem)).problem == problem


def message(content: frames.Content) -> Message:
    return Message(Plan("q", "entropy", {"a": 1}, 0, 1, ("probs",)), content, {"fetch": 1.5})


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
        "plan", "kind", "seq", "busy", "problem", "failures", "ids", "shape", "dtype",
    }  # fmt: skip


def test_after_a_stage() -> None:
    first = message(Items(4, (Item("a", uri="u"),)))
    scored = Scored(4, 1)
    later = first.after("infer", scored, 2.5)
    assert later == Message(first.plan, scored, {"fetch": 1.5, "infer": 2.5})
    assert first.busy == {"fetch": 1.5}


def test_a_kind_that_there_is_not() -> None:
    unknown: Any = object()
    with pytest.raises(KeyError, match="object"):
        frames.encode(message(unknown))
    header, payload = frames.encode(message(Scored(0, 1)))
    with pytest.raises(KeyError, match="Other"):
        frames.decode(header.replace(b'"Scored"', b'"Other"'), payload)


@pytest.mark.parametrize("lost", [1, 100])
def test_a_payload_that_was_cut(lost: int) -> None:
    pixels = np.zeros((2, 8, 8, 3), np.uint8)
    for content in (Batch(0, ("a", "b"), pixels), Views(0, ("a", "b"), {"v": np.ones((2, 50))})):
        header, payload = frames.encode(message(content))
        with pytest.raises(ValueError, match=r"reshape|buffer size"):
            frames.decode(header, payload[:-lost])

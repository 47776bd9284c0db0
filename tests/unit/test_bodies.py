"""Pools that arrive in lines: cut anywhere, read no faster than asked, broken lines named."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterable
from itertools import pairwise
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from alaas.config import LimitsSettings
from alaas.core.errors import AlaasError, MalformedJSON, ValidationFailed
from alaas.core.wire import Failure, Item
from alaas.server.bodies import Lines


class Wire:
    """A request body in chunks, as a server hands them over; counts those that were taken."""

    def __init__(self, chunks: Iterable[bytes], *, breaks_off: bool = False) -> None:
        self.chunks = list(chunks)
        self.taken = 0
        self._breaks_off = breaks_off

    async def __call__(self) -> dict[str, Any]:
        if self.taken == len(self.chunks):
            assert self._breaks_off, "read beyond the end"
            return {"type": "http.disconnect"}
        self.taken += 1
        more = self._breaks_off or self.taken < len(self.chunks)
        return {"type": "http.request", "body": self.chunks[self.taken - 1], "more_body": more}


async def whole(lines: Lines) -> tuple[dict[str, Any], list[Item | Failure]]:
    head = await lines.head()
    return head, [item async for part in lines.parts() for item in part]


def read(*chunks: bytes, breaks_off: bool = False) -> tuple[dict[str, Any], list[Item | Failure]]:
    return asyncio.run(whole(Lines(Wire(chunks, breaks_off=breaks_off), LimitsSettings())))


HEAD = b'{"parameters": {"budget": 1}}\n'


@settings(deadline=None)
@given(
    cuts=st.lists(st.integers(0, 200), max_size=12),
    newline=st.booleans(),
    texts=st.lists(st.text(st.characters(exclude_categories=["Cs"]), min_size=1), max_size=6),
)
def test_chunks_may_be_cut_anywhere(cuts: list[int], newline: bool, texts: list[str]) -> None:
    documents = [json.dumps({"text": text}, ensure_ascii=False).encode() for text in texts]
    body = b"\n".join([HEAD.strip(), *documents]) + b"\n" * newline
    edges = sorted({0, len(body), *(cut for cut in cuts if cut < len(body))})
    chunks = [body[a:b] for a, b in pairwise(edges)]
    head, items = read(*chunks)
    assert head == {"parameters": {"budget": 1}}
    assert items == [Item(str(row), text=text) for row, text in enumerate(texts)]


def test_empty_lines_count_as_lines_but_not_as_items() -> None:
    _, items = read(HEAD, b'\n"a"\r\n\n', b'"b"\n\n')
    assert items == [Item("0", uri="a"), Item("1", uri="b")]
    with pytest.raises(MalformedJSON) as caught:
        read(HEAD, b'\n"a"\n\n{')
    assert caught.value.errors[0].pointer == "/line/5"


@pytest.mark.parametrize(
    ("line", "kind", "pointer"),
    [
        (b"{", MalformedJSON, "/line/3"),
        (b"\xff", MalformedJSON, "/line/3"),
        (b"[" * 100_000, MalformedJSON, "/line/3"),
        (b"NaN", ValidationFailed, "/line/3"),
        (b"null", ValidationFailed, "/line/3"),
        (b"{}", ValidationFailed, "/line/3"),
        (b'{"uri": "a", "id": 1.5}', ValidationFailed, "/line/3/id"),
        (b'{"uri": ["a"]}', ValidationFailed, "/line/3/uri"),
    ],
)
def test_a_broken_line_is_named(line: bytes, kind: type[AlaasError], pointer: str) -> None:
    with pytest.raises(kind) as caught:
        read(HEAD, b'"a"\n', line, b'\n"b"\n')
    assert caught.value.errors[0].pointer == pointer
    assert caught.value.detail.startswith(pointer)


def test_one_bad_blob_is_a_failure_of_its_item() -> None:
    _, items = read(HEAD, b'{"id": "x", "blob": "!"}\n"b"')
    assert isinstance(items[0], Failure)
    assert items[1] == Item("1", uri="b")


@pytest.mark.parametrize("first", [b"", b"\n", b'{"uri": "a"}\n', b"[]\n", b'"a"\n'])
def test_the_first_line_has_the_parameters(first: bytes) -> None:
    with pytest.raises(ValidationFailed) as caught:
        read(first)
    assert caught.value.errors[0].pointer == "/line/1"


def test_no_more_is_read_than_is_asked_for() -> None:
    wire = Wire([HEAD, b'"a"\n', b'"b"\n', b'"c"\n'])

    async def story() -> None:
        lines = Lines(wire, LimitsSettings())
        await lines.head()
        assert wire.taken == 1
        parts = lines.parts()
        assert await anext(parts) == [Item("0", uri="a")]
        assert wire.taken == 2
        assert not lines.complete.is_set()
        assert [item async for part in parts for item in part] == [
            Item("1", uri="b"),
            Item("2", uri="c"),
        ]
        assert wire.taken == 4
        assert lines.complete.is_set()

    asyncio.run(story())


def test_a_client_that_goes_is_no_end_of_the_pool() -> None:
    with pytest.raises(ConnectionResetError):
        read(HEAD, b'"a"\n', b'"b"', breaks_off=True)

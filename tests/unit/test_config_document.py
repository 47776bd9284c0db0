"""YAML as plain values: what is read, and what is refused."""

from __future__ import annotations

from contextlib import suppress
from typing import Any

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from alaas.config.document import DocumentError, parse

SCALARS = st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text()
VALUES = st.recursive(
    SCALARS, lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner), max_leaves=20
)


def reasons(text: str) -> list[tuple[int | None, str]]:
    with pytest.raises(DocumentError) as caught:
        parse(text)
    return list(caught.value.faults)


@given(VALUES)
def test_plain_values_are_read_as_they_were_written(value: Any) -> None:
    assert parse(yaml.safe_dump(value)).value == value


MARKS = st.text(alphabet="[]{}&*!:,-? \n'\"|>ax1%<", max_size=60)


@given(st.text() | MARKS)
def test_any_text_is_read_or_refused(text: str) -> None:
    with suppress(DocumentError):
        parse(text)


def test_aliases_share_a_value() -> None:
    assert parse("a: &x [1, 2]\nb: *x").value == {"a": [1, 2], "b": [1, 2]}


def test_keys_are_text_and_dates_stay_text() -> None:
    assert parse("on: 2026-01-31\n1: 2").value == {"on": "2026-01-31", "1": 2}


@pytest.mark.parametrize(
    "value",
    [
        "!!python/name:os.system",
        "!!python/object/apply:os.system [ls]",
        "!!python/object:os.X {}",
        "!include other.yml",
        "!!set {a}",
        "!!timestamp 2026-01-31",
        "!!binary aGk=",
    ],
)
def test_tags_are_refused(value: str) -> None:
    ((line, reason),) = reasons(f"a: 1\nb: {value}")
    assert line == 2
    assert "is not allowed" in reason


def test_a_key_comes_once() -> None:
    assert reasons("a: 1\nb:\n  c: 1\n  c: 2\na: 3") == [
        (4, "the key 'c' is there twice"),
        (5, "the key 'a' is there twice"),
    ]


def test_a_bomb_of_aliases_is_harmless() -> None:
    layers = "\n".join(f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 10)}]" for n in range(1, 30))
    ((_, reason),) = reasons(f"a0: &a0 [x, x, x, x, x, x, x, x, x, x]\n{layers}")
    assert "expand to more than 100000 values" in reason


def test_a_bomb_of_merges_is_harmless() -> None:
    layers = "\n".join(
        f"b{n}: &b{n} {{<<: [{', '.join([f'*b{n - 1}'] * 4)}]}}" for n in range(1, 30)
    )
    ((_, reason),) = reasons(f"b0: &b0 {{k: v}}\n{layers}")
    assert "expand" in reason


def test_an_alias_of_what_it_is_in_is_refused() -> None:
    assert "refers to what it is in" in reasons("a: &a [1, *a]")[0][1]


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ("a: 1\nb: [", 2),
        ("a: 1\n b: 2", 2),
        ("a: *nothing", 1),
        ("a: 1\n---\nb: 2", 2),
        ("a: !!int three", 1),
        ("a: !!bool maybe", 1),
        ("a: " + "9" * 5000, 1),
        ("? [a]\n: 1", 1),
    ],
)
def test_what_is_no_yaml_is_refused_with_its_line(text: str, line: int) -> None:
    assert reasons(text)[0][0] == line


@pytest.mark.parametrize("text", ["a: \x00", "[" * 5000])
def test_what_cannot_be_read_is_refused(text: str) -> None:
    assert reasons(text)


def test_lines_and_texts_of_keys() -> None:
    document = parse("a:\n  b: 1.10\n\n  c: &c\n    d: x\ne: *c")
    assert [document.line(path) for path in (("a",), ("a", "b"), ("e", "d"))] == [1, 2, 5]
    assert document.line(("a", "missing")) == 1
    assert document.line(("missing",)) is None
    assert document.text(("a", "b")) == "1.10"
    assert document.text(("a", "c")) is None
    assert (document.has(("a", "b")), document.has(("a", "x"))) == (True, False)

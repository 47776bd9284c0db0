"""The parameters of a query."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from alaas.config import QueryParameters
from alaas.config.parameters import parse
from alaas.core.errors import ValidationFailed
from alaas.core.wire import Receipt

JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    max_leaves=5,
)
NAMES = st.sampled_from([*QueryParameters.model_fields, "nDrop", "onItemError", "timeoutS", "x"])


def refusals(given: Any) -> dict[str, str]:
    """Pointer to message of everything that is wrong with `given`."""
    with pytest.raises(ValidationFailed) as caught:
        parse(given)
    assert caught.value.status == 422
    return {one.pointer: one.message for one in caught.value.errors}


def test_the_budget_is_enough() -> None:
    assert parse({"budget": 3}) == QueryParameters(budget=3)


@pytest.mark.parametrize("budget", [3, 3.0, "3", 1, 2**63 - 1])
def test_a_whole_number_may_come_as_float_or_text(budget: Any) -> None:
    found = parse({"budget": budget}).budget
    assert found == int(budget)
    assert type(found) is int


@pytest.mark.parametrize(
    ("budget", "got"),
    [
        (0, "0"),
        (-2, "-2"),
        (2.5, "2.5"),
        (True, "true"),
        (float("nan"), "nan"),
        (float("inf"), "inf"),
        (1e300, "1e+300"),
        (2**63, str(2**63)),
        ("three", "'three'"),
        ("", "''"),
        ([3], "[3]"),
        ({}, "{}"),
    ],
)
def test_any_other_budget_is_refused(budget: Any, got: str) -> None:
    message = f"must be a whole number from 1 to 2**63 - 1, got {got}"
    assert refusals({"budget": budget}) == {"/parameters/budget": message}


@pytest.mark.parametrize("given", [None, {}, {"budget": None}, {"n_drop": 3}])
def test_a_missing_budget_is_named(given: Any) -> None:
    message = "is required: a whole number from 1 to 2**63 - 1"
    assert refusals(given) == {"/parameters/budget": message}


@pytest.mark.parametrize("given", [3, "budget=3", [["budget", 3]]])
def test_parameters_are_an_object(given: Any) -> None:
    assert list(refusals(given)) == ["/parameters"]


def test_keys_may_be_in_camel_case() -> None:
    found = parse({"budget": 1, "nDrop": 5, "onItemError": "fail", "timeoutS": 1.5})
    assert (found.n_drop, found.on_item_error, found.timeout_s) == (5, "fail", 1.5)


def test_an_error_points_at_the_key_as_it_was_written() -> None:
    assert list(refusals({"budget": 1, "nDrop": 0})) == ["/parameters/nDrop"]
    assert list(refusals({"budget": 1, "n_drop": 0})) == ["/parameters/n_drop"]


def test_null_stands_for_the_default_and_other_keys_are_ignored() -> None:
    given = {"budget": 1, "n_drop": None, "seed": None, "params": None, "save_path": "/tmp/x"}
    assert parse(given) == QueryParameters(budget=1)


def test_all_mistakes_are_reported_at_once() -> None:
    found = refusals({"seed": -1, "on_item_error": "skp", "timeout_s": 0, "params": [1]})
    assert set(found) == {
        "/parameters/budget",
        "/parameters/seed",
        "/parameters/on_item_error",
        "/parameters/timeout_s",
        "/parameters/params",
    }
    assert found["/parameters/on_item_error"].endswith("got 'skp'; did you mean 'skip'?")


def test_a_receipt_is_posted_back_as_it_is() -> None:
    receipt = Receipt("random", {"k": 1}, 7, 3, "", "0.3.0", 10)
    found = parse(json.loads(json.dumps(receipt.to_json())))
    assert (found.strategy, found.params, found.seed, found.budget) == ("random", {"k": 1}, 7, 3)
    assert found.model == ""


@given(st.dictionaries(NAMES, JSON))
def test_anything_is_read_or_refused_in_one_line_a_key(given: dict[str, Any]) -> None:
    try:
        found = parse(given)
    except ValidationFailed:
        found_wrong = refusals(given)
        assert all(pointer.startswith("/parameters/") for pointer in found_wrong)
        assert all(len(message.splitlines()) == 1 for message in found_wrong.values())
    else:
        assert 1 <= found.budget < 2**63
        assert 0 <= found.seed < 2**63


@given(st.integers(1, 10**9), st.integers(0, 2**63 - 1), st.integers(1, 1000) | st.none())
def test_what_was_read_is_read_again(budget: int, seed: int, n_drop: int | None) -> None:
    once = parse({"budget": budget, "seed": seed, "n_drop": n_drop})
    assert parse(once.model_dump()) == once
    assert parse(once.model_dump(by_alias=True)) == once

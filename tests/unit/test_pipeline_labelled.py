"""Labelled items and groups of a query: from its parameters to the strategy."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from test_pipeline_engine import Toy, ask, embeddings_of, in_time, pool, probs_of

from alaas.core.errors import (
    AlaasError,
    BudgetUnfillable,
    ItemFailed,
    PoolTooLarge,
    ValidationFailed,
    ViewUnavailable,
)
from alaas.core.types import Items
from alaas.core.wire import Failure, Item, Label, Labelled, labelled_from_json
from alaas.strategies import run

KNOWN = [{"uri": f"k{row}", "id": f"k{row}", "label": row % 2} for row in range(6)]
NAMES = [str(one["id"]) for one in KNOWN]


def refused(engine: Toy, **rest: Any) -> AlaasError:
    with pytest.raises(AlaasError) as caught:
        in_time(ask(engine, [pool(30)], **rest))
    return caught.value


def ids_of(n: int) -> list[str]:
    return [f"i{row}" for row in range(n)]


@pytest.mark.parametrize("size", [1, 4, 100])
def test_the_strategy_learns_from_what_is_labelled(size: int) -> None:
    """The same as the strategy called by hand, whatever the micro-batches."""
    expected = run(
        "k_center_greedy",
        {"embeddings": embeddings_of(ids_of(30)), "labelled_embeddings": embeddings_of(NAMES)},
        ids=ids_of(30), budget=7,
    )  # fmt: skip
    response = in_time(
        ask(Toy(batch_size=size), [pool(30)], budget=7, strategy="KCenter", labelled=KNOWN)
    )
    assert tuple(pick.id for pick in response.picks) == expected.ids
    assert response.receipt.labelled_size == 6
    assert response.receipt.pool_size == 30
    without = in_time(ask(Toy(), [pool(30)], budget=7, strategy="KCenter"))
    assert [pick.id for pick in without.picks] != list(expected.ids)
    assert without.receipt.labelled_size == 0


def test_labels_reach_the_strategy_with_their_items() -> None:
    views = {
        "probs": probs_of(ids_of(30)),
        "labelled_probs": probs_of(NAMES),
        "labels": np.array([0, 1] * 3),
    }
    expected = run("galaxy", views, ids=ids_of(30), budget=5)
    named = [{**one, "label": ("first", "second")[int(str(one["label"]))]} for one in KNOWN]
    for labelled in (KNOWN, named):
        engine = Toy(batch_size=2, window=2)
        response = in_time(
            ask(engine, [pool(30)], budget=5, strategy="galaxy", labelled=labelled)
        )  # fmt: skip
        assert tuple(pick.id for pick in response.picks) == expected.ids


def test_a_labelled_item_that_is_lost_takes_its_label_with_it() -> None:
    lost = Failure("k1", "fetch", "fetch_failed", "no good", uri="k1")
    kept = [name for name in NAMES if name != "k1"]
    views = {
        "probs": probs_of(ids_of(30)),
        "labelled_probs": probs_of(kept),
        "labels": np.array([0, 0, 1, 0, 1]),
    }
    expected = run("galaxy", views, ids=ids_of(30), budget=5)
    response = in_time(
        ask(Toy(lost=[lost]), [pool(30)], budget=5, strategy="galaxy", labelled=KNOWN)
    )
    assert tuple(pick.id for pick in response.picks) == expected.ids
    assert [failure.id for failure in response.failures] == ["k1"]
    assert response.receipt.labelled_size == 5


def test_a_lost_labelled_item_can_end_the_query() -> None:
    lost = Failure("k1", "fetch", "fetch_failed", "no good")
    error = refused(
        Toy(lost=[lost]), strategy="KCenter", labelled=KNOWN, on_item_error="fail"
    )  # fmt: skip
    assert isinstance(error, ItemFailed)
    assert "labelled item 'k1' failed in fetch" in error.detail


def test_a_labelled_item_may_be_in_the_pool_too() -> None:
    labelled = [{"uri": "u0", "id": "i0", "label": 0}]
    response = in_time(ask(Toy(), [pool(5)], budget=5, strategy="KCenter", labelled=labelled))
    assert {pick.id for pick in response.picks} == set(ids_of(5))


def test_ids_of_labelled_items_are_made_up_apart_from_the_pools() -> None:
    one = labelled_from_json({"uri": "a.png", "label": "cat"}, 3)
    assert one == Labelled(Item("labelled/3", uri="a.png"), "cat")


def test_labelled_items_of_a_strategy_that_learns_from_none_are_not_even_fetched() -> None:
    engine = Toy()
    response = in_time(ask(engine, [pool(9)], strategy="entropy", labelled=KNOWN))
    assert [warning.code for warning in response.warnings] == ["labelled_ignored"]
    assert sum(len(items.items) for items in engine.cut) == 9


def test_balance_reads_labels_alone() -> None:
    engine = Toy()
    only = [{"uri": f"k{row}", "label": 0} for row in range(5)]
    response = in_time(
        ask(engine, [pool(30)], budget=5, strategy="entropy", labelled=only,
            params={"balance": True})
    )  # fmt: skip
    chosen = probs_of([pick.id for pick in response.picks]).argmax(axis=1)
    assert chosen.tolist() == [1] * 5
    assert sum(len(items.items) for items in engine.cut) == 30


@pytest.mark.parametrize(
    ("labelled", "pointer", "message"),
    [
        ([], "/parameters/labelled", "galaxy needs labelled items"),
        ([{"uri": "a", "label": 2}], "/parameters/labelled/0/label", "from 0 to 1, got 2"),
        ([{"uri": "a", "label": 0.5}], "/parameters/labelled/0/label", "from 0 to 1, got 0.5"),
        ([{"uri": "a", "label": "dog"}], "/parameters/labelled/0/label", "knows first, second"),
        ([{"uri": "a", "label": True}], "/parameters/labelled/0/label", "got True"),
        ([{"uri": "a", "label": [1]}], "/parameters/labelled/0/label", r"got \[1\]"),
        ([{"uri": "a"}], "/parameters/labelled/0/label", "is missing"),
        ([{"label": 1}], "/parameters/labelled/0", "exactly one of uri, text and blob"),
        ([{"uri": "a", "id": "x", "label": 1}] * 2, "/parameters/labelled/1/id", "must be unique"),
    ],
)
def test_a_wrong_label_is_named_before_anything_is_fetched(
    labelled: Any, pointer: str, message: str
) -> None:
    engine = Toy()
    with pytest.raises(ValidationFailed, match=message) as caught:
        in_time(ask(engine, [pool(5)], strategy="galaxy", labelled=labelled))
    assert [error.pointer for error in caught.value.errors] == [pointer]
    assert engine.cut == []


def test_a_view_that_the_model_lacks_is_named_before_anything_is_fetched() -> None:
    engine = Toy()
    for strategy, message in (
        ("bald", "bald needs several predictions of an item, and toy has no dropout"),
        ("deep_fool", "needs the view margins, and toy has only probs, embeddings"),
    ):
        error = refused(engine, strategy=strategy)
        assert isinstance(error, ViewUnavailable)
        assert message in error.detail
    assert engine.cut == []


def test_one_class_is_no_uncertainty() -> None:
    engine = Toy()
    engine.card = replace(engine.card, classes=1)
    error = refused(engine, strategy="entropy")
    assert isinstance(error, ViewUnavailable)
    assert "entropy compares classes, and toy has one" in error.detail
    assert engine.cut == []
    assert in_time(ask(engine, [pool(9)], strategy="KCenter")).picks


def test_quotas_that_no_pool_could_fill_are_refused_first() -> None:
    engine = Toy()
    error = refused(engine, budget=9, strategy="entropy", params={"per_class": 4})
    assert isinstance(error, BudgetUnfillable)
    assert engine.cut == []


def test_a_pool_too_large_is_refused_while_it_arrives(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("alaas.strategies.preflight.free_memory", lambda: 60_000.0)
    engine = Toy(batch_size=100)

    async def story() -> None:
        parts = [pool(100, start) for start in range(0, 100_000, 100)]
        with pytest.raises(PoolTooLarge, match=r"k_center_greedy would take .*max_pool"):
            await ask(engine, parts, strategy="KCenter")

    asyncio.run(story())
    assert sum(len(items.items) for items in engine.cut) <= 2_000


def test_groups_travel_with_the_items() -> None:
    items = [Item(f"i{row}", uri=f"u{row}", group=f"g{row % 3}") for row in range(12)]
    response = in_time(
        ask(Toy(batch_size=5), [items], budget=6, strategy="entropy", params={"per_group": 2})
    )
    groups = sorted(int(pick.id[1:]) % 3 for pick in response.picks)
    assert groups == [0, 0, 1, 1, 2, 2]


def test_an_item_without_a_group_is_alone_in_its_own() -> None:
    items = [Item("a", uri="a", group="g"), Item("b", uri="b", group="g"), *pool(3)]
    response = in_time(
        ask(Toy(), [items], budget=4, strategy="entropy", params={"per_group": 1})
    )  # fmt: skip
    assert len({pick.id for pick in response.picks} & {"a", "b"}) == 1


def test_replaying_a_receipt_makes_the_selection_again() -> None:
    first = in_time(
        ask(Toy(), [pool(40)], budget=5, strategy="badge", seed=7, params={"max_pool": 20})
    )
    replay = {
        key: value
        for key, value in first.receipt.to_json().items()
        if key not in ("version", "pool_size")
    }
    again = in_time(ask(Toy(batch_size=7), [pool(40)], **replay))
    assert [pick.id for pick in again.picks] == [pick.id for pick in first.picks]


def label_of(given: Any) -> Label | None:
    read = labelled_from_json({"uri": "a", "label": given}, 0)
    assert isinstance(read, Labelled)
    return read.label


def test_labels_are_numbers_names_or_missing() -> None:
    assert [label_of(one) for one in (3, 0.5, "cat", None)] == [3, 0.5, "cat", None]


def test_items_of_the_query_are_cut_in_order() -> None:
    engine = Toy(batch_size=4)
    in_time(ask(engine, [pool(6)], strategy="KCenter", labelled=KNOWN))
    sizes = [len(items.items) for items in engine.cut if isinstance(items, Items)]
    assert sizes == [4, 1, 1, 4, 1, 1]

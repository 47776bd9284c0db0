"""Stored pools: what is pushed once is chosen from as often as one likes."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from test_pipeline_engine import (
    Toy,
    ask,
    embeddings_of,
    in_time,
    lost,
    pool,
    probs_of,
    source,
)
from test_pipeline_recall import Keeping, Shelf, picks

from alaas.config import PushParameters, StrategySettings
from alaas.core.errors import (
    AlaasError,
    AllItemsFailed,
    EmptyInput,
    ItemFailed,
    StoreDisabled,
    UnknownPool,
    ValidationFailed,
)
from alaas.core.types import Items, Notes, Plan, Scored, Views
from alaas.core.wire import Item, PoolInfo, PushResponse
from alaas.pipeline import push, query
from alaas.pipeline.scorer import Scorer
from alaas.store.pools import Pools


class Storing(Keeping):
    """A toy with pools."""

    def __init__(self, folder: Path, **rest: Any) -> None:
        super().__init__(Shelf(), **rest)
        self.scorer = Scorer(None, Pools(str(folder)))

    async def keep(self, plan: Plan, notes: Notes) -> PoolInfo:
        return self.scorer.keep(plan, notes)

    async def pools(self, name: str | None = None) -> list[PoolInfo]:
        return self.scorer.pools(name)

    async def drop(self, name: str) -> None:
        self.scorer.drop(name)

    async def stored(self, name: str, start: int, size: int) -> Items:
        return self.scorer.stored(name, start, size)


@pytest.fixture
def engine(tmp_path: Path) -> Storing:
    return Storing(tmp_path)


def put(engine: Toy, parts: list[query.Part], **parameters: Any) -> PushResponse:
    asked = PushParameters.model_validate({"pool": "p", **parameters})
    return in_time(push.run(engine, asked, source(parts), defaults=StrategySettings()))


@pytest.mark.parametrize("strategy", ["LeastConfidence", "KCenterGreedy", "RandomSampling"])
def test_a_choice_from_a_pool_is_that_from_its_items(engine: Storing, strategy: str) -> None:
    items = pool(23)
    answer = put(engine, [items[:9], items[9:]])
    assert (answer.pool.items, {*answer.pool.views}) == (23, {"probs", "embeddings"})
    done = len(engine.computed)
    response = in_time(ask(engine, [], pool="p", strategy=strategy, budget=5))
    assert len(engine.computed) == done
    alone = in_time(ask(Keeping(Shelf()), [items], strategy=strategy, budget=5))
    assert picks(response) == picks(alone)
    assert [pick.uri for pick in response.picks] == [pick.uri for pick in alone.picks]
    assert response.receipt.pool_size == 23
    assert response.timings.stages["infer"].hits == 23


def test_what_failed_is_told_and_left_out(engine: Storing) -> None:
    engine.lost = {"i1": lost("i1")}
    broken = lost("i2", stage="fetch")
    answer = put(engine, [[*pool(2), broken, *pool(2, 3)]])
    assert [failure.id for failure in answer.failures] == ["i1", "i2"]
    assert answer.pool.items == 3
    assert answer.timings.stages["fetch"].busy_s >= 0
    response = in_time(ask(engine, [], pool="p", budget=9))
    assert sorted(pick.id for pick in response.picks) == ["i0", "i3", "i4"]


def test_passes_that_the_model_cannot_make_are_told(engine: Storing) -> None:
    (warning,) = put(engine, [pool(2)], n_drop=5).warnings
    assert warning.code == "n_drop_ignored"


class Drawing(Storing):
    """A toy with pools whose model makes as many predictions of an item as it is asked for."""

    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        self.card = replace(self.card, views=(*self.card.views, "draws"))

    async def process(self, plan: Plan, items: Items) -> Scored:
        contents = {item.id: self.content(item) for item in items.items}
        probs = probs_of(contents.values())
        made = {
            "probs": probs,
            "embeddings": embeddings_of(contents.values()),
            "draws": np.stack([probs] * plan.n_drop, axis=1),
        }
        arrays = {name: made[name] for name in plan.needs}
        return self.scorer.add(
            plan, Views(items.seq, tuple(contents), arrays, "m1", (), (*contents.values(),))
        )


@pytest.mark.parametrize(
    ("parameters", "codes"),
    [
        ({"strategy": "bald", "n_drop": 1}, ["n_drop_too_small"]),
        ({"strategy": "bald", "n_drop": 2}, []),
        ({"strategy": "bald"}, []),
        ({"strategy": "mc_entropy", "n_drop": 1}, []),
        ({"n_drop": 1}, []),  # for whichever strategy will read it
    ],
)
def test_a_pass_too_few_is_told(
    tmp_path: Path, parameters: dict[str, Any], codes: list[str]
) -> None:
    answer = put(Drawing(tmp_path), [pool(5)], **parameters)
    assert f"draws-{parameters.get('n_drop', 10)}-0" in answer.pool.views
    assert [one.code for one in answer.warnings] == codes


def test_groups_are_kept(engine: Storing) -> None:
    items = [Item(f"i{row}", uri=f"u{row}", group=f"g{row % 3}") for row in range(12)]
    put(engine, [items])
    response = in_time(ask(engine, [], pool="p", budget=3, params={"per_group": 1}))
    assert len({int(pick.id[1:]) % 3 for pick in response.picks}) == 3


def test_a_model_that_changed_computes_the_pool_anew(tmp_path: Path) -> None:
    other = Storing(tmp_path)
    other.card = replace(other.card, digest="another")
    put(other, [pool(7)])
    engine = Storing(tmp_path)
    response = in_time(ask(engine, [], pool="p", budget=2))
    assert len(engine.computed) == 7
    assert picks(response) == picks(in_time(ask(Keeping(Shelf()), [pool(7)], budget=2)))


def test_a_new_push_replaces_the_old_one(engine: Storing) -> None:
    put(engine, [pool(5)])
    put(engine, [pool(4, 10)])
    (info,) = in_time(engine.pools())
    assert info.items == 4
    response = in_time(ask(engine, [], pool="p", budget=9))
    assert sorted(pick.id for pick in response.picks) == ["i10", "i11", "i12", "i13"]


def test_labelled_items_go_with_a_stored_pool(engine: Storing) -> None:
    put(engine, [pool(12)])
    known = [{"uri": "u3", "label": 0}, {"uri": "u9", "label": 1}]
    asked = {"strategy": "KCenterGreedy", "labelled": known, "budget": 4}
    response = in_time(ask(engine, [], pool="p", **asked))
    assert picks(response) == picks(in_time(ask(Keeping(Shelf()), [pool(12)], **asked)))


def test_a_deleted_pool_is_unknown(engine: Storing) -> None:
    put(engine, [pool(3)])
    in_time(engine.drop("p"))
    for work in (engine.drop("p"), ask(engine, [], pool="p")):
        with pytest.raises(UnknownPool):
            in_time(work)


def test_a_pool_and_items_at_once_are_refused(engine: Storing) -> None:
    put(engine, [pool(3)])
    with pytest.raises(ValidationFailed, match="/data"):
        in_time(ask(engine, [pool(2)], pool="p"))


@pytest.mark.parametrize(
    ("parts", "parameters", "expected"),
    [
        ([], {}, EmptyInput),
        ([[lost("i0")]], {}, AllItemsFailed),
        ([[lost("i0"), *pool(2, 1)]], {"on_item_error": "fail"}, ItemFailed),
        ([[*pool(2), *pool(1)]], {}, ValidationFailed),
        ([pool(2)], {"strategy": "bald"}, AlaasError),
    ],
)
def test_a_push_that_fails_leaves_nothing(
    engine: Storing, parts: list[query.Part], parameters: Any, expected: type[AlaasError]
) -> None:
    with pytest.raises(expected):
        put(engine, parts, **parameters)
    assert in_time(engine.pools()) == []
    assert engine.scorer._queries == {}


def test_a_service_that_stores_nothing_has_no_pools() -> None:
    scorer = Scorer()
    with pytest.raises(StoreDisabled):
        scorer.pools()


def test_a_pool_comes_in_parts(engine: Storing, monkeypatch: pytest.MonkeyPatch) -> None:
    put(engine, [pool(10)])
    monkeypatch.setattr(push, "ADMITTED", 4)

    async def sizes() -> AsyncIterator[int]:
        async for part in push.stored(engine, "p"):
            yield len(part.items)

    async def collect() -> list[int]:
        return [size async for size in sizes()]

    assert in_time(collect()) == [4, 4, 2]

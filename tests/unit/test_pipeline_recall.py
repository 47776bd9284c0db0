"""Nothing is computed twice: what is stored is taken, what is on its way is waited for."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from test_pipeline_engine import Toy, ask, embeddings_of, in_time, pool, probs_of, refusal

from alaas.core.digest import digest
from alaas.core.errors import DeadlineExceeded
from alaas.core.types import Admitted, Items, Plan, Scored, Views
from alaas.core.wire import Item, QueryResponse
from alaas.pipeline.claims import computed, stored_names
from alaas.pipeline.scorer import Scorer


class Shelf:
    """A feature store that is a dictionary."""

    def __init__(self) -> None:
        self.rows: dict[tuple[str, str, str], NDArray[Any]] = {}
        self.ones: dict[tuple[str, str], NDArray[Any]] = {}
        self.damaged = 0

    def take_damaged(self) -> int:
        damaged, self.damaged = self.damaged, 0
        return damaged

    def has(self, space: str, view: str, digests: Sequence[str]) -> NDArray[np.bool_]:
        return np.array([(space, view, name) in self.rows for name in digests], bool)

    def get(
        self, space: str, view: str, digests: Sequence[str]
    ) -> tuple[NDArray[np.bool_], NDArray[Any]]:
        found = self.has(space, view, digests)
        rows = [self.rows[space, view, name] for name in np.array(digests)[found]]
        return found, np.array(rows, np.float64)

    def put(self, space: str, view: str, digests: Sequence[str], rows: NDArray[Any]) -> None:
        for name, row in zip(digests, rows, strict=True):
            self.rows[space, view, name] = row

    def get_one(self, space: str, name: str) -> NDArray[Any] | None:
        return self.ones.get((space, name))

    def put_one(self, space: str, name: str, array: NDArray[Any]) -> None:
        self.ones[space, name] = array


class Keeping(Toy):
    """A toy that stores, and that knows what lies at some addresses.

    The content of an item is its address: ``u7`` and ``u7#again`` hold the same.
    """

    def __init__(self, shelf: Shelf, known: dict[str, str] | None = None, **rest: Any) -> None:
        super().__init__(**rest)
        self.scorer = Scorer(shelf)  # type: ignore[arg-type]
        self.known = known if known is not None else {}
        self.computed: list[str] = []

    @staticmethod
    def content(item: Item) -> str:
        return digest(item.blob or (item.text or (item.uri or "").partition("#")[0]).encode())

    async def admit(self, plan: Plan, items: Items) -> Admitted:
        if plan.cache and items.digests:
            named = zip(items.items, items.digests, strict=True)
            digests = tuple(name or self.known.get(item.uri or "", "") for item, name in named)
            items = replace(items, digests=digests)
        return self.scorer.admit(plan, items)

    async def process(self, plan: Plan, items: Items) -> Scored:
        self.cut.append(items)
        if self.during is not None:
            await self.during(items)
        whole = [item for item in items.items if item.id not in self.lost]
        contents = {item.id: self.content(item) for item in whole}
        self.known |= {item.uri: contents[item.id] for item in whole if item.uri}
        self.computed += contents.values()
        made = {"probs": probs_of, "embeddings": embeddings_of}
        arrays = {name: made[name](contents.values()) for name in computed(plan.needs)}
        failures = tuple(self.lost[item.id] for item in items.items if item.id in self.lost)
        views = Views(items.seq, tuple(contents), arrays, "m1", failures, (*contents.values(),))
        return self.scorer.add(plan, views)


def picks(response: QueryResponse) -> list[tuple[str, float]]:
    return [(pick.id, pick.score) for pick in response.picks]


def test_a_pool_that_was_seen_is_not_computed_again() -> None:
    shelf, known = Shelf(), dict[str, str]()
    first = in_time(ask(Keeping(shelf, known), [pool(10)]))
    again = Keeping(shelf, known)
    second = in_time(ask(again, [pool(10)]))
    assert again.computed == []
    assert picks(second) == picks(first)
    assert {s: t.hits for s, t in second.timings.stages.items()}["infer"] == 10
    assert second.receipt == first.receipt


@pytest.mark.parametrize("strategy", ["Entropy", "KCenterGreedy", "RandomSampling"])
def test_another_strategy_reads_what_the_first_pass_gave(strategy: str) -> None:
    shelf, known = Shelf(), dict[str, str]()
    in_time(ask(Keeping(shelf, known), [pool(10)], strategy="LeastConfidence"))
    again = Keeping(shelf, known)
    response = in_time(ask(again, [pool(10)], strategy=strategy))
    assert again.computed == []
    assert picks(response) == picks(in_time(ask(Keeping(Shelf()), [pool(10)], strategy=strategy)))


@pytest.mark.parametrize("strategy", ["LeastConfidence", "KCenterGreedy"])
def test_a_pool_that_grew_costs_what_is_new_and_chooses_as_if_all_were(strategy: str) -> None:
    shelf, known = Shelf(), dict[str, str]()
    whole = pool(30)
    in_time(ask(Keeping(shelf, known), [whole[1::2]], strategy=strategy))
    grown = Keeping(shelf, known, batch_size=4)
    response = in_time(ask(grown, [whole[:7], whole[7:]], strategy=strategy, budget=9))
    assert sorted(grown.computed) == sorted(map(Keeping.content, whole[::2]))
    alone = in_time(ask(Keeping(Shelf()), [whole], strategy=strategy, budget=9))
    assert picks(response) == picks(alone)
    assert response.timings.stages["infer"].hits == 15


def test_cache_off_neither_takes_nor_keeps() -> None:
    shelf, known = Shelf(), dict[str, str]()
    in_time(ask(Keeping(shelf, known), [pool(4)], cache=False))
    assert shelf.rows == {}
    in_time(ask(Keeping(shelf, known), [pool(4)]))
    engine = Keeping(shelf, known)
    response = in_time(ask(engine, [pool(4)], cache=False))
    assert len(engine.computed) == 4
    assert response.timings.stages["infer"].hits == 0


def test_bytes_and_texts_are_known_by_what_they_are() -> None:
    shelf = Shelf()
    items = [Item(f"b{row}", blob=bytes([row])) for row in range(5)]
    in_time(ask(Keeping(shelf), [items]))
    again = Keeping(shelf)
    renamed = [replace(item, id=f"other{item.id}") for item in items]
    in_time(ask(again, [renamed]))
    assert again.computed == []


def test_an_item_that_stands_in_a_pool_twice_is_computed_once() -> None:
    engine = Keeping(Shelf(), batch_size=2)
    twice = [*pool(5), *(replace(item, id=f"{item.id}'") for item in pool(5))]
    response = in_time(ask(engine, [twice], budget=10))
    assert len(engine.computed) == 5
    assert len(response.picks) == 10


def test_two_queries_at_once_compute_what_they_share_once() -> None:
    shelf, known = Shelf(), dict[str, str]()

    async def scenario() -> tuple[Keeping, list[QueryResponse]]:
        gate = asyncio.Event()
        engine = Keeping(shelf, known, batch_size=4, window=9)

        async def during(_: Items) -> None:
            if len(engine.cut) == 4:  # all that is not claimed is on its way
                gate.set()
            await gate.wait()

        engine.during = during
        asked = [
            asyncio.create_task(ask_as(engine, f"q{turn}", pool(12, 4 * turn))) for turn in range(2)
        ]
        return engine, await asyncio.gather(*asked)

    engine, responses = in_time(scenario())
    assert len(engine.computed) == len(set(engine.computed)) == 16
    for turn, response in enumerate(responses):
        alone = in_time(ask(Keeping(Shelf()), [pool(12, 4 * turn)]))
        assert picks(response) == picks(alone)


async def ask_as(engine: Toy, name: str, items: list[Item]) -> QueryResponse:
    from test_pipeline_engine import source

    from alaas.config import QueryParameters, StrategySettings
    from alaas.pipeline import query

    return await query.run(
        engine, QueryParameters(budget=3), source([items]), defaults=StrategySettings(),
        request_id=name,
    )  # fmt: skip


def test_who_waits_for_a_query_that_fails_computes_it_alone() -> None:
    async def scenario() -> Keeping:
        broken, gate = asyncio.Event(), asyncio.Event()
        engine = Keeping(Shelf(), batch_size=4, window=9)

        async def during(_: Items) -> None:
            if len(engine.cut) == 1:
                broken.set()
                await gate.wait()
                raise DeadlineExceeded("gone")

        engine.during = during
        first = asyncio.create_task(ask_as(engine, "first", pool(4)))
        await broken.wait()
        second = asyncio.create_task(ask_as(engine, "second", pool(4)))
        for _ in range(20):
            await asyncio.sleep(0)
        assert len(engine.cut) == 1  # the second one waits
        gate.set()
        with pytest.raises(DeadlineExceeded):
            await first
        assert len((await second).picks) == 3
        return engine

    engine = in_time(scenario())
    assert len(engine.cut) == 2
    assert engine.claims._running == {}


def test_ids_must_be_unique_also_where_nothing_is_computed() -> None:
    shelf, known = Shelf(), dict[str, str]()
    in_time(ask(Keeping(shelf, known), [pool(4)]))
    error = refusal(Keeping(shelf, known), [[*pool(4), *pool(1)]])
    assert error.errors[0].pointer == "/data/4/id"


def test_draws_are_stored_by_their_number_and_seed() -> None:
    plan = Plan("q", "bald", {}, 3, 1, ("draws",), n_drop=20)
    assert stored_names(plan, ("draws", "probs")) == ("draws-20-3", "probs")


def test_damage_is_said_once() -> None:
    shelf = Shelf()
    shelf.damaged = 3
    scorer = Scorer(shelf)  # type: ignore[arg-type]
    plan = Plan("q", "entropy", {}, 0, 1, ("probs",))
    told = [
        scorer.admit(plan, Items(row, (Item(f"i{row}"),), rows=(row,))).corrupt for row in range(2)
    ]
    assert told == [3, 0]

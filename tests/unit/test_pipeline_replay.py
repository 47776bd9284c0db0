"""A query whose books are lost while it runs begins again, and chooses the same."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from test_pipeline_engine import Toy, in_time, lost, pool, source
from test_pipeline_pools import Storing
from test_pipeline_recall import picks

from alaas.config import PushParameters, StrategySettings, parse_parameters
from alaas.core.errors import BooksLost
from alaas.core.types import Notes, Plan, Selection
from alaas.core.wire import Item, PoolInfo, QueryResponse
from alaas.pipeline import push, query
from alaas.pipeline.ledger import Part
from alaas.pipeline.replay import ATTEMPTS, Again, Replay
from alaas.pipeline.scorer import Scorer

ITEMS = pool(23)
PARTS: list[Part] = [ITEMS[:9], [lost("broken", stage="fetch")], ITEMS[9:]]


class Mortal(Toy):
    """A toy whose scorer is replaced by an empty one, once or more often.

    Args:
        deaths: How often.
        at: After how many micro-batches; as many as there are, and it is just before the choice.
    """

    def __init__(self, deaths: int = 1, *, at: int = 3, **rest: Any) -> None:
        super().__init__(**rest)
        self.deaths, self.at = deaths, at
        self.begun: set[str] = set()

    async def process(self, plan: Plan, items: Any) -> Any:
        scored = await super().process(plan, items)
        self.begun.add(plan.query)
        if len(self.cut) % 6 == self.at:
            self.die()
        return scored

    async def select(self, plan: Plan, notes: Notes) -> Selection:
        if self.at == 6:
            self.die()
        return await super().select(plan, notes)

    def die(self) -> None:
        if self.deaths:
            self.deaths -= 1
            self.scorer = Scorer()


def run(engine: Toy, given: Any, **parameters: Any) -> QueryResponse:
    asked = parse_parameters({"budget": 5, **parameters})
    return in_time(query.run(engine, asked, given, defaults=StrategySettings()))


def undisturbed(**parameters: Any) -> QueryResponse:
    return run(Toy(), Again([one for part in PARTS for one in part]), **parameters)


@pytest.mark.parametrize("at", [1, 3, 6])
@pytest.mark.parametrize("deaths", [1, 3])
@pytest.mark.parametrize("strategy", ["LeastConfidence", "KCenterGreedy"])
def test_the_same_is_chosen(deaths: int, at: int, strategy: str) -> None:
    engine = Mortal(deaths, at=at)
    response = run(engine, Replay(source(PARTS)), strategy=strategy)
    wanted = undisturbed(strategy=strategy)
    assert engine.deaths == 0
    assert picks(response) == picks(wanted)
    assert response.failures == wanted.failures
    assert response.receipt == wanted.receipt
    assert engine.scorer._queries == {}


def test_labelled_items_are_learnt_again() -> None:
    known = [{"uri": f"k{row}", "label": row % 2} for row in range(4)]
    given = {"strategy": "galaxy", "labelled": known}
    # The first micro-batch is that of the labelled items; nothing of the pool has come yet.
    response = run(Mortal(at=1), Again(ITEMS), **given)
    assert picks(response) == picks(run(Toy(), Again(ITEMS), **given))


def test_a_pool_that_cannot_be_read_again_is_refused() -> None:
    with pytest.raises(BooksLost, match=r"lost \d+ of 23 items"):
        run(Mortal(), source(PARTS))


def test_what_dies_every_time_is_given_up() -> None:
    class Doomed(Mortal):
        async def select(self, plan: Plan, notes: Notes) -> Selection:
            self.die()
            return await super().select(plan, notes)

    engine = Doomed(100, at=-1)
    with pytest.raises(BooksLost):
        run(engine, Replay(source(PARTS)))
    assert (engine.deaths, len(engine.begun)) == (100 - ATTEMPTS, ATTEMPTS)


def test_a_push_begins_again_and_never_stores_a_part(tmp_path: Path) -> None:
    class Forgetful(Storing):
        deaths = 2

        async def keep(self, plan: Plan, notes: Notes) -> PoolInfo:
            if self.deaths:
                self.deaths -= 1
                self.scorer._queries.clear()
            return await super().keep(plan, notes)

    engine = Forgetful(tmp_path)
    asked = PushParameters(pool="p")
    work = push.run(engine, asked, Replay(source(PARTS)), defaults=StrategySettings())
    assert in_time(work).pool.items == 23
    engine.deaths = 1
    with pytest.raises(BooksLost):
        in_time(push.run(engine, asked, source([ITEMS[:4]]), defaults=StrategySettings()))
    assert Storing(tmp_path).scorer.pools("p")[0].items == 23


def test_everything_comes_back_as_it_was() -> None:
    part: Part = [
        Item("a", uri="https://example.com/ü.png", group="g"),
        Item("b", text='line\n"two"\0'),
        Item("c", blob=bytes(range(256))),
        lost("d", uri="x"),
    ]

    async def twice() -> tuple[list[Part], list[Part]]:
        replay = Replay(source([part, part[:1]]))
        try:
            return [one async for one in replay], [one async for one in replay]
        finally:
            replay.close()

    first, second = in_time(twice())
    assert [list(one) for one in first] == [list(one) for one in second] == [part, part[:1]]


def test_who_waits_may_be_cancelled_and_nothing_is_lost() -> None:
    asked, arrival = asyncio.Event(), asyncio.Event()

    async def slow() -> AsyncIterator[Part]:
        yield ITEMS[:1]
        asked.set()
        await arrival.wait()
        yield ITEMS[1:2]

    async def interrupted() -> list[str]:
        replay = Replay(slow())

        async def read() -> None:
            async for _ in replay:
                pass

        task = asyncio.ensure_future(read())
        await asked.wait()
        task.cancel()
        await asyncio.wait([task])
        arrival.set()
        try:
            return [item.id async for part in replay for item in part]
        finally:
            replay.close()

    assert in_time(interrupted()) == ["i0", "i1"]


def test_a_disk_that_is_full_costs_the_second_reading_only(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def full(*_: Any, **__: Any) -> Any:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("alaas.pipeline.replay.tempfile.TemporaryFile", full)
    replay = Replay(source(PARTS))
    assert picks(run(Toy(), replay)) == picks(undisturbed())
    assert not replay.complete
    with pytest.raises(BooksLost):
        run(Mortal(), Replay(source(PARTS)))

"""The service, whatever the protocol: what holds up its stop, and what it refuses then."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest
from test_pipeline_engine import Toy, in_time, pool, source

from alaas.config import Preprocessing, Settings
from alaas.core.errors import NotReady, StoreDisabled, UnknownPool
from alaas.core.types import Items, Notes, Plan
from alaas.core.wire import PoolInfo
from alaas.models.card import ModelCard
from alaas.pipeline.scorer import Scorer
from alaas.server.metrics import Metrics
from alaas.server.models import Models
from alaas.server.service import Service
from alaas.store.pools import Pools


class Storing(Toy):
    """The same, with a store for pools; without a folder it stores nothing."""

    def __init__(self, folder: Path | None) -> None:
        super().__init__()
        pools = None if folder is None else Pools(str(folder))
        self.scorer = Scorer(None, pools)

    async def keep(self, plan: Plan, notes: Notes) -> PoolInfo:
        return self.scorer.keep(plan, notes)

    async def pools(self, name: str | None = None) -> list[PoolInfo]:
        return self.scorer.pools(name)

    async def drop(self, name: str) -> None:
        self.scorer.drop(name)

    async def stored(self, name: str, start: int, size: int) -> Items:
        return self.scorer.stored(name, start, size)


def service(engine: Toy) -> Service:
    spec = Preprocessing(size=8, mean=(0, 0, 0), std=(1, 1, 1))
    card = ModelCard("toy", "python", "none", "m1", 2, (), 0, spec, ("probs",))
    return Service(Models([engine]), Settings(), Metrics([card]))


def test_a_stop_waits_for_queries_and_refuses_new_ones() -> None:
    async def story() -> None:
        gate = asyncio.Event()
        reached = asyncio.Event()

        async def hold(_: object) -> None:
            reached.set()
            await gate.wait()

        serving = service(Toy(during=hold))
        asked = asyncio.create_task(serving.query({"budget": 2}, source([pool(5)])))
        await reached.wait()
        draining = asyncio.create_task(serving.drain(60))
        ended, _ = await asyncio.wait({draining}, timeout=0.1)
        assert not ended
        with pytest.raises(NotReady):
            await serving.query({"budget": 1}, source([pool(1)]))
        with pytest.raises(NotReady):
            await serving.check()
        gate.set()
        assert len((await asked).picks) == 2
        await draining

    in_time(story())


def test_a_stop_waits_until_an_answer_has_been_sent() -> None:
    async def story() -> None:
        serving = service(Toy())
        with serving.held():
            await serving.query({"budget": 2}, source([pool(5)]))
            draining = asyncio.create_task(serving.drain(60))
            ended, _ = await asyncio.wait({draining}, timeout=0.1)
            assert not ended
        await draining

    in_time(story())


def test_a_stop_waits_no_longer_than_it_may() -> None:
    async def story() -> None:
        serving = service(Toy())
        with serving.held():
            await serving.drain(0.01)
        assert serving.stopping

    in_time(story())


def figure(serving: Service, line: str) -> bool:
    return line in serving.metrics.exposition().decode().splitlines()


def test_a_pool_is_stored_chosen_from_and_deleted(tmp_path: Path) -> None:
    async def story() -> None:
        serving = service(Storing(tmp_path))
        pushed = await serving.push({"pool": "b", "ttlS": 60}, source([pool(5)]))
        await serving.push({"pool": "a"}, source([pool(3)]))
        assert [one.name for one in await serving.pools()] == ["a", "b"]
        assert await serving.pool("b") == pushed.pool
        assert figure(serving, "alaas_pools 2.0")
        assert figure(serving, 'alaas_items_total{code="",outcome="ranked"} 8.0')
        answer = await serving.query({"pool": "b", "budget": 2}, source([]))
        assert len(answer.picks) == 2
        assert figure(serving, 'alaas_cache_hits_total{stage="infer"} 5.0')
        await serving.delete_pool("b")
        assert figure(serving, "alaas_pools 1.0")
        with pytest.raises(UnknownPool):
            await serving.pool("b")
        with pytest.raises(UnknownPool):
            await serving.delete_pool("b")

    in_time(story())


def test_a_new_service_counts_the_pools_of_the_one_before(tmp_path: Path) -> None:
    async def story() -> None:
        await service(Storing(tmp_path)).push({"pool": "a"}, source([pool(3)]))
        serving = service(Storing(tmp_path))
        assert figure(serving, "alaas_pools 0.0")
        await serving.check()
        assert figure(serving, "alaas_pools 1.0")

    in_time(story())


def test_a_pool_whose_time_is_over_is_counted_no_more(tmp_path: Path) -> None:
    async def story() -> None:
        serving = service(Storing(tmp_path))
        await serving.push({"pool": "a", "ttl_s": 1e-6}, source([pool(3)]))
        assert figure(serving, "alaas_pools 0.0")

    in_time(story())


def test_where_nothing_is_stored_nothing_is_computed() -> None:
    async def story() -> None:
        engine = Storing(None)
        serving = service(engine)
        with pytest.raises(StoreDisabled):
            await serving.push({"pool": "a"}, source([pool(5)]))
        assert engine.cut == []
        with pytest.raises(StoreDisabled):
            await serving.pools()
        await serving.check()
        assert figure(serving, "alaas_pools 0.0")

    in_time(story())


def test_a_stopping_service_stores_nothing(tmp_path: Path) -> None:
    async def story() -> None:
        serving = service(Storing(tmp_path))
        await serving.drain(1)
        for asked in (
            serving.push({"pool": "a"}, source([pool(1)])),
            serving.pools(),
            serving.delete_pool("a"),
        ):
            with pytest.raises(NotReady):
                await asked

    in_time(story())

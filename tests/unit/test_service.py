"""The service, whatever the protocol: what holds up its stop, and what it refuses then."""

from __future__ import annotations

import asyncio

import pytest
from test_pipeline_engine import Toy, in_time, pool, source

from alaas.config import Preprocessing, Settings
from alaas.core.errors import NotReady
from alaas.models.card import ModelCard
from alaas.server.metrics import Metrics
from alaas.server.service import Service


def service(engine: Toy) -> Service:
    spec = Preprocessing(size=8, mean=(0, 0, 0), std=(1, 1, 1))
    card = ModelCard("toy", "python", "none", "m1", 2, (), 0, spec, ("probs",))
    return Service(engine, Settings(), card, Metrics(card))


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

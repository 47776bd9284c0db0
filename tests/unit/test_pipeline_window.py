"""How many micro-batches are in flight, and that none is left behind, whatever happens."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from test_pipeline_engine import Toy, ask, in_time, pool, refusal, source

from alaas.config import QueryParameters, StrategySettings
from alaas.core.errors import (
    AlaasError,
    DeadlineExceeded,
    Internal,
    ModelOutputInvalid,
    NoReplica,
)
from alaas.core.types import Items
from alaas.core.wire import Progress
from alaas.pipeline import query


async def forever(*_: Any) -> None:
    await asyncio.Event().wait()


def fails_at(seq: int, error: BaseException, *, others: Callable[..., Any] = forever) -> Any:
    async def during(items: Items) -> None:
        if items.seq == seq:
            raise error
        await others()

    return during


@settings(deadline=None)
@given(
    size=st.integers(1, 60),
    batch_size=st.integers(1, 9),
    window=st.integers(1, 8),
    yields=st.lists(st.integers(0, 3), min_size=1, max_size=7),
)
def test_never_more_than_the_window(
    size: int, batch_size: int, window: int, yields: list[int]
) -> None:
    async def scenario() -> Toy:
        async def during(items: Items) -> None:
            for _ in range(yields[items.seq % len(yields)]):
                await asyncio.sleep(0)  # lets the others run

        engine = Toy(batch_size=batch_size, window=window, during=during)
        await ask(engine, [pool(size)])
        return engine

    engine = in_time(scenario())
    assert 1 <= engine.most <= window


@pytest.mark.parametrize("window", [1, 2, 5])
def test_as_many_as_the_window_at_once(window: int) -> None:
    """Each waits until all are there: with one fewer in flight, it would never end."""

    async def scenario() -> Toy:
        together = asyncio.Barrier(window)
        engine = Toy(batch_size=2, window=window, during=lambda _: together.wait())
        await ask(engine, [pool(2 * window * 3)])
        return engine

    assert in_time(scenario()).most == window


def test_the_window_is_shared_by_all_queries() -> None:
    async def scenario() -> Toy:
        together = asyncio.Barrier(3)
        engine = Toy(batch_size=1, window=3, during=lambda _: together.wait())
        parameters, defaults = QueryParameters(budget=1), StrategySettings()
        await asyncio.gather(
            *(query.run(engine, parameters, source([pool(6)]), defaults=defaults) for _ in range(4))
        )
        assert await engine.all_free()
        return engine

    engine = in_time(scenario())
    assert engine.most == 3
    assert engine.asked.count("select") == 4


def test_a_full_window_holds_the_source_back() -> None:
    drawn: list[int] = []

    async def parts() -> AsyncIterator[query.Part]:
        for row in range(100):
            drawn.append(row)
            yield pool(1, row)

    async def scenario() -> None:
        reached, release = asyncio.Event(), asyncio.Event()

        async def during(items: Items) -> None:
            if items.seq == 2:
                reached.set()
            await release.wait()

        engine = Toy(batch_size=4, window=3, during=during)
        running = asyncio.create_task(
            query.run(engine, QueryParameters(budget=1), parts(), defaults=StrategySettings())
        )
        await reached.wait()
        for _ in range(50):
            await asyncio.sleep(0)
        # Three micro-batches in flight, and one more that waits for its slot.
        assert len(drawn) == 16
        release.set()
        await running
        assert len(drawn) == 100

    in_time(scenario())


@settings(deadline=None)
@given(seq=st.integers(0, 9), window=st.integers(1, 5), batch_size=st.integers(1, 3))
def test_an_error_ends_the_query_and_frees_the_slots(
    seq: int, window: int, batch_size: int
) -> None:
    async def nothing() -> None:
        await asyncio.sleep(0)

    error = NoReplica("gone")
    engine = Toy(window=window, batch_size=batch_size, during=fails_at(seq, error, others=nothing))
    assert refusal(engine, [pool(10 * batch_size)]) is error


def test_an_error_cancels_what_is_in_flight() -> None:
    engine = Toy(window=5, during=fails_at(3, ModelOutputInvalid("NaN")))
    assert type(refusal(engine, [pool(100)])) is ModelOutputInvalid
    assert engine.cancelled >= 3
    assert len(engine.cut) <= 5


def test_the_first_error_is_the_cause() -> None:
    async def scenario() -> Toy:
        async def during(items: Items) -> None:
            if items.seq == 1:
                raise NoReplica("the cause")
            try:
                await forever()
            except asyncio.CancelledError:
                raise Internal("an echo") from None

        return Toy(window=3, during=during)

    assert refusal(in_time(scenario()), [pool(12)]).detail == "the cause"


def test_an_error_that_is_not_ours_passes() -> None:
    engine = Toy(during=fails_at(1, ZeroDivisionError()))
    with pytest.raises(ZeroDivisionError):
        in_time(ask(engine, [pool(20)]))
    assert engine.asked.count("discard") == 1


def test_an_error_of_the_choice() -> None:
    async def choosing() -> None:
        raise NoReplica("the scorer is gone")

    assert type(refusal(Toy(choosing=choosing), [pool(9)])) is NoReplica


def test_an_error_of_who_listens_to_progress() -> None:
    def listen(_: Progress) -> None:
        raise ConnectionResetError

    engine = Toy()
    with pytest.raises(ConnectionResetError):
        in_time(ask(engine, [pool(9)], on_progress=listen))
    assert engine.asked.count("discard") == 1


async def stalled() -> AsyncIterator[query.Part]:
    yield pool(5)
    await forever()


STALLS: dict[str, tuple[Callable[[], Toy], Callable[[], AsyncIterator[query.Part]]]] = {
    "in a stage": (lambda: Toy(during=forever), lambda: source([pool(50)])),
    "in the choice": (lambda: Toy(choosing=forever), lambda: source([pool(9)])),
    "in the source": (Toy, stalled),
}


@pytest.mark.parametrize("stall", STALLS)
class TestGivenUp:
    def test_by_its_deadline(self, stall: str) -> None:
        async def scenario() -> Toy:
            new_engine, new_source = STALLS[stall]
            engine, parts = new_engine(), new_source()
            with pytest.raises(DeadlineExceeded, match=r"did not finish within 0\.02 s"):
                await query.run(
                    engine,
                    QueryParameters(budget=1, timeout_s=0.02),
                    parts,
                    defaults=StrategySettings(),
                )
            assert await engine.all_free()
            return engine

        engine = in_time(scenario())
        assert engine.asked.count("discard") == 1
        assert engine.running == 0
        assert engine.scorer._queries == {}

    @pytest.mark.parametrize("after", [0, 1, 2, 3, 5, 8, 30])
    def test_by_its_caller(self, stall: str, after: int) -> None:
        async def scenario() -> Toy:
            new_engine, new_source = STALLS[stall]
            engine, parts = new_engine(), new_source()
            running = asyncio.create_task(
                query.run(engine, QueryParameters(budget=1), parts, defaults=StrategySettings())
            )
            for _ in range(after):
                await asyncio.sleep(0)
            running.cancel()
            with pytest.raises(asyncio.CancelledError):
                await running
            assert await engine.all_free()
            assert (engine.asked.count("discard") == 1) == (after > 0)
            return engine

        engine = in_time(scenario())
        assert engine.running == 0
        assert engine.scorer._queries == {}


def test_one_query_that_fails_leaves_another_alone() -> None:
    async def scenario() -> None:
        engine = Toy(batch_size=2, window=2)
        defaults = StrategySettings()

        async def torn() -> AsyncIterator[query.Part]:
            yield pool(6)
            raise NoReplica("torn")

        good, bad = await asyncio.gather(
            query.run(engine, QueryParameters(budget=2), source([pool(20)]), defaults=defaults),
            query.run(engine, QueryParameters(budget=2), torn(), defaults=defaults),
            return_exceptions=True,
        )
        assert isinstance(bad, AlaasError)
        assert not isinstance(good, BaseException)
        assert good.receipt.pool_size == 20
        assert await engine.all_free()

    in_time(scenario())

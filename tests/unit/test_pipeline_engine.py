"""What an engine is: one for the tests of the pipeline, and how all of them cut a pool."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Sequence
from typing import Any, TypeVar
from zlib import crc32

import numpy as np
import pytest
from numpy.typing import NDArray

from alaas.config import ModelSettings, Preprocessing, StrategySettings, parse_parameters
from alaas.core.errors import AlaasError
from alaas.core.types import (
    Admitted,
    Calibrated,
    Items,
    Notes,
    Plan,
    Scored,
    Selection,
    Spent,
    Views,
)
from alaas.core.wire import Failure, Item, PoolInfo, QueryResponse
from alaas.models.card import ModelCard
from alaas.models.microbatch import MICRO_BATCH_BYTES, micro_batch
from alaas.pipeline import query
from alaas.pipeline.claims import Claims
from alaas.pipeline.engine import Engine
from alaas.pipeline.scorer import Scorer
from alaas.pipeline.slots import Slots

T = TypeVar("T")

WAIT_S = 60
SPENT = {
    "fetch": Spent(8.0), "preprocess": Spent(4.0), "infer": Spent(2.0), "score": Spent(1.0),
}  # fmt: skip


def probs_of(ids: Iterable[str]) -> NDArray[np.float64]:
    """Made-up predictions, of two classes, that depend on nothing but the id."""
    first = np.array([crc32(name.encode()) % 1000 / 999 for name in ids])
    return np.stack([first, 1 - first], axis=1)


def embeddings_of(ids: Iterable[str]) -> NDArray[np.float64]:
    """Made-up features, of three dimensions, that depend on nothing but the id."""
    values = [crc32(f"{name}/{axis}".encode()) % 1000 for name in ids for axis in range(3)]
    return np.array(values, np.float64).reshape(-1, 3)


class Toy:
    """An engine whose model reads ids. It notes what it is asked, and can be made to fail.

    Args:
        batch_size: Items in a micro-batch.
        window: Micro-batches in flight.
        lost: Items that fail, by id.
        during: Runs while a micro-batch is in flight.
        choosing: Runs before the choice.
    """

    def __init__(
        self,
        *,
        batch_size: int = 4,
        window: int = 3,
        lost: Iterable[Failure] = (),
        during: Callable[[Items], Awaitable[object]] | None = None,
        choosing: Callable[[], Awaitable[object]] | None = None,
    ) -> None:
        self.batch_size, self.window = batch_size, window
        self.slots = Slots(window)
        self.claims = Claims()
        self.lost = {failure.id: failure for failure in lost}
        self.during, self.choosing = during, choosing
        self.card = ModelCard(
            "toy", "python", "none", "m1", 2, ("first", "second"), 3,
            Preprocessing(size=8, mean=(0, 0, 0), std=(1, 1, 1)), ("probs", "embeddings"),
        )  # fmt: skip
        self.scorer = Scorer()
        self.cut: list[Items] = []
        self.asked: list[str] = []
        self.running = self.most = self.cancelled = 0

    async def admit(self, plan: Plan, items: Items) -> Admitted:
        return self.scorer.admit(plan, items)

    async def process(self, plan: Plan, items: Items) -> Scored:
        self.cut.append(items)
        self.running += 1
        self.most = max(self.most, self.running)
        try:
            if self.during is not None:
                await self.during(items)
        except asyncio.CancelledError:
            self.cancelled += 1
            raise
        finally:
            self.running -= 1
        self.asked.append("process")
        failures = tuple(self.lost[item.id] for item in items.items if item.id in self.lost)
        ids = tuple(item.id for item in items.items if item.id not in self.lost)
        made = {"probs": probs_of, "embeddings": embeddings_of}
        arrays = {name: made[name](ids) for name in plan.needs}
        scored = self.scorer.add(plan, Views(items.seq, ids, arrays, "m1", failures))
        return Scored(scored.seq, scored.count, failures, SPENT)

    async def calibrate(self, plan: Plan, notes: Notes) -> Calibrated:
        self.asked.append("calibrate")
        return self.scorer.calibrate(plan, notes)

    async def select(self, plan: Plan, notes: Notes) -> Selection:
        if self.choosing is not None:
            await self.choosing()
        self.asked.append("select")
        return self.scorer.select(plan, notes)

    async def pools(self, name: str | None = None) -> list[PoolInfo]:
        return self.scorer.pools(name)

    async def discard(self, plan: Plan) -> None:
        self.asked.append("discard")
        self.scorer.discard(plan.query)

    async def all_free(self) -> bool:
        """Whether every slot can be had, and not one more."""
        free = 0
        while not self.slots.locked():
            await self.slots.acquire("counting")
            free += 1
        for _ in range(free):
            self.slots.release("counting")
        return free == self.window


async def source(parts: Iterable[query.Part]) -> AsyncIterator[query.Part]:
    for part in parts:
        yield part


def pool(size: int, start: int = 0) -> list[Item]:
    return [Item(f"i{row}", uri=f"u{row}") for row in range(start, start + size)]


def in_time(work: Awaitable[T]) -> T:
    """Run to the end; a test that hangs fails after a minute."""
    return asyncio.run(asyncio.wait_for(work, WAIT_S))


async def ask(
    engine: Toy, parts: Sequence[query.Part], *, budget: int = 3, **rest: Any
) -> QueryResponse:
    """Ask, and look at the engine's slots afterwards, whatever came of it."""
    progress = rest.pop("on_progress", None)
    parameters = parse_parameters({"budget": budget, **rest})
    try:
        return await query.run(
            engine, parameters, source(parts),
            defaults=StrategySettings(), request_id="q", on_progress=progress,
        )  # fmt: skip
    finally:
        assert engine.running == 0
        assert await engine.all_free()
        assert engine.scorer._queries == {}


def refusal(engine: Toy, parts: Sequence[query.Part], **rest: Any) -> AlaasError:
    """The error of a query; the engine was told to forget it, and did not choose."""
    with pytest.raises(AlaasError) as caught:
        in_time(ask(engine, parts, **rest))
    assert engine.asked.count("discard") == 1
    assert "select" not in engine.asked
    return caught.value


def lost(name: str, code: str = "undecodable", **rest: Any) -> Failure:
    return Failure(name, rest.pop("stage", "preprocess"), code, "no good", **rest)


@pytest.mark.parametrize(
    ("size", "expected"), [((224, 224), 16), ((299, 299), 9), ((32, 32), 256), ((2000, 2000), 1)]
)
def test_a_micro_batch_is_a_message_of_good_size(size: tuple[int, int], expected: int) -> None:
    spec = Preprocessing(size=size, mean=(0, 0, 0), std=(1, 1, 1))
    assert micro_batch(ModelSettings(), spec) == expected
    assert expected in {1, 256} or expected * size[0] * size[1] * 3 <= MICRO_BATCH_BYTES
    assert micro_batch(ModelSettings(batch_size=7), spec) == 7


def test_the_engine_of_the_tests_is_one() -> None:
    engine: Engine = Toy()  # a type checker compares them
    assert (engine.batch_size, engine.slots.locked()) == (4, False)

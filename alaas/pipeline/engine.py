"""What runs the stages: the interface, and the engine that lives in this process.

The server's engine, which sends micro-batches through a Jina Flow, is in
`alaas.server.engine`. Both are driven by `alaas.pipeline.query`.
"""

from __future__ import annotations

import asyncio
import os
from dataclasses import replace
from time import perf_counter
from typing import TYPE_CHECKING, Any, Protocol

from alaas.config import Settings
from alaas.core.errors import ModelUnavailable
from alaas.core.types import Admitted, Calibrated, Items, Notes, Plan, Scored, Selection, Spent
from alaas.core.wire import PoolInfo
from alaas.models.card import ModelCard
from alaas.models.foreign import Raised
from alaas.models.microbatch import micro_batch
from alaas.pipeline.claims import Claims
from alaas.pipeline.keeping import keep
from alaas.pipeline.scorer import Scorer
from alaas.pipeline.slots import Slots
from alaas.pipeline.worker import Worker

if TYPE_CHECKING:  # torch stays out of the process that has the gateway
    from alaas.models.load import Model


class Engine(Protocol):
    """Runs the stages on micro-batches of one pool, many of them at a time.

    Attributes:
        card: The model that it runs.
        batch_size: Items in a micro-batch, B.
        slots: Micro-batches in flight, over all queries of this engine, which share them.
        claims: Items in flight, over all queries of this engine.
    """

    card: ModelCard
    batch_size: int
    slots: Slots
    claims: Claims

    async def admit(self, plan: Plan, items: Items) -> Admitted:
        """Enter items in the books of a query, and take in what is stored of them."""
        ...

    async def process(self, plan: Plan, items: Items) -> Scored:
        """Send one micro-batch through *fetch*, *preprocess*, *infer* and *score*."""
        ...

    async def select(self, plan: Plan, notes: Notes) -> Selection:
        """Choose, once, from all micro-batches of the query, or from the pool it names."""
        ...

    async def calibrate(self, plan: Plan, notes: Notes) -> Calibrated:
        """Fit the scaling of a query to its labelled items, for all that is scored then."""
        ...

    async def discard(self, plan: Plan) -> None:
        """Forget a query that will not be finished."""
        ...

    async def keep(self, plan: Plan, notes: Notes) -> PoolInfo:
        """Store all micro-batches of a push as the pool that the plan names."""
        ...

    async def pools(self, name: str | None = None) -> list[PoolInfo]:
        """The pools that are stored, or the one of that name."""
        ...

    async def drop(self, name: str) -> None:
        """Delete a stored pool."""
        ...

    async def stored(self, name: str, start: int, size: int) -> Items:
        """Some consecutive items of a stored pool, from a row on; none beyond its end."""
        ...


class LocalEngine:
    """All four stages in this process, on threads.

    Args:
        settings: The configuration; its server section is not used.
        model: What runs instead of the model that they name.

    Raises:
        ModelUnavailable: The model cannot be loaded.
    """

    def __init__(self, settings: Settings, model: Model | None = None) -> None:
        from alaas.models.load import load

        chosen = settings.active_learning.strategy.model
        model = model or load(chosen)
        self.card = model.card
        self.batch_size = micro_batch(chosen, self.card.preprocessing)
        self.slots = Slots(2 + 2 * (os.cpu_count() or 1), spare=1)
        self.claims = Claims()
        self._kept = keep(settings.store)
        self._worker = Worker(settings, {self.card.served_as: model}, self._kept)
        self._scorer = Scorer(self._kept.features, self._kept.pools)

    async def admit(self, plan: Plan, items: Items) -> Admitted:
        """Enter items in the books of a query, and take in what is stored of them."""
        started = perf_counter()
        named = await self._worker.identify(plan, items)
        fetched = perf_counter()
        admitted = await asyncio.to_thread(self._scorer.admit, plan, named)
        spent = {"fetch": Spent(fetched - started), "score": Spent(perf_counter() - fetched)}
        return replace(admitted, spent=spent)

    async def process(self, plan: Plan, items: Items) -> Scored:
        """Send one micro-batch through the stages."""
        try:
            views, spent = await self._worker.work(plan, items)
        except Raised as error:  # here the caller is who brought the model
            raise ModelUnavailable(f"{self.card.name} fails: {error}") from error
        started = perf_counter()
        scored = await asyncio.to_thread(self._scorer.add, plan, views)
        return replace(scored, spent=spent | {"score": Spent(perf_counter() - started)})

    async def select(self, plan: Plan, notes: Notes) -> Selection:
        """Choose from the whole pool, on a thread: a picker may take a while."""
        return await asyncio.to_thread(self._scorer.select, plan, notes)

    async def calibrate(self, plan: Plan, notes: Notes) -> Calibrated:
        """Fit the scaling of a query to its labelled items, for all that is scored then."""
        return await asyncio.to_thread(self._scorer.calibrate, plan, notes)

    async def discard(self, plan: Plan) -> None:
        """Forget a query that will not be finished."""
        self._scorer.discard(plan.query)

    async def keep(self, plan: Plan, notes: Notes) -> PoolInfo:
        """Store all micro-batches of a push as the pool that the plan names."""
        return await asyncio.to_thread(self._scorer.keep, plan, notes)

    async def pools(self, name: str | None = None) -> list[PoolInfo]:
        """The pools that are stored, or the one of that name."""
        return await asyncio.to_thread(self._scorer.pools, name)

    async def drop(self, name: str) -> None:
        """Delete a stored pool."""
        await asyncio.to_thread(self._scorer.drop, name)

    async def stored(self, name: str, start: int, size: int) -> Items:
        """Some consecutive items of a stored pool, from a row on; none beyond its end."""
        return await asyncio.to_thread(self._scorer.stored, name, start, size)

    async def close(self) -> None:
        """Close connections, threads and stores."""
        await self._worker.close()
        await asyncio.to_thread(self._kept.close)

    async def __aenter__(self) -> LocalEngine:
        return self

    async def __aexit__(self, *_: Any) -> None:
        await self.close()

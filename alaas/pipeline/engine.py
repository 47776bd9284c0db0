"""What runs the stages: the interface, and the engine that lives in this process.

The server's engine, which sends micro-batches through a Jina Flow, is in
`alaas.server.gateway`. Both are driven by `alaas.pipeline.query`.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from time import perf_counter
from typing import Any, Protocol, TypeVar

from alaas.config import ModelSettings, Preprocessing, Settings
from alaas.core.types import Items, Notes, Plan, Scored, Selection
from alaas.data.fetch import Fetcher
from alaas.models.card import ModelCard
from alaas.pipeline import stages

T = TypeVar("T")

# One message of 1 to 5 MB is what travels fastest between processes, and what keeps a
# convolution's working set in the cache.
MICRO_BATCH_BYTES = 2_500_000


class Engine(Protocol):
    """Runs the stages on micro-batches of one pool, many of them at a time.

    Attributes:
        card: The model that it runs.
        batch_size: Items in a micro-batch, B.
        slots: Micro-batches in flight, over all queries of this engine.
    """

    card: ModelCard
    batch_size: int
    slots: asyncio.Semaphore

    async def process(self, plan: Plan, items: Items) -> Scored:
        """Send one micro-batch through *fetch*, *preprocess*, *infer* and *score*."""
        ...

    async def select(self, plan: Plan, notes: Notes) -> Selection:
        """Choose, once, from all micro-batches of the query."""
        ...

    async def discard(self, plan: Plan) -> None:
        """Forget a query that will not be finished."""
        ...


def micro_batch(settings: ModelSettings, preprocessing: Preprocessing) -> int:
    """Items in a micro-batch: as configured, or as many as make a message of good size.

    Every engine cuts a pool by this rule, so that every engine computes the same floats.

    Example:
        >>> from alaas.config import ModelSettings, Preprocessing
        >>> spec = Preprocessing(size=224, mean=(0, 0, 0), std=(1, 1, 1))
        >>> micro_batch(ModelSettings(), spec)
        16
    """
    if settings.batch_size != "auto":
        return settings.batch_size
    height, width = preprocessing.size
    return max(1, min(256, MICRO_BATCH_BYTES // (height * width * 3)))


class LocalEngine:
    """All four stages in this process, on threads.

    Fetching happens on the event loop, decoding on as many threads as there are cores,
    inference on one thread, which torch spreads over the cores itself.

    Args:
        settings: The configuration; its server section is not used.

    Raises:
        ModelUnavailable: The model cannot be loaded.
    """

    def __init__(self, settings: Settings) -> None:
        from alaas.models.load import load

        chosen = settings.active_learning.strategy.model
        self.model = load(chosen)
        self.card = self.model.card
        self.batch_size = micro_batch(chosen, self.card.preprocessing)
        self.slots = asyncio.Semaphore(2 + 2 * (os.cpu_count() or 1))
        self._limits = settings.limits
        self._fetcher = Fetcher(settings.fetch, settings.limits)
        self._decoding = ThreadPoolExecutor(os.cpu_count(), "alaas-preprocess")
        self._inferring = ThreadPoolExecutor(1, "alaas-infer")
        self._scorer = stages.Scorer()

    async def process(self, plan: Plan, items: Items) -> Scored:
        """Send one micro-batch through the stages."""
        card = self.model.card
        busy: dict[str, float] = {}
        started = perf_counter()
        raws = await self._fetcher.fetch(items)
        busy["fetch"] = perf_counter() - started
        batch = await self._on(
            self._decoding, "preprocess", busy,
            lambda: stages.preprocess(plan, raws, card.preprocessing, self._limits),
        )  # fmt: skip
        views = await self._on(
            self._inferring, "infer", busy,
            lambda: stages.infer(plan, batch, self.model.classifier, card.digest),
        )  # fmt: skip
        started = perf_counter()
        scored = self._scorer.add(plan, views)
        busy["score"] = perf_counter() - started
        return replace(scored, busy=busy)

    async def _on(
        self, pool: ThreadPoolExecutor, stage: str, busy: dict[str, float], work: Callable[[], T]
    ) -> T:
        def timed() -> T:
            started = perf_counter()
            try:
                return work()
            finally:
                busy[stage] = perf_counter() - started

        return await asyncio.get_running_loop().run_in_executor(pool, timed)

    async def select(self, plan: Plan, notes: Notes) -> Selection:
        """Choose from the whole pool, on a thread: a picker may take a while."""
        return await asyncio.to_thread(self._scorer.select, plan, notes)

    async def discard(self, plan: Plan) -> None:
        """Forget a query that will not be finished."""
        self._scorer.discard(plan.query)

    async def close(self) -> None:
        """Close connections and threads."""
        await self._fetcher.close()
        self._decoding.shutdown(cancel_futures=True)
        self._inferring.shutdown(cancel_futures=True)

    async def __aenter__(self) -> LocalEngine:
        return self

    async def __aexit__(self, *_: Any) -> None:
        await self.close()

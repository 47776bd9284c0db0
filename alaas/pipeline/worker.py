"""*fetch*, *preprocess* and *infer* in one process, on threads."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from time import perf_counter
from typing import TYPE_CHECKING, TypeVar

from alaas.config import Settings
from alaas.core.types import Batch, Items, Plan, Spent, Views
from alaas.data.fetch import Fetcher
from alaas.pipeline import stages
from alaas.pipeline.keeping import Kept, identify

if TYPE_CHECKING:
    from alaas.models.load import Model

S = TypeVar("S", Batch, Views)


class Worker:
    """The stages before the last, for many micro-batches at a time.

    Fetching happens on the event loop, decoding on as many threads as there are cores,
    inference on one thread, which the model's runtime spreads over the cores itself.

    Args:
        settings: What may be fetched, and what an item may cost.
        model: What runs.
        kept: What is known of addresses.
    """

    def __init__(self, settings: Settings, model: Model, kept: Kept) -> None:
        self._model = model
        self._limits = settings.limits
        self._fetcher = Fetcher(settings.fetch, settings.limits, index=kept.addresses)
        self._decoding = ThreadPoolExecutor(os.cpu_count(), "alaas-preprocess")
        self._inferring = ThreadPoolExecutor(1, "alaas-infer")

    async def identify(self, plan: Plan, items: Items) -> Items:
        """The items with the names of those contents that are known without reading them."""
        return await identify(self._fetcher, plan, items)

    async def work(self, plan: Plan, items: Items) -> tuple[Views, dict[str, Spent]]:
        """The views of a micro-batch, and what each stage spent on them."""
        card = self._model.card
        spent: dict[str, Spent] = {}
        started = perf_counter()
        raws = await self._fetcher.fetch(items)
        spent["fetch"] = Spent(perf_counter() - started, bytes=raws.size)
        batch = await self._on(
            self._decoding, "preprocess", spent,
            lambda: stages.preprocess(plan, raws, card.preprocessing, self._limits),
        )  # fmt: skip
        views = await self._on(
            self._inferring, "infer", spent,
            lambda: stages.infer(plan, batch, self._model.classifier, card.digest),
        )  # fmt: skip
        return views, spent

    async def _on(
        self, pool: ThreadPoolExecutor, stage: str, spent: dict[str, Spent], work: Callable[[], S]
    ) -> S:
        asked = perf_counter()

        def timed() -> S:
            started = perf_counter()
            done = work()
            spent[stage] = Spent(perf_counter() - started, started - asked, done.size)
            return done

        return await asyncio.get_running_loop().run_in_executor(pool, timed)

    async def close(self) -> None:
        """Close connections and threads."""
        await self._fetcher.close()
        self._decoding.shutdown(cancel_futures=True)
        self._inferring.shutdown(cancel_futures=True)

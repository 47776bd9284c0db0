"""*fetch*, *preprocess* and *infer* in one process, on threads."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from time import perf_counter
from typing import TYPE_CHECKING, TypeVar

from alaas.config import Settings
from alaas.core.types import Batch, Items, Plan, Spent, Views
from alaas.data.fetch import Fetcher
from alaas.pipeline import deadline, stages
from alaas.pipeline.keeping import Kept, identify
from alaas.pipeline.slots import Threads

if TYPE_CHECKING:
    from alaas.models.load import Model

S = TypeVar("S", Batch, Views)


class Worker:
    """The stages before the last, for many micro-batches at a time.

    Fetching happens on the event loop, decoding on as many threads as there are cores,
    inference on as many as the model has lanes. For these threads queries take turns.

    Args:
        settings: What may be fetched, and what an item may cost.
        models: What runs, by the name that a plan has of it.
        kept: What is known of addresses.
    """

    def __init__(self, settings: Settings, models: Mapping[str, Model], kept: Kept) -> None:
        self._models = models
        self._limits = settings.limits
        self._fetcher = Fetcher(settings.fetch, settings.limits, index=kept.addresses)
        self._decoding = Threads(os.cpu_count() or 1, "alaas-preprocess")
        self._inferring = {
            name: Threads(model.classifier.lanes, "alaas-infer") for name, model in models.items()
        }

    async def identify(self, plan: Plan, items: Items) -> Items:
        """The items with the names of those contents that are known without reading them."""
        return await identify(self._fetcher, plan, items)

    async def work(self, plan: Plan, items: Items) -> tuple[Views, dict[str, Spent]]:
        """The views of a micro-batch, and what each stage spent on them."""
        model = self._models[plan.model]
        spent: dict[str, Spent] = {}
        deadline.check(plan)
        started = perf_counter()
        raws = await self._fetcher.fetch(items)
        counts = stages.count_read(items, raws)
        spent["fetch"] = Spent(perf_counter() - started, bytes=raws.size, counts=counts)
        batch, spent["preprocess"] = await self._on(
            self._decoding, plan,
            lambda: stages.preprocess(plan, raws, model.card.preprocessing, self._limits),
        )  # fmt: skip
        views, spent["infer"] = await self._on(
            self._inferring[plan.model], plan,
            lambda: stages.infer(plan, batch, model.classifier, model.card.digest),
        )  # fmt: skip
        return views, spent

    async def _on(self, threads: Threads, plan: Plan, work: Callable[[], S]) -> tuple[S, Spent]:
        asked = perf_counter()

        def timed() -> tuple[S, Spent]:
            deadline.check(plan)
            started = perf_counter()
            done = work()
            counts = getattr(done, "counts", {})
            return done, Spent(perf_counter() - started, started - asked, done.size, counts)

        return await threads.run(plan.query, timed)

    async def close(self) -> None:
        """Close connections and threads."""
        await self._fetcher.close()
        self._decoding.close()
        for threads in self._inferring.values():
            threads.close()

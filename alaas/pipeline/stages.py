"""The four stages as plain functions of one micro-batch. They know no engine.

*fetch* is `alaas.data.fetch.Fetcher`; the other three are here. A stage never raises for
one bad item, and running it twice on the same micro-batch changes nothing: an engine may
deliver a micro-batch again when a replica dies.
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Mapping
from concurrent.futures import Executor
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from alaas.config import LimitsSettings, Preprocessing
from alaas.core.errors import AllItemsFailed, ModelOutputInvalid
from alaas.core.types import Batch, Plan, Raws, Scored, Selection, Views
from alaas.data import decode
from alaas.strategies import registry

if TYPE_CHECKING:  # torch stays out of the processes that do not infer
    from alaas.models.classifier import Classifier


def preprocess(
    plan: Plan,
    raws: Raws,
    preprocessing: Preprocessing,
    limits: LimitsSettings,
    pool: Executor | None = None,
) -> Batch:
    """Turn what was fetched into the model's input.

    A strategy without views ranks texts as well, and images are still decoded for it:
    nobody can label a picture that does not open.
    """
    if plan.needs:
        return decode.preprocess(raws, preprocessing, limits, pool=pool)
    texts = {raw.id for raw in raws.raws if raw.is_text}
    images = replace(raws, raws=tuple(raw for raw in raws.raws if not raw.is_text))
    decoded = decode.preprocess(images, preprocessing, limits, pool=pool)
    good = texts.union(decoded.ids)
    ids = tuple(raw.id for raw in raws.raws if raw.id in good)
    return Batch(raws.seq, ids, np.empty((len(ids), 0), np.uint8), decoded.failures)


def infer(plan: Plan, batch: Batch, classifier: Classifier, digest: str) -> Views:
    """Compute the views that the strategy reads, and no other."""
    if not plan.needs:
        return Views(batch.seq, batch.ids, {}, "", batch.failures)
    arrays = classifier.views(batch.array, plan.needs)
    return Views(batch.seq, batch.ids, arrays, digest, batch.failures)


ENDED = 1_000
"""Ended queries that are remembered: a micro-batch that was under way may still arrive."""


class Scorer:
    """Keeps what a strategy needs of each pool, and chooses once when the pool is complete.

    For a strategy that scores row by row only one number a row is kept; for one that
    picks a set, the views it reads. One scorer serves many queries, and any thread.
    """

    def __init__(self) -> None:
        self._pools: dict[str, dict[int, Views]] = {}
        self._ended: deque[str] = deque(maxlen=ENDED)
        self._lock = threading.Lock()

    def add(self, plan: Plan, views: Views) -> Scored:
        """Take in a micro-batch. The same `seq` again replaces what it brought before.

        Raises:
            ModelOutputInvalid: A view holds values that cannot be ranked.
        """
        strategy = registry.get(plan.strategy)
        kept = views
        if strategy.kind == "scorer":
            scores = registry.score(strategy, views.arrays, plan.params)
            kept = replace(views, arrays={"scores": scores})
        with self._lock:
            if plan.query not in self._ended:
                self._pools.setdefault(plan.query, {})[views.seq] = replace(kept, failures=())
        return Scored(views.seq, len(views.ids), views.failures)

    def select(self, plan: Plan) -> Selection:
        """Choose from the whole pool, in pool order, and forget it.

        Raises:
            AllItemsFailed: The pool has no rows.
            ModelOutputInvalid: Two replicas ran different models.
        """
        parts = self._end(plan.query)
        ordered = [parts[seq] for seq in sorted(parts) if parts[seq].ids]
        if not ordered:
            raise AllItemsFailed("no item of the pool could be ranked")
        models = sorted({part.model for part in ordered})
        if len(models) > 1:
            raise ModelOutputInvalid(f"replicas ran different models: {', '.join(models)}")
        ids = [name for part in ordered for name in part.ids]
        arrays = _joined(ordered)
        strategy = registry.get(plan.strategy)
        if strategy.kind == "scorer":
            return registry.choose(
                strategy, arrays["scores"], ids=ids, budget=plan.budget,
                params=plan.params, seed=plan.seed, model=models[0],
            )  # fmt: skip
        return registry.pick(
            strategy, arrays, ids=ids, budget=plan.budget,
            params=plan.params, seed=plan.seed, model=models[0],
        )  # fmt: skip

    def discard(self, query: str) -> None:
        """Forget a query that will not be finished, and what still arrives of it."""
        self._end(query)

    def _end(self, query: str) -> dict[int, Views]:
        with self._lock:
            self._ended.append(query)
            return self._pools.pop(query, {})


def _joined(parts: list[Views]) -> Mapping[str, NDArray[np.floating]]:
    return {name: np.concatenate([p.arrays[name] for p in parts]) for name in parts[0].arrays}

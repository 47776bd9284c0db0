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
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from numpy.typing import NDArray

from alaas.config import LimitsSettings, Preprocessing
from alaas.core.errors import AllItemsFailed, ModelOutputInvalid
from alaas.core.types import Batch, Notes, Plan, Raws, Scored, Selection, Views
from alaas.data import decode
from alaas.strategies import registry
from alaas.strategies.declaration import MODEL
from alaas.strategies.wrappers import Wrappers

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
    needs = [name for name in plan.needs if name not in MODEL or batch.seq == 0]
    arrays = classifier.views(batch.array, needs, n_drop=plan.n_drop, seed=plan.seed)
    return Views(batch.seq, batch.ids, arrays, digest, batch.failures)


ENDED = 1_000
"""Ended queries that are remembered: a micro-batch that was under way may still arrive."""


class Scorer:
    """Keeps what a strategy needs of each pool, and chooses once when the pool is complete.

    For a strategy that scores row by row only one number a row is kept; for one that
    picks a set, the views it reads. One scorer serves many queries, and any thread.
    """

    def __init__(self) -> None:
        self._queries: dict[str, _Parts] = {}
        self._ended: deque[str] = deque(maxlen=ENDED)
        self._lock = threading.Lock()

    def add(self, plan: Plan, views: Views) -> Scored:
        """Take in a micro-batch. The same `seq` again replaces what it brought before.

        Raises:
            ModelOutputInvalid: A view holds values that cannot be ranked.
        """
        kept = replace(views, arrays=_kept(plan, views), failures=())
        with self._lock:
            if plan.query not in self._ended:
                self._queries.setdefault(plan.query, _Parts())[plan.part][views.seq] = kept
        return Scored(views.seq, len(views.ids), views.failures)

    def select(self, plan: Plan, notes: Notes) -> Selection:
        """Choose from the whole pool, in pool order, and forget it.

        Raises:
            AllItemsFailed: The pool has no rows.
            ModelOutputInvalid: Two replicas ran different models.
            PoolTooLarge: The strategy would take more memory or time than there is.
            BudgetUnfillable: Quotas leave too few items.
        """
        parts = self._end(plan.query)
        every = (*parts.pool.values(), *parts.labelled.values())
        models = sorted({part.model for part in every if part.ids})
        ids, arrays = _joined(parts.pool)
        if not ids:
            raise AllItemsFailed("no item of the pool could be ranked")
        if len(models) > 1:
            raise ModelOutputInvalid(f"replicas ran different models: {', '.join(models)}")
        settled: dict[str, Any] = {
            "ids": ids, "budget": plan.budget, "params": plan.params, "seed": plan.seed,
            "groups": _groups(ids, notes), "model": models[0],
        }  # fmt: skip
        arrays |= _labelled(*_joined(parts.labelled), notes)
        strategy = registry.get(plan.strategy)
        if strategy.kind == "scorer":
            return registry.choose(strategy, arrays.pop("scores"), views=arrays, **settled)
        return registry.pick(strategy, arrays, seconds=notes.seconds, **settled)

    def discard(self, query: str) -> None:
        """Forget a query that will not be finished, and what still arrives of it."""
        self._end(query)

    def _end(self, query: str) -> _Parts:
        with self._lock:
            self._ended.append(query)
            return self._queries.pop(query, _Parts())


@dataclass(frozen=True, slots=True)
class _Parts:
    """The micro-batches of one query, by their sequence numbers."""

    pool: dict[int, Views] = field(default_factory=dict)
    labelled: dict[int, Views] = field(default_factory=dict)

    def __getitem__(self, part: Literal["pool", "labelled"]) -> dict[int, Views]:
        return self.pool if part == "pool" else self.labelled


def _kept(plan: Plan, views: Views) -> Mapping[str, NDArray[Any]]:
    """What must be kept of a micro-batch until its pool is complete."""
    strategy = registry.get(plan.strategy)
    if plan.part == "labelled" or not views.ids:
        return views.arrays
    if strategy.kind == "scorer":
        scores = registry.score(strategy, views.arrays, plan.params)
        return {"scores": scores, **registry.kept(views.arrays, Wrappers.of(plan.params))}
    registry.check_pool(strategy, views.arrays)
    return views.arrays


def _joined(parts: dict[int, Views]) -> tuple[list[str], dict[str, NDArray[Any]]]:
    """The ids and views of all micro-batches, in pool order; each is let go once it is read."""
    ordered = [parts.pop(seq) for seq in sorted(parts)]
    ids = [name for part in ordered for name in part.ids]
    arrays = {
        name: array for part in ordered for name, array in part.arrays.items() if name in MODEL
    }
    filled = [dict(part.arrays) for part in ordered if part.ids]
    del ordered
    for name in [name for name in (filled[0] if filled else {}) if name not in MODEL]:
        blocks = deque(part.pop(name) for part in filled)
        whole = np.empty((len(ids), *blocks[0].shape[1:]), blocks[0].dtype)
        row = 0
        while blocks:
            block = blocks.popleft()
            whole[row : row + len(block)] = block
            row += len(block)
        arrays[name] = whole
    return ids, arrays


def _labelled(
    ids: list[str], arrays: dict[str, NDArray[Any]], notes: Notes
) -> dict[str, NDArray[Any]]:
    """The views of what is labelled, under the names that strategies know."""
    views = {f"labelled_{name}": array for name, array in arrays.items() if name not in MODEL}
    labels = [notes.labels[name] for name in (ids or notes.labels) if name in notes.labels]
    if labels:
        views["targets"] = np.array(labels, np.float64)
        if all(float(label).is_integer() for label in labels):
            views["labels"] = np.array(labels, np.int64)
    return views


def _groups(ids: list[str], notes: Notes) -> NDArray[np.int64] | None:
    return np.array([notes.groups[name] for name in ids], np.int64) if notes.groups else None

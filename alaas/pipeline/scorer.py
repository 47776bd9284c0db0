"""The *score* stage: the books of each query, its views, and the choice at the end."""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any, overload

import numpy as np
from numpy.typing import NDArray

from alaas.calibration import Calibration
from alaas.core.errors import (
    AllItemsFailed,
    BooksLost,
    FieldError,
    ModelOutputInvalid,
    StoreDisabled,
    UnknownPool,
    ValidationFailed,
)
from alaas.core.types import Admitted, Calibrated, Items, Notes, Plan, Scored, Selection, Views
from alaas.core.wire import Item, PoolInfo
from alaas.models.stochastic.head import HeadDraws
from alaas.pipeline.books import Books, Entry, Part
from alaas.pipeline.calibrating import fitted, scaled
from alaas.pipeline.claims import stored_names
from alaas.pipeline.measures import MEASURED, scores_of
from alaas.strategies import registry
from alaas.strategies.declaration import MODEL
from alaas.strategies.wrappers import Wrappers

if TYPE_CHECKING:
    from alaas.store.features import FeatureStore
    from alaas.store.pools import Pools

ENDED = 1_000
"""Ended queries that are remembered: a micro-batch that was under way may still arrive."""


class Scorer:
    """Keeps what a strategy needs of each pool, and chooses once when the pool is complete.

    For a strategy that scores row by row only one number a row is kept; for one that
    picks a set, the views it reads. One scorer serves many queries, and any thread.

    Args:
        store: Where views of items are kept between queries; None keeps nothing.
        pools: Where whole pools are kept under names; None has none.
    """

    def __init__(self, store: FeatureStore | None = None, pools: Pools | None = None) -> None:
        self._store = store
        self._pools = pools
        self._queries: dict[str, Books] = {}
        self._ended: deque[str] = deque(maxlen=ENDED)
        self._lock = threading.Lock()

    def admit(self, plan: Plan, items: Items) -> Admitted:
        """Enter items in the books of a query, and take in what is stored of them.

        Raises:
            ValidationFailed: Two items of the pool have the same id.
            ModelOutputInvalid: A stored view holds values that cannot be ranked.
        """
        with self._lock:
            part = self._part(plan)
            for row, item in zip(items.rows, items.items, strict=True):
                entry = part.book.setdefault(item.id, Entry(row, item.uri, item.text, item.group))
                if entry.row != row:
                    raise _twice(item.id, row, entry.row)
        found = self._recall(plan, items)
        if found is not None and found.ids:
            kept = replace(found, arrays=_kept(plan, found, self._calibration(plan)))
            with self._lock:
                # By its rows, so that the same items again replace what they brought before.
                self._part(plan).views[items.rows] = kept
        hits = frozenset(found.ids) if found is not None else frozenset[str]()
        missing = tuple(at for at, item in enumerate(items.items) if item.id not in hits)
        return Admitted(
            items.seq, missing, known=sum(map(bool, items.digests)),
            corrupt=self._store.take_damaged() if self._store is not None else 0,
        )  # fmt: skip

    def add(self, plan: Plan, views: Views) -> Scored:
        """Take in a micro-batch. The same `seq` again replaces what it brought before.

        Raises:
            ModelOutputInvalid: A view holds values that cannot be ranked.
        """
        kept = replace(
            views,
            arrays=_kept(plan, views, self._calibration(plan)),
            failures=(),
            digests=() if plan.strategy else views.digests,
        )
        with self._lock:
            self._part(plan).views[views.seq] = kept
        self._remember(plan, views)
        return Scored(views.seq, len(views.ids), views.failures)

    def calibrate(self, plan: Plan, notes: Notes) -> Calibrated:
        """Fit the scaling of a query to its labelled items: what comes of its pool is scaled.

        Raises:
            BooksLost: Other labelled items are in the books than must be.
            ValidationFailed: Those that are not lost are too few.
        """
        with self._lock:
            query = self._queries.setdefault(plan.query, Books())
            # `joined` empties what it reads, and the choice may read them, too.
            part = Part(dict(query.labelled.book), dict(query.labelled.views))
        ids, arrays = part.joined()
        _check_count(len(ids), notes.learnt)
        probs = arrays.get("probs", np.empty((0, 0), np.float32))
        query.calibration, found = fitted(
            plan.calibrate, probs, [notes.labels[name] for name in ids]
        )  # fmt: skip
        return found

    def select(self, plan: Plan, notes: Notes) -> Selection:
        """Choose from the whole pool, in pool order, and forget it.

        Raises:
            BooksLost: Other items are in the books than must be.
            AllItemsFailed: The pool has no rows.
            ModelOutputInvalid: Two replicas ran different models.
            PoolTooLarge: The strategy would take more memory or time than there is.
            BudgetUnfillable: Quotas leave too few items.
        """
        query = self._end(plan.query)
        if plan.pool is not None and not query.pool.book:
            return self._select_stored(plan, query, notes)
        every = (*query.pool.views.values(), *query.labelled.views.values())
        models = sorted({part.model for part in every if part.ids})
        ids, arrays = query.pool.joined()
        _check_count(len(ids), notes.items)
        if not ids:
            raise AllItemsFailed("no item of the pool could be ranked")
        if len(models) > 1:
            raise ModelOutputInvalid(f"replicas ran different models: {', '.join(models)}")
        arrays |= scaled(_labelled(*_learnt(query, notes), notes), query.calibration)
        selection = choose(
            plan, arrays, ids=ids, groups=query.pool.groups(ids), model=models[0],
            seconds=notes.seconds,
        )  # fmt: skip
        chosen = tuple(query.pool.book[name].item(name) for name in selection.ids)
        return replace(selection, items=chosen)

    def discard(self, query: str) -> None:
        """Forget a query that will not be finished, and what still arrives of it."""
        self._end(query)

    def keep(self, plan: Plan, notes: Notes) -> PoolInfo:
        """Store the pool of a push under the name that its plan says, and forget it.

        Raises:
            StoreDisabled: Nothing is stored.
            BooksLost: Other items are in the books than must be.
        """
        from alaas.store.pools import PoolItems

        pools = self._opened()
        part = self._end(plan.query).pool
        models = sorted({views.model for views in part.views.values() if views.ids})
        if len(models) > 1:
            raise ModelOutputInvalid(f"replicas ran different models: {', '.join(models)}")
        digests = part.digests()
        ids, arrays = part.joined()
        _check_count(len(ids), notes.items)
        entries = [part.book[name] for name in ids]
        named = zip(arrays, stored_names(plan, arrays), strict=True)
        return pools.save(
            plan.pool or "",
            PoolItems(
                ids=ids,
                uris=[entry.uri for entry in entries],
                texts=[entry.text for entry in entries],
                groups=[entry.group for entry in entries],
                digests=[digests.get(name, "") for name in ids],
            ),
            {stored: arrays[name] for name, stored in named},
            space=plan.space,
            model=plan.digest,
            ttl_s=notes.ttl_s,
        )

    def pools(self, name: str | None = None) -> list[PoolInfo]:
        """The pools that are stored, without those whose time is over; or the one of a name.

        Raises:
            UnknownPool: There is none of that name.
        """
        pools = self._opened()
        if name is not None:
            return [pools.open(name).info]
        pools.expire(time.time())
        return pools.list()

    def drop(self, name: str) -> None:
        """Delete a stored pool.

        Raises:
            UnknownPool: There is none of that name.
        """
        if not self._opened().delete(name):
            raise UnknownPool(f"no pool is stored under the name {name!r}")

    def stored(self, name: str, start: int, size: int) -> Items:
        """Some consecutive items of a stored pool; none beyond its end."""
        pool = self._opened().open(name)
        rows = range(start, min(start + size, pool.info.items))
        found = pool.items(rows)
        return Items(
            seq=start,
            items=tuple(Item(one.id, one.uri, one.text, group=one.group) for one in found),
            rows=tuple(rows),
            digests=tuple(one.digest for one in found),
        )

    def _select_stored(self, plan: Plan, query: Books, notes: Notes) -> Selection:
        pool = self._opened().open(plan.pool or "")
        _check_count(pool.info.items, notes.items)
        views = [name for name in plan.needs if name not in MODEL]
        read = zip(views, stored_names(plan, views), strict=True)
        arrays = {name: pool.view(stored) for name, stored in read}
        arrays |= {name: pool.array(name) for name in plan.needs if name in MODEL}
        ids = _Rows(pool.info.items)
        whole = Views(0, ids, arrays, pool.info.model)  # type: ignore[arg-type]
        selection = choose(
            plan,
            {
                **_kept(plan, whole, query.calibration),
                **scaled(_labelled(*_learnt(query, notes), notes), query.calibration),
            },
            ids=ids, groups=pool.groups(), model=pool.info.model if plan.needs else "",
            seconds=notes.seconds,
        )  # fmt: skip
        found = pool.items([int(row) for row in selection.ids])
        items = tuple(Item(one.id, one.uri, one.text, group=one.group) for one in found)
        return replace(selection, ids=tuple(item.id for item in items), items=items)

    def _opened(self) -> Pools:
        if self._pools is None:
            raise StoreDisabled("the service stores nothing (store.cache is false): no pools")
        return self._pools

    def _calibration(self, plan: Plan) -> Calibration | None:
        """What the pool of a query is scaled by.

        Raises:
            BooksLost: It was fitted by a scorer that is no more.
        """
        if not plan.calibrate or plan.part != "pool":
            return None
        with self._lock:
            query = self._queries.get(plan.query)
            ended = plan.query in self._ended
        if query is not None and query.calibration is not None:
            return query.calibration
        if ended:  # nobody reads what still arrives
            return None
        raise BooksLost("the scorer lost the calibration: it was replaced while the query ran")

    def _part(self, plan: Plan) -> Part:
        if plan.query in self._ended:
            return Part()
        return self._queries.setdefault(plan.query, Books())[plan.part]

    def _end(self, query: str) -> Books:
        with self._lock:
            self._ended.append(query)
            return self._queries.pop(query, Books())

    def _recall(self, plan: Plan, items: Items) -> Views | None:
        """What is stored of those items of which everything is that the plan needs."""
        if self._store is None or not plan.cache or not any(items.digests):
            return None
        heads: dict[str, NDArray[Any]] = {}
        drawn = bool(plan.head_draws) and "draws" in plan.needs
        for name in (name for name in MODEL if name in plan.needs or (drawn and name == "head")):
            head = self._store.get_one(plan.space, name)
            if head is None:
                return None
            heads[name] = head
        # A strategy without views chooses from what opens, which a stored view proves.
        views = [name for name in plan.needs or ("probs",) if name not in MODEL]
        named = [at for at, name in enumerate(items.digests) if name]
        digests = [items.digests[at] for at in named]
        stored = stored_names(plan, views)
        if drawn:
            stored = tuple("embeddings" if view == "draws" else view for view in views)
        whole = np.ones(len(named), bool)
        for name in stored:
            whole &= self._store.has(plan.space, name, digests)
        arrays: dict[str, NDArray[Any]] = {}
        if plan.needs:
            read = zip(views, stored, strict=True)
            whole, arrays = self._read(plan.space, read, digests, whole)
        if drawn and whole.any():
            arrays["draws"] = HeadDraws.read(plan.head_draws).draws(
                arrays["draws"], heads["head"], count=plan.n_drop, seed=plan.seed
            )
        found = [named[at] for at in np.flatnonzero(whole).tolist()]
        return Views(
            seq=items.seq,
            ids=tuple(items.items[at].id for at in found),
            arrays=arrays | heads,
            model=plan.digest if plan.needs else "",
            digests=() if plan.strategy else tuple(items.digests[at] for at in found),
        )

    def _read(
        self,
        space: str,
        names: Iterable[tuple[str, str]],
        digests: Sequence[str],
        whole: NDArray[np.bool_],
    ) -> tuple[NDArray[np.bool_], dict[str, NDArray[Any]]]:
        """The rows of which all views are there, and sound. Each has a stored name."""
        assert self._store is not None
        read = {}
        for view, name in names:
            asked = np.flatnonzero(whole)
            found, rows = self._store.get(space, name, [digests[at] for at in asked.tolist()])
            whole = whole.copy()
            whole[asked[~found]] = False
            read[view] = asked[found], rows
        return whole, {view: rows[whole[at]] for view, (at, rows) in read.items()}

    def _remember(self, plan: Plan, views: Views) -> None:
        if self._store is None or not plan.cache or not views.arrays:
            return
        for name, array in views.arrays.items():
            if name in MODEL:
                self._store.put_one(plan.space, name, array)
            elif views.ids and not (name == "draws" and plan.head_draws):
                (stored,) = stored_names(plan, (name,))
                self._store.put(plan.space, stored, views.digests, array)


class _Rows(Sequence[str]):
    """The row numbers of a stored pool as ids: of a million items only the chosen have names."""

    def __init__(self, size: int) -> None:
        self._rows = range(size)

    def __len__(self) -> int:
        return len(self._rows)

    @overload
    def __getitem__(self, at: int) -> str: ...
    @overload
    def __getitem__(self, at: slice) -> list[str]: ...
    def __getitem__(self, at: int | slice) -> str | list[str]:
        found = self._rows[at]
        return str(found) if isinstance(found, int) else [str(row) for row in found]


def choose(
    plan: Plan,
    arrays: dict[str, NDArray[Any]],
    *,
    ids: Sequence[str],
    groups: NDArray[np.int64] | None,
    model: str,
    seconds: float | None,
) -> Selection:
    """Run the strategy of a plan over the views of a whole pool, or the scores made of them."""
    strategy = registry.get(plan.strategy)
    settled: dict[str, Any] = {
        "ids": ids, "budget": plan.budget, "params": plan.params, "seed": plan.seed,
        "groups": groups, "model": model,
    }  # fmt: skip
    if strategy.kind == "scorer":
        return registry.choose(strategy, arrays.pop("scores"), views=arrays, **settled)
    return registry.pick(strategy, arrays, seconds=seconds, **settled)


def _learnt(query: Books, notes: Notes) -> tuple[list[str], dict[str, NDArray[Any]]]:
    ids, arrays = query.labelled.joined()
    _check_count(len(ids), notes.learnt)
    return ids, arrays


def _check_count(found: int, wanted: int | None) -> None:
    if wanted is not None and found != wanted:
        lost = f"the scorer lost {wanted - found} of {wanted} items"
        raise BooksLost(f"{lost}: it was replaced while the query ran")


def _twice(name: str, row: int, before: int) -> ValidationFailed:
    pointer = f"/data/{max(row, before)}/id"
    message = f"ids must be unique; {name!r} came before, at {min(row, before)}"
    return ValidationFailed(f"{pointer}: {message}", errors=[FieldError(pointer, message)])


def _kept(
    plan: Plan, views: Views, calibration: Calibration | None
) -> Mapping[str, NDArray[Any]]:  # fmt: skip
    """What must be kept of a micro-batch until its pool is complete."""
    if not plan.strategy or not views.ids:
        return views.arrays
    needed = {name: array for name, array in views.arrays.items() if name in plan.needs}
    strategy = registry.get(plan.strategy)
    if plan.part == "labelled":
        return needed
    needed = scaled(needed, calibration)
    if strategy.kind == "scorer":
        scores = _scores(plan, needed)
        return {"scores": scores, **registry.kept(needed, Wrappers.of(plan.params))}
    registry.check_pool(strategy, needed)
    return needed


def _scores(plan: Plan, views: Mapping[str, NDArray[Any]]) -> NDArray[np.floating]:
    """The scores of some rows: of the model's predictions, or of what it has made of many."""
    for name in MEASURED.values():
        if name in views:
            return scores_of(plan, views[name])
    return registry.score(registry.get(plan.strategy), views, plan.params)


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

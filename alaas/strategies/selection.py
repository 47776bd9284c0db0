"""From views to chosen ids: the one place that orders rows, breaks ties and checks results."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from alaas.core.arrays import Rows, Scores
from alaas.core.errors import (
    EmptyInput,
    Internal,
    ModelOutputInvalid,
)
from alaas.core.types import Selection
from alaas.strategies.arguments import check_budget, check_seed, refused
from alaas.strategies.declaration import AXES, Picks, Strategy
from alaas.strategies.preflight import preflight, sizes_of
from alaas.strategies.views import check_views
from alaas.strategies.wrappers import Limits, Wrappers, limited, own, subset

Groups: TypeAlias = NDArray[np.integer] | None

LIMITING = ("classes", "embeddings", "labels", "labelled_embeddings")
"""What quotas and distance read of the views that `kept` leaves."""

SIDE = 1
"""Sets what wrappers draw apart from what a strategy draws under the same seed."""


def best(scores: NDArray[np.floating], budget: int) -> Rows:
    """The rows of the highest scores, best first; of equal scores the lowest row first.

    Args:
        scores: (N,) finite scores.
        budget: Rows wanted; more than N gives all.

    Example:
        >>> best(np.array([0.5, 0.9, 0.5, 0.1]), 2)
        array([1, 0])
    """
    if budget < len(scores):
        last = np.partition(scores, len(scores) - budget)[len(scores) - budget]
        above = np.flatnonzero(scores > last)
        level = np.flatnonzero(scores == last)[: budget - len(above)]
        rows = np.concatenate([above, level])
    else:
        rows = np.arange(len(scores))
    return rows[np.argsort(-scores[rows], kind="stable")]


def score(strategy: Strategy, views: Mapping[str, Any], params: Mapping[str, Any]) -> Scores:
    """The score of each row of one micro-batch.

    Args:
        strategy: A scorer.
        views: View name to its rows.
        params: Its hyper-parameters, as `check_params` gave them.

    Raises:
        ValidationFailed: A view that it needs is missing.
        ModelOutputInvalid: A view, or a score made from it, cannot be ranked.
    """
    _expect(strategy, "scorer")
    given = check_views(strategy, views)
    rows = len(given[strategy.needs[0]])
    if not rows:
        return np.empty(0)
    return _check_scores(strategy, strategy.function(**given, **own(params)), rows)


def choose(
    strategy: Strategy,
    scores: NDArray[np.floating],
    *,
    ids: Sequence[str],
    budget: int,
    params: Mapping[str, Any],
    seed: int,
    views: Mapping[str, Any] | None = None,
    groups: Groups = None,
    model: str = "",
) -> Selection:
    """Choose from a whole pool whose rows have been scored.

    Args:
        strategy: The scorer that scored them.
        scores: (N,) what `score` gave for its micro-batches, in pool order.
        ids: N ids, in pool order.
        budget: Items wanted; more than N gives all.
        params: Its hyper-parameters, as `check_params` gave them.
        seed: Seed of what `sampling` and `max_pool` draw.
        views: What quotas and distance read, as `kept` gave it.
        groups: (N,) number of the group of each row, for `per_group`.
        model: Digest of the model that made the views, for the record.

    Raises:
        EmptyInput: The pool has no rows.
        ValidationFailed: The budget or the seed is not allowed.
        ModelOutputInvalid: The scores are not N finite numbers.
    """
    _expect(strategy, "scorer")
    budget, seed = check_budget(budget), check_seed(seed)
    _check_pool(ids)
    scores = _check_scores(strategy, scores, len(ids))
    wrappers, rng = Wrappers.of(params), np.random.default_rng([seed, SIDE])
    rows = subset(wrappers, len(ids), rng)
    keys: NDArray[np.floating] = scores
    if wrappers.sampling != "off":
        from alaas.strategies.stochastic import perturbed

        keys = perturbed(
            scores, rng, kind=wrappers.sampling, beta=wrappers.sampling_beta, floor=strategy.floor
        )  # fmt: skip

    def ask(among: Rows | None, wanted: int) -> Picks:
        # All of them, in order: what quotas leave out need not be asked for again.
        wanted = len(ids) if wrappers.limiting else wanted
        found = best(keys, wanted) if among is None else among[best(keys[among], wanted)]
        return Picks(found, scores[found])

    limits = _limits(wrappers, views or {}, groups, len(ids))
    picks = limited(ask, wrappers, limits, rows, _wanted(budget, len(ids), wrappers))
    return _select(strategy, *picks, ids=ids, params=params, seed=seed, model=model)


def pick(
    strategy: Strategy,
    views: Mapping[str, Any],
    *,
    ids: Sequence[str],
    budget: int,
    params: Mapping[str, Any],
    seed: int,
    groups: Groups = None,
    seconds: float | None = None,
    model: str = "",
) -> Selection:
    """Let a picker choose from a whole pool.

    Args:
        strategy: A picker.
        views: View name to its N rows.
        ids: N ids, in pool order.
        budget: Items wanted; more than N gives all.
        params: Its hyper-parameters, as `check_params` gave them.
        seed: Seed of its random generator.
        groups: (N,) number of the group of each row, for `per_group`.
        seconds: Time that there is for it; None for as long as it takes.
        model: Digest of the model that made the views, for the record.

    Raises:
        EmptyInput: The pool has no rows.
        ValidationFailed: The budget or the seed is not allowed, or a view is missing.
        PoolTooLarge: It would take more memory or time than there is.
        BudgetUnfillable: Quotas and distance leave too few rows.
        ModelOutputInvalid: A view, or a score made from it, cannot be ranked.
        Internal: The strategy broke its own contract.
    """
    _expect(strategy, "picker")
    budget, seed = check_budget(budget), check_seed(seed)
    _check_pool(ids)
    given = check_views(strategy, views, rows=len(ids))
    wrappers = Wrappers.of(params)
    rng = np.random.default_rng(seed)
    among = subset(wrappers, len(ids), np.random.default_rng([seed, SIDE]))
    wanted = _wanted(budget, len(ids), wrappers)
    sizes = sizes_of(given, len(ids) if among is None else len(among), wanted)
    preflight(strategy, sizes, own(params), seconds=seconds)

    def ask(rows: Rows | None, k: int) -> Picks:
        part = given if rows is None else _part(given, rows)
        n = len(ids) if rows is None else len(rows)
        reserved = {"n": n, "budget": k, "rng": rng}
        taken = {name: reserved[name] for name in strategy.reserved}
        found, scores = strategy.function(**part, **taken, **own(params))
        found = _check_rows(strategy, found, k, n)
        return Picks(found if rows is None else rows[found], _check_scores(strategy, scores, k))

    limits = _limits(wrappers, kept(views, wrappers), groups, len(ids))
    picks = limited(ask, wrappers, limits, among, wanted)
    return _select(strategy, *picks, ids=ids, params=params, seed=seed, model=model)


def check_pool(strategy: Strategy, views: Mapping[str, Any]) -> None:
    """Check the views of some rows of a pool, before the rest of it is there.

    Raises:
        ModelOutputInvalid: One of them holds values that cannot be ranked.
    """
    check_views(replace(strategy, needs=_of_pool(strategy), labelled=(), optional=()), views)


def _of_pool(strategy: Strategy) -> tuple[str, ...]:
    return tuple(name for name in strategy.needs if name in AXES)


def kept(views: Mapping[str, Any], wrappers: Wrappers) -> dict[str, NDArray[Any]]:
    """What quotas and distance read of the views of some rows, made small.

    Raises:
        ValidationFailed: A view that they need is missing.
    """
    for name in wrappers.needs:
        if views.get(name) is None:
            raise refused([("/parameters/params", f"quotas and distance need the view {name!r}")])
    small = {"labels": views.get("labels"), "labelled_embeddings": None}
    if "probs" in wrappers.needs:
        small["classes"] = np.asarray(views["probs"]).argmax(axis=1)
    if "embeddings" in wrappers.needs:
        small["embeddings"] = np.asarray(views["embeddings"])
        small["labelled_embeddings"] = views.get("labelled_embeddings")
    return {name: view for name, view in small.items() if view is not None}


def _limits(
    wrappers: Wrappers, views: Mapping[str, NDArray[Any]], groups: Groups, rows: int
) -> Limits:
    if wrappers.per_group and groups is None:
        message = "needs items with a group: send data: [{uri, group}, ...]"
        raise refused([("/parameters/params/per_group", message)])
    read = {name: views[name] for name in LIMITING if name in views}
    return Limits(wrappers, rows, groups=groups, **read)


def _wanted(budget: int, rows: int, wrappers: Wrappers) -> int:
    """Rows to pick: all where the budget is larger than the pool."""
    if wrappers.max_pool and wrappers.max_pool < min(budget, rows):
        message = f"must be at least the budget, {budget}, or 0, got {wrappers.max_pool}"
        raise refused([("/parameters/params/max_pool", message)])
    return min(budget, rows)


def _part(views: Mapping[str, NDArray[Any]], rows: Rows) -> dict[str, NDArray[Any]]:
    return {name: view[rows] if name in AXES else view for name, view in views.items()}


def _select(
    strategy: Strategy,
    rows: Rows,
    scores: Scores,
    *,
    ids: Sequence[str],
    params: Mapping[str, Any],
    seed: int,
    model: str,
) -> Selection:
    return Selection(
        ids=tuple(ids[row] for row in rows.tolist()),
        scores=scores.astype(np.float64, copy=False),
        strategy=strategy.name,
        params=dict(params),
        seed=seed,
        pool_size=len(ids),
        model=model,
    )


def _expect(strategy: Strategy, kind: str) -> None:
    if strategy.kind != kind:
        raise TypeError(f"{strategy.name} is a {strategy.kind}, not a {kind}")


def _check_pool(ids: Sequence[str]) -> None:
    if not len(ids):
        raise EmptyInput("the pool is empty; a selection needs at least one item")


def _check_scores(strategy: Strategy, given: Any, rows: int) -> Scores:
    scores = np.asarray(given)
    if scores.shape != (rows,) or not np.issubdtype(scores.dtype, np.floating):
        raise ModelOutputInvalid(
            f"{strategy.name} gave scores of shape {scores.shape} and type {scores.dtype}, "
            f"expected {rows} floats"
        )
    finite = np.isfinite(scores)
    if not finite.all():
        row = int(np.argmin(finite))
        raise ModelOutputInvalid(
            f"{strategy.name} gave the score {scores[row]} at {row} of {rows}; "
            "only finite scores can be ranked"
        )
    return scores


def _check_rows(strategy: Strategy, given: Any, wanted: int, pool: int) -> Rows:
    rows = np.asarray(given)
    if (
        rows.shape != (wanted,)
        or not np.issubdtype(rows.dtype, np.integer)
        or rows.min() < 0
        or rows.max() >= pool
        or len(np.unique(rows)) != wanted
    ):
        raise Internal(
            f"{strategy.name} must pick {wanted} different rows of {pool}, it gave {rows!r}"
        )
    return rows.astype(np.int64, copy=False)

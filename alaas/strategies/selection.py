"""From views to chosen ids: the one place that orders rows, breaks ties and checks results."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from difflib import get_close_matches
from typing import Any

import numpy as np
from numpy.typing import NDArray

from alaas.core.arrays import Rows, Scores
from alaas.core.errors import (
    EmptyInput,
    FieldError,
    Internal,
    ModelOutputInvalid,
    ValidationFailed,
)
from alaas.core.types import Selection
from alaas.strategies.declaration import Strategy
from alaas.strategies.parameters import whole
from alaas.strategies.preflight import preflight, sizes_of
from alaas.strategies.views import check_views


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


def check_params(strategy: Strategy, params: Mapping[str, Any] | None) -> dict[str, Any]:
    """The hyper-parameters that the strategy runs with, defaults filled in.

    Raises:
        ValidationFailed: A name is unknown, or a value has a wrong type or is out of range.
            All faults are reported together.
    """
    if not isinstance(params, Mapping | None):
        raise _refused([("/parameters/params", f"must be an object, got {params!r}")])
    given = dict(params or {})
    values: dict[str, Any] = {}
    faults: list[tuple[str, str]] = []
    for param in strategy.params:
        try:
            values[param.name] = param.read(given.pop(param.name, param.default))
        except ValueError as error:
            faults.append((f"/parameters/params/{param.name}", str(error)))
    known = [param.name for param in strategy.params]
    for name in map(str, given):
        near = "".join(f"; did you mean {n!r}?" for n in get_close_matches(name, known, 1))
        valid = f"{strategy.name} has {', '.join(known) or 'no parameters'}"
        pointer = "/parameters/params/" + name.replace("~", "~0").replace("/", "~1")
        faults.append((pointer, f"is unknown{near or f': {valid}'}"))
    if faults:
        raise _refused(faults)
    return values


def check_budget(budget: Any) -> int:
    """The number of items asked for.

    Raises:
        ValidationFailed: It is not a whole number >= 1.
    """
    return _check_whole("budget", budget, least=1)


def check_seed(seed: Any) -> int:
    """The seed of a strategy's random generator.

    Raises:
        ValidationFailed: It is not a whole number >= 0.
    """
    return _check_whole("seed", seed, least=0)


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
    return _check_scores(strategy, strategy.function(**given, **params), rows)


def choose(
    strategy: Strategy,
    scores: NDArray[np.floating],
    *,
    ids: Sequence[str],
    budget: int,
    params: Mapping[str, Any],
    seed: int,
    model: str = "",
) -> Selection:
    """Choose from a whole pool whose rows have been scored.

    Args:
        strategy: The scorer that scored them.
        scores: (N,) what `score` gave for its micro-batches, in pool order.
        ids: N ids, in pool order.
        budget: Items wanted; more than N gives all.
        params: What they were scored with, for the record.
        seed: Likewise; a scorer draws no random numbers.
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
    rows = best(scores, budget)
    return _select(strategy, rows, scores[rows], ids=ids, params=params, seed=seed, model=model)


def pick(
    strategy: Strategy,
    views: Mapping[str, Any],
    *,
    ids: Sequence[str],
    budget: int,
    params: Mapping[str, Any],
    seed: int,
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
        model: Digest of the model that made the views, for the record.

    Raises:
        EmptyInput: The pool has no rows.
        ValidationFailed: The budget or the seed is not allowed, or a view is missing.
        ModelOutputInvalid: A view, or a score made from it, cannot be ranked.
        Internal: The strategy broke its own contract.
    """
    _expect(strategy, "picker")
    budget, seed = check_budget(budget), check_seed(seed)
    _check_pool(ids)
    given = check_views(strategy, views, rows=len(ids))
    wanted = min(budget, len(ids))
    reserved = {"n": len(ids), "budget": wanted, "rng": np.random.default_rng(seed)}
    taken = {name: reserved[name] for name in strategy.reserved}
    preflight(strategy, sizes_of(given, len(ids), wanted), params)
    rows, scores = strategy.function(**given, **taken, **params)
    rows = _check_rows(strategy, rows, wanted, len(ids))
    scores = _check_scores(strategy, scores, wanted)
    return _select(strategy, rows, scores, ids=ids, params=params, seed=seed, model=model)


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


def _check_whole(name: str, value: Any, *, least: int) -> int:
    number = whole(value)
    if number is None or number < least:
        message = f"must be a whole number >= {least}, got {value!r}"
        raise _refused([(f"/parameters/{name}", message)])
    return number


def _refused(faults: Sequence[tuple[str, str]]) -> ValidationFailed:
    detail = "; ".join(f"{pointer} {message}" for pointer, message in faults)
    return ValidationFailed(detail, errors=[FieldError(*fault) for fault in faults])


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

"""What stands for probabilities where an item has many predictions, as in `alaas.models.tasks`.

A scorer ranks each prediction of an item as if it were an item; the model reduces what it
gives to one number, in the process that ran it. Two views hold such numbers: `uncertainty`
stands for probs, and `disagreement` for draws.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from alaas.core.errors import FieldError, ViewUnavailable
from alaas.core.types import Plan
from alaas.models.card import ModelCard
from alaas.strategies import Strategy, registry
from alaas.strategies.wrappers import Wrappers, own

MEASURED = {"probs": "uncertainty", "draws": "disagreement"}
"""The view that stands for each view of the probabilities of one class an item."""

SPREADS = ("mean_std", "variance")
"""Scorers that rank how far draws spread, which needs no probabilities."""

_PREDICTS = {
    "sigmoid": "predicts several labels of an item",
    "segmentation": "predicts a class for each pixel",
    "detection": "predicts boxes",
    "value": "predicts values",
}


def views_of(strategy: Strategy, params: Any, card: ModelCard | None = None) -> tuple[str, ...]:
    """The views that a strategy and its wrappers read of a pool.

    Args:
        strategy: The strategy.
        params: Its hyper-parameters.
        card: The model that will run, where it is known already.

    Raises:
        ViewUnavailable: The strategy compares classes in a way in which this model has none.
    """
    wrappers = Wrappers.of(params)
    needs = tuple(dict.fromkeys((*strategy.needs, *wrappers.needs)))
    reads = MEASURED.keys() & {*needs}
    if card is None or card.output not in _PREDICTS or not reads:
        return needs
    predicts = f"and {card.name} {_PREDICTS[card.output]}"
    if "probs" in wrappers.needs:
        raise _refused(f"balance and per_class count classes of items, {predicts}")
    if strategy.kind == "picker" or strategy.needs not in {("probs",), ("draws",)}:
        raise _refused(
            f"{strategy.name} reads the probabilities of one class an item, {predicts}; use a "
            "strategy that scores items, such as entropy, or one that reads embeddings alone"
        )
    if card.output == "value" and strategy.name not in SPREADS:
        raise _refused(
            f"{strategy.name} compares probabilities of classes, {predicts}; use "
            f"{' or '.join(SPREADS)}, or a strategy of the family regression"
        )
    if card.output == "detection" and "draws" in reads:
        raise _refused(
            f"{strategy.name} compares several predictions of the same thing, {predicts}, which "
            "are others in each pass; use a strategy that reads one, such as entropy"
        )
    return tuple(MEASURED.get(name, name) for name in needs)


def rank_of(plan: Plan) -> Callable[[NDArray[np.floating]], NDArray[np.floating]]:
    """How uncertain the scorer of a plan finds predictions: its scores above their least."""
    strategy = registry.get(plan.measure)
    params, floor = own(plan.params), strategy.floor or 0.0
    (view,) = strategy.needs

    def rank(predictions: NDArray[np.floating]) -> NDArray[np.floating]:
        if predictions.shape[-1] == 1:  # values, which are no probabilities
            found: NDArray[np.floating] = strategy.function(predictions, **params)
            return found
        return registry.score(strategy, {view: predictions}, params) - floor

    return rank


def scores_of(plan: Plan, amounts: NDArray[np.floating]) -> NDArray[np.float64]:
    """The scores of items, of what `rank_of` found and the model reduced."""
    floor = registry.get(plan.measure).floor or 0.0
    return np.asarray(amounts, np.float64) + floor


def stored_name(plan: Plan, view: str) -> str:
    """The name under which such a view is stored: it is another one for each scorer.

    Example:
        >>> from dataclasses import replace
        >>> plan = Plan("q", "entropy", {}, 0, 1, ("uncertainty",), measure="entropy")
        >>> stored_name(replace(plan, reduction="mean"), "uncertainty")
        'uncertainty-entropy-mean'
    """
    parts = [view, plan.measure, plan.reduction]
    if params := own(plan.params):
        said = json.dumps(params, sort_keys=True).encode()
        parts.append(hashlib.blake2b(said, digest_size=6).hexdigest())
    if view == MEASURED["draws"]:
        parts += [str(plan.n_drop), str(plan.seed)]
    return "-".join(parts)


def _refused(message: str) -> ViewUnavailable:
    return ViewUnavailable(message, errors=[FieldError("/parameters/strategy", message)])

"""Strategies too small to be wrong, in a registry of their own."""

from __future__ import annotations

from typing import Annotated, Any, Literal

import numpy as np

from alaas.core.arrays import Embeddings, Probs, Scores
from alaas.strategies import Picks, Range, Registry, Work

toys = Registry()
toy: dict[str, Any] = {
    "family": "toys",
    "cost": "O(N)",
    "paper": "Toy 2001",
    "use": "Never.",
    "floor": 0.0,
    "work": lambda sizes, params: Work(flops=sizes.N, memory=8 * sizes.N),
}


@toys.strategy(aliases=("LastClass",), **toy)
def last_class(
    probs: Probs,
    *,
    power: Annotated[float, Range(0.5, 4)] = 1.0,
    rounds: Annotated[int, Range(1)] = 1,
    sign: Literal["up", "down"] = "up",
    loud: bool = False,
) -> Scores:
    """The last class's probability, to a power."""
    return (1.0 if sign == "up" else -1.0) * rounds * probs[:, -1] ** power


@toys.strategy(**toy)
def lottery(n: int, budget: int, rng: np.random.Generator) -> Picks:
    """Rows in a random order."""
    return Picks(rng.permutation(n)[:budget], np.zeros(budget))


@toys.strategy(**toy)
def nearest_label(
    embeddings: Embeddings, budget: int, labelled_embeddings: Embeddings | None = None
) -> Picks:
    """The first rows; their scores count what is labelled."""
    known = 0 if labelled_embeddings is None else len(labelled_embeddings)
    return Picks(np.arange(budget), np.full(budget, float(known)))


@toys.strategy(**toy)
def writer(probs: Probs) -> Scores:
    """Writes into what it was given."""
    probs[0, 0] = 0.0
    return probs[:, 0]

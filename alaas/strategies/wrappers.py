"""What can be asked of any strategy: a smaller pool, chance, balance, quotas, and distance.

They are hyper-parameters that every strategy has beside its own. A strategy knows nothing of
them: it is asked for rows, and asked again among those that the quotas still admit.
"""

from __future__ import annotations

import heapq
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from alaas.core.arrays import Rows
from alaas.core.errors import BudgetUnfillable, FieldError
from alaas.strategies.declaration import Picks
from alaas.strategies.distances import blocks
from alaas.strategies.parameters import Param

COMMON = (
    Param("max_pool", int, 0, minimum=0,
          help="Choose from this many random items of the pool; 0 for all."),
    Param("sampling", str, "off", choices=("off", "power", "softmax", "softrank"),
          help="Draw at random in favour of high scores; for strategies that score each item."),
    Param("sampling_beta", float, 1.0, minimum=1e-6,
          help="How much the draw favours high scores; 0 would be uniform."),
    Param("balance", bool, False,
          help="Spread the picks so that labelled and picked items even out over the classes."),
    Param("per_class", int, 0, minimum=0,
          help="At most this many picks of one predicted class; 0 for any number."),
    Param("per_group", int, 0, minimum=0,
          help="At most this many picks of one group of items; 0 for any number."),
    Param("min_distance", float, 0.0, minimum=0,
          help="Picks, and what is labelled, are further apart than this in embedding units."),
)  # fmt: skip
"""Hyper-parameters of every strategy."""

Ask = Callable[[Rows | None, int], Picks]
"""Ask a strategy for so many of some rows, or of all; the rows that it gives are the pool's."""


@dataclass(frozen=True, slots=True)
class Wrappers:
    """The values of `COMMON` for one query."""

    max_pool: int = 0
    sampling: Literal["off", "power", "softmax", "softrank"] = "off"
    sampling_beta: float = 1.0
    balance: bool = False
    per_class: int = 0
    per_group: int = 0
    min_distance: float = 0.0

    @classmethod
    def of(cls, params: Mapping[str, Any]) -> Wrappers:
        """Those among the hyper-parameters of a query."""
        names = {param.name for param in COMMON}
        return cls(**{name: value for name, value in params.items() if name in names})

    @property
    def needs(self) -> tuple[str, ...]:
        """The views that they read."""
        classes = ("probs",) if self.balance or self.per_class else ()
        return classes + (("embeddings",) if self.min_distance else ())

    @property
    def limiting(self) -> bool:
        """Whether they keep some rows from being picked together."""
        return bool(self.balance or self.per_class or self.per_group or self.min_distance)


def own(params: Mapping[str, Any]) -> dict[str, Any]:
    """The hyper-parameters that are the strategy's own."""
    names = {param.name for param in COMMON}
    return {name: value for name, value in params.items() if name not in names}


def subset(wrappers: Wrappers, n: int, rng: np.random.Generator) -> Rows | None:
    """The rows to choose from, ascending; None for all."""
    if not wrappers.max_pool or wrappers.max_pool >= n:
        return None
    return np.sort(rng.choice(n, wrappers.max_pool, replace=False))


def limited(ask: Ask, wrappers: Wrappers, limits: Limits, rows: Rows | None, budget: int) -> Picks:
    """Ask until the budget is filled with rows that the limits admit together.

    Raises:
        BudgetUnfillable: They admit fewer.
    """
    if not wrappers.limiting:
        return ask(rows, budget)
    rows = np.arange(limits.n) if rows is None else rows
    limits.allot(rows, budget)
    taken: list[int] = []
    scores: list[float] = []
    while len(taken) < budget:
        rows = limits.open(rows)
        if not len(rows):
            raise unfillable(len(taken), budget)
        picks = ask(rows, min(budget - len(taken), len(rows)))
        for row, score in zip(picks.rows.tolist(), picks.scores.tolist(), strict=True):
            if len(taken) < budget and limits.take(row):
                taken.append(row)
                scores.append(score)
        rows = rows[~np.isin(rows, picks.rows)]
    return Picks(np.array(taken), np.array(scores))


def unfillable(possible: int, budget: int) -> BudgetUnfillable:
    """The error of quotas that admit fewer items than are asked for."""
    message = f"the quotas and the distance leave {possible} items to pick, got {budget}"
    return BudgetUnfillable(message, errors=[FieldError("/parameters/budget", message)])


class Limits:
    """Which rows may still be picked, given those that are.

    Args:
        wrappers: What is asked.
        n: Rows in the pool, N.
        classes: (N,) predicted classes, where they count.
        groups: (N,) numbers of groups, where they count.
        embeddings: (N, D) embeddings, where distance counts.
        labels: (M,) classes of what is labelled, for the balance.
        labelled_embeddings: (M, D) embeddings of what is labelled, for the distance.
    """

    def __init__(
        self,
        wrappers: Wrappers,
        n: int,
        *,
        classes: NDArray[np.integer] | None = None,
        groups: NDArray[np.integer] | None = None,
        embeddings: NDArray[np.floating] | None = None,
        labels: NDArray[np.integer] | None = None,
        labelled_embeddings: NDArray[np.floating] | None = None,
    ) -> None:
        self.n = n
        self._wrappers = wrappers
        self._radius = wrappers.min_distance
        self._embeddings = embeddings if self._radius else None
        self._far = np.ones(n, bool)
        self._labels = labels
        self._quotas: list[tuple[NDArray[np.integer], NDArray[np.int64]]] = []
        self._classes, self._groups = classes, groups
        if self._embeddings is not None and labelled_embeddings is not None:
            for centre in labelled_embeddings:
                self._close(centre)

    def allot(self, rows: Rows, budget: int) -> None:
        """Settle how many of each class and of each group may be picked.

        Raises:
            BudgetUnfillable: Together they are fewer than the budget.
        """
        asked = self._wrappers
        if self._classes is not None and (asked.balance or asked.per_class):
            there = np.bincount(self._classes[rows])
            quota = np.minimum(there, asked.per_class) if asked.per_class else there
            if asked.balance:
                quota = _even(quota, self._labels, budget)
            self._quotas.append((self._classes, quota))
        if self._groups is not None and asked.per_group:
            there = np.bincount(self._groups[rows])
            self._quotas.append((self._groups, np.minimum(there, asked.per_group)))
        for _, quota in self._quotas:
            if quota.sum() < budget:
                raise unfillable(int(quota.sum()), budget)

    def open(self, rows: Rows) -> Rows:
        """Those of the rows that may still be picked."""
        free = self._far[rows]
        for members, quota in self._quotas:
            free &= quota[members[rows]] > 0
        return rows[free]

    def take(self, row: int) -> bool:
        """Pick a row, if it may be picked."""
        if not self._far[row] or any(quota[members[row]] <= 0 for members, quota in self._quotas):
            return False
        for members, quota in self._quotas:
            quota[members[row]] -= 1
        if self._embeddings is not None:
            self._close(self._embeddings[row])
        return True

    def _close(self, centre: NDArray[np.floating]) -> None:
        """Rule out the rows within the radius of a point."""
        assert self._embeddings is not None
        for part in blocks(*self._embeddings.shape):
            offsets = np.subtract(self._embeddings[part], centre, dtype=np.float64)
            self._far[part] &= np.einsum("nd,nd->n", offsets, offsets) > self._radius**2


def _even(
    there: NDArray[np.integer], labels: NDArray[np.integer] | None, budget: int
) -> NDArray[np.int64]:
    """How many of each class to pick so that labelled and picked items even out.

    One after the other goes to the class that has fewest, of equal ones the lowest, as long
    as there are any.

    Example:
        >>> _even(np.array([9, 9, 1]), np.array([0, 0, 0]), 6)
        array([1, 4, 1])
    """
    have = (
        np.zeros(len(there), int) if labels is None else np.bincount(labels, minlength=len(there))
    )
    counts = [(int(have[c]), c) for c in range(len(there)) if there[c]]
    heapq.heapify(counts)
    given = np.zeros(len(there), np.int64)
    for _ in range(budget):
        if not counts:
            break
        count, c = counts[0]
        given[c] += 1
        if given[c] < there[c]:
            heapq.heapreplace(counts, (count + 1, c))
        else:
            heapq.heappop(counts)
    return given

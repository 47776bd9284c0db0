"""Items between differently labelled neighbours on a graph."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from alaas.core.arrays import Labels, Probs
from alaas.strategies.cost import Sizes, Work
from alaas.strategies.declaration import Picks
from alaas.strategies.registry import strategy

_STEP = 1000
"""What one step of a sort takes, counted in operations of a matrix product."""


def _work(s: Sizes, params: Mapping[str, Any]) -> Work:
    lines, items = min(s.C, s.K), s.N + s.M
    return Work(
        flops=_STEP * (lines * items * math.log2(items + 1) + s.K * (s.M + s.K)),
        reads=80 * lines * items + 9 * s.K * s.N,
        memory=(8 * lines + 64) * items + 80 * (s.M + s.K),
    )


@strategy(
    family="hybrid",
    aliases=("GALAXYSampling",),
    cost="O(C N log N + K (M + K))",
    paper="Zhang, Katz-Samuels & Nowak 2022, arXiv:2202.01402",
    use="Classes of very unequal size, and a few labels of each: picks are spread over classes.",
    work=_work,
)
def galaxy(
    probs: Probs,
    budget: int,
    rng: np.random.Generator,
    labelled_probs: Probs,
    labels: Labels,
) -> Picks:
    """Items halfway between one known to be of a class and one known not to be.

    For each class all items, labelled too, stand on a line: first those that the class leads,
    the most certain outermost, then the others by how far its probability trails the largest.
    The classes take turns, in random order. The turn of a class picks from its line

    - the middle of the shortest stretch of open items between a known item of the class and
      a known one of another (bisection of the shortest path);
    - where all such neighbours touch, the open item nearest to where they do (the item that
      the paper's path runs through once it connects neighbours of neighbours);
    - where the line has no such neighbours, any open item of the pool with equal chance.

    ``u(x) = 1 / (d_in(x) + d_out(x))``, with d_in and d_out the steps along the line to the
    nearest known item of the class and of another; 0 for a random pick.

    The paper asks for each label before the next pick. Within one call nobody answers, so a
    pick counts as what the model predicts until the next call: ask often, with small budgets.
    The authors' code begins with class 0; here the first class is random, so that budgets
    smaller than C are fair to all.

    Args:
        probs: (N, C) class probabilities of the pool.
        budget: Rows to pick, at most N.
        rng: Source of the order of the classes, and of picks from a line with one kind of label.
        labelled_probs: (M, C) class probabilities of what is labelled already.
        labels: (M,) its class numbers.

    Returns:
        The rows in the order of the turns, and their closeness to both kinds of label, from
        0 to 1/2; scores of different turns do not compare. Of equal stretches the one further
        out on the side of the class, and of two middles the one further out; likewise of
        items equally near. Items that trail equally stand by row, what is labelled first.

    Example:
        >>> chance = np.linspace(0.1, 0.9, 9)
        >>> probs = np.stack([chance, 1 - chance], axis=1)
        >>> known = np.array([[0.0, 1.0], [1.0, 0.0]])
        >>> rows, scores = galaxy(probs, 3, np.random.default_rng(0), known, np.array([1, 0]))
        >>> rows, scores.round(4)
        (array([4, 1, 3]), array([0.1   , 0.2   , 0.3333]))
    """
    M = len(labels)
    top = np.concatenate([labelled_probs.max(axis=1), probs.max(axis=1)]).astype(np.float64)
    known = np.concatenate([np.arange(M), np.empty(budget, np.int64)])
    classes = np.concatenate([labels, np.empty(budget, np.int64)])
    turns = rng.permutation(probs.shape[1])
    lines: dict[int, _Line] = {}
    rows = np.empty(budget, np.int64)
    scores = np.empty(budget)
    for step in range(budget):
        c = int(turns[step % len(turns)])
        if c not in lines:
            lines[c] = _line_up(np.concatenate([labelled_probs[:, c], probs[:, c]]), top)
        line, so_far = lines[c], M + step
        place, scores[step] = _between(line, known[:so_far], classes[:so_far] == c)
        if place is None:
            item = M + _any_open(rng, len(probs), rows[:step])
        else:
            item = int(line.items[place])
        rows[step] = item - M
        known[so_far], classes[so_far] = item, probs[rows[step]].argmax()
    return Picks(rows, scores)


class _Line(NamedTuple):
    """All items in the order of one class, those most likely of it first.

    Attributes:
        items: (M + N,) the item at each place.
        places: (M + N,) the place of each item.
    """

    items: NDArray[np.int32]
    places: NDArray[np.int32]


def _line_up(chances: NDArray[np.floating], top: NDArray[np.float64]) -> _Line:
    trails = top - chances
    items = np.where(trails > 0, trails, -top).argsort(kind="stable").astype(np.int32)
    places = np.empty_like(items)
    places[items] = np.arange(len(items), dtype=np.int32)
    return _Line(items, places)


def _between(
    line: _Line, known: NDArray[np.int64], inside: NDArray[np.bool_]
) -> tuple[int | None, float]:
    """The place to ask about next and its score; None where the line has one kind of label."""
    at = line.places[known].astype(np.int64)
    order = at.argsort()
    at, inside = at[order], inside[order]
    cuts = np.flatnonzero(inside[1:] != inside[:-1])
    if not len(cuts):
        return None, 0.0
    steps = at[cuts + 1] - at[cuts]
    if (steps > 1).any():
        left = cuts[np.where(steps > 1, steps, len(line.items)).argmin()]
        return int(at[left] + at[left + 1]) // 2, 1 / float(at[left + 1] - at[left])
    # Labels of both kinds touch: walk from each cut to the ends of its run of known places.
    gaps = np.flatnonzero(np.diff(at) > 1)
    first = np.concatenate([[0], gaps + 1])[np.searchsorted(gaps, cuts)]
    last = np.concatenate([gaps, [len(at) - 1]])[np.searchsorted(gaps, cuts)]
    places = np.concatenate([at[first] - 1, at[last] + 1])
    near = np.concatenate([at[cuts] - at[first], at[last] - at[cuts + 1]]) + 1
    near[(places < 0) | (places >= len(line.items))] = len(line.items)
    nearest = np.lexsort((places, near))[0]
    return int(places[nearest]), 1 / float(near[nearest] + 2)


def _any_open(rng: np.random.Generator, n: int, picked: NDArray[np.int64]) -> int:
    is_open = np.ones(n, bool)
    is_open[picked] = False
    return int(rng.choice(np.flatnonzero(is_open)))

"""Coverage of the pool: picks so that every item is similar to one that is labelled."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Annotated, Any

import numpy as np

from alaas.core.arrays import Embeddings
from alaas.strategies.clusters import k_means, k_means_work
from alaas.strategies.cost import Sizes, Work
from alaas.strategies.declaration import Picks
from alaas.strategies.distances import BLOCK, blocks
from alaas.strategies.neighbours import nearest_neighbours
from alaas.strategies.parameters import Range
from alaas.strategies.registry import strategy
from alaas.strategies.submodular import (
    Anchors,
    Approx,
    Cover,
    Landmarks,
    Similarity,
    completed,
    count_anchors,
    cover_work,
)

_SAMPLE = 2000
"""Rows from which the radius of `prob_cover` is found."""

_COPIES = 1e-12
"""Share of a squared length up to which a squared distance is mere rounding."""

_HALVINGS = 20
"""Times that `prob_cover` halves its radius before what is left counts as copies."""


def _work(s: Sizes, params: Mapping[str, Any]) -> Work:
    anchors = count_anchors(s.N, s.K, approx=params["approx"], anchors=params["anchors"])
    return cover_work(s, anchors)


def _prob_cover_work(s: Sizes, params: Mapping[str, Any]) -> Work:
    cover = _work(s, params)
    if params["delta"]:
        return cover
    sample = min(s.N, _SAMPLE)
    means = k_means_work(sample, min(sample, params["classes"]), s.D)
    return Work(
        flops=cover.flops + means.flops + 4.0 * s.N * sample * s.D,
        memory=max(cover.memory, means.memory + 16.0 * sample * s.D + 48.0 * BLOCK) + 8.0 * s.N,
        reads=cover.reads + means.reads + 8.0 * s.N * s.D,
    )


@strategy(
    family="coverage",
    aliases=("ProbCover", "ProbabilityCoverage"),
    cost="O(N^2 D log K)",
    paper="Yehuda et al. 2022, arXiv:2205.11320",
    use="The first few labels, from good embeddings: dense regions first, outliers never.",
    work=_prob_cover_work,
)
def prob_cover(
    embeddings: Embeddings,
    budget: int,
    rng: np.random.Generator,
    labelled_embeddings: Embeddings | None = None,
    *,
    delta: Annotated[float, Range(0), "Radius of a ball; 0 to find one by its purity."] = 0.0,
    purity: Annotated[float, Range(0, 1), "Share of balls that are to hold one class."] = 0.95,
    classes: Annotated[int, Range(2), "Classes that the radius is found with."] = 10,
    normalise: Annotated[bool, "Scale embeddings to length 1 first."] = True,
    approx: Approx = "none",
    anchors: Anchors = 2000,
) -> Picks:
    """Again and again the row whose ball holds most rows that no ball holds yet.

    ``u(x) = |{i : d(i, x) < delta, d(i, s) >= delta for all s in L+S}| / N``, with d the
    Euclidean distance and L+S what is labelled or picked (algorithm 1 of the paper).

    delta is the largest radius at which the balls of a share `purity` of the rows hold one
    pseudo-label only (the paper's rule). Pseudo-labels are the clusters of k-means
    with `classes` clusters. Both are found from 2,000 random rows: k-means sees only these,
    and only their balls, which are balls of the whole pool, are judged.

    Once every row is in a ball, delta is halved and covering goes on; where the authors' code
    picks row 0 for ever. With approx="sample" only random anchors are counted, not all rows.

    Args:
        embeddings: (N, D) embeddings of the pool.
        budget: Rows to pick, at most N.
        rng: Source of the k-means and of the anchors.
        labelled_embeddings: (M, D) embeddings of what is labelled already.
        delta: Radius, in units of the embeddings that are compared.
        purity: Share of rows whose balls must be pure.
        classes: Clusters that stand for the classes.
        normalise: Whether to compare directions only; a row of zeros stays one.
        approx: "none", or "sample" to count `anchors` random rows.
        anchors: How many.

    Returns:
        The rows, and the share of the pool that each brought into a ball, in [0, 1]; of equal
        ones the lowest row. What is left when only copies are comes in row order, with 0.

    Example:
        >>> line = np.array([[0.0], [1.0], [2.0], [9.0]])
        >>> prob_cover(line, 3, np.random.default_rng(0), delta=1.5, normalise=False)
        Picks(rows=array([1, 3, 0]), scores=array([0.75, 0.25, 0.25]))
    """
    if delta == 0:
        delta = _pure_radius(embeddings, rng, purity=purity, classes=classes, unit=normalise)
    size = count_anchors(len(embeddings), budget, approx=approx, anchors=anchors)
    landmarks = Landmarks(embeddings, unit=normalise, size=size, rng=rng)
    picks = Picks(np.empty(0, np.int64), np.empty(0))
    for halvings in range(_HALVINGS):
        cover = Cover(landmarks, _ball(delta / 2**halvings))
        if labelled_embeddings is not None:
            cover.add(labelled_embeddings)
        cover.add(embeddings[picks.rows])
        more = cover.pick(budget - len(picks.rows))
        picks = Picks(*(np.concatenate(pair) for pair in zip(picks, more, strict=True)))
        if len(picks.rows) == budget:
            break
    return completed(picks, len(embeddings), budget)


def _ball(radius: float) -> Similarity:
    return lambda squares: (squares < radius**2).astype(np.float64)


def _pure_radius(
    embeddings: Embeddings, rng: np.random.Generator, *, purity: float, classes: int, unit: bool
) -> float:
    """The largest radius at which so large a share of balls lies within one cluster."""
    judged = Landmarks(embeddings, unit=unit, size=_SAMPLE, rng=rng)
    count = len(judged.rows)
    centres = k_means(judged.placed, min(classes, count), rng).centres
    labels = np.empty(len(embeddings), np.int64)
    for part in blocks(len(embeddings), count):
        labels[part] = nearest_neighbours(judged.take(part), centres, 1).rows[:, 0]
    foreign, furthest = np.full(count, np.inf), np.zeros(count)
    for part in blocks(len(embeddings), count):
        squares = judged.squares(judged.take(part))
        np.maximum(furthest, squares.max(axis=0), out=furthest)
        squares[labels[part, None] == labels[judged.rows]] = np.inf
        np.minimum(foreign, squares.min(axis=0), out=foreign)
    # Where all is one cluster, even a ball that holds everything is pure.
    limits = np.sort(np.where(np.isinf(foreign), furthest.max(), foreign))
    impure = min(count - math.ceil(purity * count), count - 1)
    if limits[impure] <= _COPIES * judged.lengths.max():
        return 1.0  # any radius will do
    # A hair less: at the limit itself, rounding would say who is in the ball.
    return math.sqrt(limits[impure]) * (1 - 1e-9)


@strategy(
    family="coverage",
    aliases=("FacilityLocation", "FacilityLocationSelection"),
    cost="O(N^2 D log K)",
    paper="Wei, Iyer & Bilmes 2015, PMLR 37:1954",
    use="A representative summary of the pool by cosine similarity, with nothing to tune.",
    work=_work,
)
def facility_location(
    embeddings: Embeddings,
    budget: int,
    rng: np.random.Generator,
    labelled_embeddings: Embeddings | None = None,
    *,
    approx: Approx = "none",
    anchors: Anchors = 2000,
) -> Picks:
    """Rows that serve the pool best, each item served by the most similar one.

    ``u(x) = mean_i max(k(i, x) - max_{s in L+S} k(i, s), 0)`` over the rows i of the pool,
    with k = (1 + cosine) / 2, which is 1 - |i - s|^2 / 4 between embeddings of length 1, and
    L+S what is labelled or picked. It is the gain of the facility location function.

    The picks are those of computing every gain anew for each. With approx="sample" the mean
    is over random anchors only, which is what a pool beyond about 50,000 rows needs.

    Args:
        embeddings: (N, D) embeddings of the pool.
        budget: Rows to pick, at most N.
        rng: Source of the anchors.
        labelled_embeddings: (M, D) embeddings of what is labelled already.
        approx: "none", or "sample" to average over `anchors` random rows.
        anchors: How many.

    Returns:
        The rows, and by how much each raised the mean similarity, in [0, 1], never
        increasing; of equal ones the lowest row. Copies of a pick have the score 0.

    Example:
        >>> points = np.array([[3.0, 0.0], [0.0, 2.0], [0.0, 1.0]])
        >>> rows, scores = facility_location(points, 3, np.random.default_rng(0))
        >>> rows, scores.round(4)
        (array([1, 0, 2]), array([0.8333, 0.1667, 0.    ]))
    """
    size = count_anchors(len(embeddings), budget, approx=approx, anchors=anchors)
    landmarks = Landmarks(embeddings, unit=True, size=size, rng=rng)
    cover = Cover(landmarks, lambda squares: 1 - squares / 4)
    if labelled_embeddings is not None:
        cover.add(labelled_embeddings)
    return completed(cover.pick(budget), len(embeddings), budget)

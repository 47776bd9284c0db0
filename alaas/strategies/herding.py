"""Herding: picks that raise the similarity of a whole pool to what is labelled."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Annotated, Any, Literal

import numpy as np

from alaas.core.arrays import Embeddings, Probs, Rows
from alaas.strategies.cost import Sizes, Work
from alaas.strategies.declaration import Picks
from alaas.strategies.distances import blocks
from alaas.strategies.parameters import Range
from alaas.strategies.registry import strategy
from alaas.strategies.submodular import (
    Anchors,
    Approx,
    Cover,
    Floats,
    Landmarks,
    Similarity,
    completed,
    count_anchors,
    cover_work,
)
from alaas.strategies.uncertainty import entropy, least_confidence, margin_confidence

_COPIES = 1e-12
"""Squared distance of unit rows up to which they differ by rounding only."""


def _work(s: Sizes, params: Mapping[str, Any]) -> Work:
    anchors = count_anchors(s.N, s.K, approx=params["approx"], anchors=params["anchors"])
    return cover_work(s, anchors)


def _uncertainty_work(s: Sizes, params: Mapping[str, Any]) -> Work:
    work = _work(s, params)
    labels = 0 if params["sigma"] else s.M
    return Work(
        flops=work.flops + 40.0 * s.N * s.C + 4.0 * labels**2 * s.D,
        memory=work.memory + 16.0 * labels * s.D,
        reads=work.reads + 4.0 * s.N * s.C,
    )


@strategy(
    family="coverage",
    aliases=("MaxHerding", "GeneralizedCoverage"),
    cost="O(N^2 D log K)",
    paper="Bae, Noh & Sutherland 2024, arXiv:2407.12212",
    use="The first few hundred labels, from good embeddings: as prob_cover, with less to tune.",
    work=_work,
)
def max_herding(
    embeddings: Embeddings,
    budget: int,
    rng: np.random.Generator,
    labelled_embeddings: Embeddings | None = None,
    *,
    sigma: Annotated[float, Range(1e-6), "Distance at which similarity is down to 1/e."] = 1.0,
    approx: Approx = "none",
    anchors: Anchors = 2000,
) -> Picks:
    """Rows that bring the whole pool closer to something labelled, by a Gaussian similarity.

    ``u(x) = mean_i max(k(i, x) - max_{s in L+S} k(i, s), 0)`` over the rows i of the pool,
    with k(i, s) = exp(-|i - s|^2 / sigma^2) between embeddings of length 1 and L+S what is
    labelled or picked (algorithm 1 of the paper, and the kernel of the authors' code).

    The picks are those of computing every gain anew for each. With approx="sample" the mean
    is over random anchors only, which is what a pool beyond about 50,000 rows needs.

    Args:
        embeddings: (N, D) embeddings of the pool.
        budget: Rows to pick, at most N.
        rng: Source of the anchors.
        labelled_embeddings: (M, D) embeddings of what is labelled already.
        sigma: Length scale, on a sphere of radius 1.
        approx: "none", or "sample" to average over `anchors` random rows.
        anchors: How many.

    Returns:
        The rows, and by how much each raised the mean similarity, in [0, 1], never
        increasing; of equal ones the lowest row. Copies of a pick have the score 0.

    Example:
        >>> points = np.array([[3.0, 0.0], [0.0, 2.0], [0.0, 1.0]])
        >>> rows, scores = max_herding(points, 3, np.random.default_rng(0))
        >>> rows, scores.round(4)  # between the two directions k is exp(-2) = 0.1353
        (array([1, 0, 2]), array([0.7118, 0.2882, 0.    ]))
    """
    size = count_anchors(len(embeddings), budget, approx=approx, anchors=anchors)
    landmarks = Landmarks(embeddings, unit=True, size=size, rng=rng)
    cover = Cover(landmarks, _gaussian(sigma))
    return _herd(cover, len(embeddings), budget, labelled_embeddings)


@strategy(
    family="coverage",
    aliases=("UncertaintyHerding", "UHerding"),
    cost="O(N^2 D log K)",
    paper="Bae, Oliveira & Sutherland 2025, arXiv:2412.20644",
    use="Every round, from the first labels to many: it moves from coverage to uncertainty.",
    work=_uncertainty_work,
)
def uncertainty_herding(
    probs: Probs,
    embeddings: Embeddings,
    budget: int,
    rng: np.random.Generator,
    labelled_embeddings: Embeddings | None = None,
    *,
    uncertainty: Annotated[
        Literal["margin", "entropy", "least_confidence"], "What makes an item worth covering."
    ] = "margin",
    temperature: Annotated[
        float, Range(0.01, 100), "Above 1 tempers probabilities of a model that is too sure."
    ] = 1.0,
    sigma: Annotated[
        float, Range(0), "Distance at which similarity is down to 1/e; 0 for the closest labels'."
    ] = 0.0,
    approx: Approx = "none",
    anchors: Anchors = 2000,
) -> Picks:
    """Rows that bring the uncertain part of the pool closer to something labelled.

    ``u(x) = sum_i U(i) max(k(i, x) - max_{s in L+S} k(i, s), 0) / sum_i U(i)`` over the rows i
    of the pool, with k(i, s) = exp(-|i - s|^2 / sigma^2) between embeddings of length 1, L+S
    what is labelled or picked, and U the uncertainty of a row: 1 - (p1 - p2), the entropy or
    1 - p1 of its class probabilities p^(1/temperature), normalised. Where U is 0 everywhere it
    counts as 1, and the picks are those of `max_herding`.

    sigma is the least distance between two labelled rows, as in the authors' code, so that it
    shrinks as labels grow dense and the rule turns from coverage to uncertainty; it is 1 where
    no two differ. Deviations: the temperature, which the paper fits to a validation set that
    a selection does not have, is for the caller to fit; and U counts without labels too, since
    a model may have learnt from labels that are not sent.

    Args:
        probs: (N, C) class probabilities.
        embeddings: (N, D) embeddings of the pool.
        budget: Rows to pick, at most N.
        rng: Source of the anchors.
        labelled_embeddings: (M, D) embeddings of what is labelled already.
        uncertainty: U, by "margin", "entropy" or "least_confidence".
        temperature: What divides the logarithms of the probabilities.
        sigma: Length scale, on a sphere of radius 1; 0 for the rule above.
        approx: "none", or "sample" to sum over `anchors` random rows.
        anchors: How many.

    Returns:
        The rows, and by how much each raised the mean similarity weighted by U, in [0, 1],
        never increasing; of equal ones the lowest row. Copies of a pick have the score 0.

    Example:
        >>> probs = np.array([[0.5, 0.5], [0.9, 0.1], [0.9, 0.1]])  # U = 1, 0.2, 0.2
        >>> points = np.array([[3.0, 0.0], [0.0, 2.0], [0.0, 1.0]])
        >>> rows, scores = uncertainty_herding(probs, points, 2, np.random.default_rng(0))
        >>> rows, scores.round(4)  # (1 + 0.4 exp(-2)) / 1.4, then 0.4 (1 - exp(-2)) / 1.4
        (array([0, 1]), array([0.753, 0.247]))
    """
    size = count_anchors(len(embeddings), budget, approx=approx, anchors=anchors)
    landmarks = Landmarks(embeddings, unit=True, size=size, rng=rng)
    weights = _uncertainties(probs, landmarks.rows, uncertainty, temperature)
    if sigma == 0:
        sigma = 1.0 if labelled_embeddings is None else _least_distance(labelled_embeddings, rng)
    cover = Cover(landmarks, _gaussian(sigma), weights=weights)
    return _herd(cover, len(embeddings), budget, labelled_embeddings)


def _gaussian(sigma: float) -> Similarity:
    def similarity(squares: Floats) -> Floats:
        squares *= -1 / sigma**2
        return np.exp(squares, out=squares)

    return similarity


def _herd(cover: Cover, rows: int, budget: int, labelled: Embeddings | None) -> Picks:
    if labelled is not None:
        cover.add(labelled)
    return completed(cover.pick(budget), rows, budget)


def _uncertainties(probs: Probs, rows: Rows, measure: str, temperature: float) -> Floats:
    """(A,) uncertainties >= 0 of some rows."""
    measures = {
        "margin": lambda block: 1 + margin_confidence(block),
        "entropy": entropy,
        "least_confidence": least_confidence,
    }
    found = np.empty(len(rows))
    for part in blocks(len(rows), probs.shape[1]):
        block = probs[rows[part]].astype(np.float64)
        if temperature != 1:
            block /= block.max(axis=1, keepdims=True)  # or a low one would leave only zeros
            block **= 1 / temperature
            block /= block.sum(axis=1, keepdims=True)
        found[part] = measures[measure](block)
    return found


def _least_distance(labelled: Embeddings, rng: np.random.Generator) -> float:
    """The least distance of two rows, scaled to length 1, that are no copies; 1 without any."""
    landmarks = Landmarks(labelled, unit=True, size=len(labelled), rng=rng)
    least = np.inf
    for part in blocks(len(labelled), len(labelled)):
        squares = landmarks.squares(landmarks.take(part))
        least = min(least, squares.min(initial=np.inf, where=squares > _COPIES))
    return 1.0 if math.isinf(least) else math.sqrt(least)

"""Typical items of every cluster, for a cold start."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from itertools import islice
from typing import Annotated, Any, Literal

import numpy as np
from numpy.typing import NDArray

from alaas.core.arrays import Embeddings, Rows, Scores
from alaas.strategies.clusters import k_means, k_means_work
from alaas.strategies.cost import Sizes, Work
from alaas.strategies.declaration import Picks
from alaas.strategies.distances import squared_lengths
from alaas.strategies.neighbours import nearest_neighbours, neighbours_work
from alaas.strategies.parameters import Range
from alaas.strategies.registry import strategy

_NEIGHBOURS = 20
"""Neighbours that say how typical a row is, or half of its cluster if that is less."""

_CLOSE = 1e-5
"""Added to the mean distance, so that copies have a typicality, too."""


def _work(s: Sizes, params: Mapping[str, Any]) -> Work:
    rows = s.N + s.M
    clusters = min(s.M + s.K, params["max_clusters"], rows)
    means = k_means_work(rows, clusters, s.D)
    approximate = params["approx"] == "knn"
    # Time as if clusters were equal, memory as if one of them were the pool.
    each, all_ = (
        neighbours_work(size, size, s.D, _NEIGHBOURS, approximate=approximate)
        for size in (math.ceil(rows / clusters), s.N)
    )
    return Work(
        flops=means.flops + s.K * each.flops,
        memory=4.0 * rows * s.D
        + max(means.memory, all_.memory + 4.0 * s.N * s.D + 16.0 * s.N * _NEIGHBOURS)
        + 32.0 * rows,
        reads=means.reads + s.K * each.reads,
    )


@strategy(
    family="coverage",
    aliases=("TypiClust", "TPC", "TypiClustRP"),
    cost="O((N + M)^2 D)",
    paper="Hacohen, Dekel & Weinshall 2022, arXiv:2202.02794",
    use="The very first labels, from good embeddings: one typical item of each large cluster.",
    work=_work,
)
def typi_clust(
    embeddings: Embeddings,
    budget: int,
    rng: np.random.Generator,
    labelled_embeddings: Embeddings | None = None,
    *,
    max_clusters: Annotated[int, Range(1), "Clusters at most."] = 500,
    min_cluster_size: Annotated[int, Range(0), "Clusters no larger than this come last."] = 5,
    normalise: Annotated[bool, "Scale embeddings to length 1 first."] = True,
    approx: Annotated[
        Literal["none", "knn"], "Neighbours in large clusters: exact, or from an index."
    ] = "none",
) -> Picks:
    """The most typical row of each cluster, large clusters without labels first.

    ``u(x) = 1 / (mean_{j in nn(x)} |h(x) - h(j)| + 1e-5)``, the typicality of the paper, with
    nn(x) the nearest neighbours of x among the rows of its cluster that are neither labelled
    nor picked: 20 of them, or half of these rows if that is less.

    k-means finds as many clusters as there are labelled rows and rows to pick, `max_clusters`
    at most, in the pool and the labelled rows together. They take turns, those with the fewest
    labelled rows first, of these the largest first. As in the authors' code embeddings have
    length 1, and a cluster with `min_cluster_size` rows or fewer gets no turn; here it gets
    one when all others are used up, so that the budget is always met. That code takes the mean
    of squared distances; the paper, and this function, of distances.

    Args:
        embeddings: (N, D) embeddings of the pool.
        budget: Rows to pick, at most N.
        rng: Source of the k-means.
        labelled_embeddings: (M, D) embeddings of what is labelled already.
        max_clusters: Clusters at most, as many as can be told apart.
        min_cluster_size: Rows, labelled ones included, up to which a cluster is too small.
        normalise: Whether to compare directions only; a row of zeros stays one.
        approx: "none", or "knn" to search an inverted index for neighbours in clusters of
            10,000 rows and more, which misses a few per cent of them.

    Returns:
        The rows, in turns of the clusters, and their typicality when picked: 1e5 among copies,
        0 for the last row of a cluster. Of equally typical rows of a cluster the lowest, and
        of equal clusters the one of the lowest row, where labelled rows come before the pool.

    Example:
        >>> line = np.array([[50.0], [52.0], [0.0], [1.0], [1.5]])
        >>> rows, scores = typi_clust(
        ...     line, 3, np.random.default_rng(0), max_clusters=2, min_cluster_size=0,
        ...     normalise=False,
        ... )
        >>> rows, scores.round(2)  # in turns from {0, 1, 1.5}, {50, 52} and {0, 1.5}
        (array([3, 0, 2]), array([2.  , 0.5 , 0.67]))
    """
    points, labelled = _joined(embeddings, labelled_embeddings, unit=normalise)
    count = min(labelled + budget, max_clusters, len(points))
    clusters = k_means(points, count, rng).labels
    sizes = np.bincount(clusters, minlength=count)
    known = np.bincount(clusters[:labelled], minlength=count)
    lowest = np.full(count, len(points))
    np.minimum.at(lowest, clusters, np.arange(len(points)))
    order = np.lexsort((lowest, -sizes, known))
    pool = clusters[labelled:]
    left = np.split(np.argsort(pool, kind="stable"), np.bincount(pool, minlength=count).cumsum())
    large = sizes[order] > min_cluster_size
    rows, scores = np.empty(budget, np.int64), np.empty(budget)
    turns = _turns([order[large], order[~large]], left)
    for turn, cluster in enumerate(islice(turns, budget)):
        members = left[cluster]
        typicality = _typicality(points[labelled + members], approximate=approx == "knn")
        at = int(typicality.argmax())
        rows[turn], scores[turn] = members[at], typicality[at]
        left[cluster] = np.delete(members, at)
    return Picks(rows, scores)


def _joined(
    embeddings: Embeddings, labelled: Embeddings | None, *, unit: bool
) -> tuple[NDArray[np.float32], int]:
    """The labelled rows and then the pool, and how many are labelled."""
    parts = [embeddings] if labelled is None else [labelled, embeddings]
    points = np.concatenate(parts, dtype=np.float32, casting="same_kind")
    if unit:
        lengths = np.sqrt(squared_lengths(points))
        lengths[lengths == 0] = 1.0
        points /= lengths[:, None]
    return points, len(points) - len(embeddings)


def _turns(tiers: list[NDArray[np.int64]], left: list[Rows]) -> Iterator[int]:
    """Clusters that have rows left, round after round; a tier only after those before it."""
    for tier in tiers:
        while len(tier := np.array([c for c in tier if len(left[c])], np.int64)):
            yield from tier


def _typicality(points: NDArray[np.float32], *, approximate: bool) -> Scores:
    if len(points) == 1:
        return np.zeros(1)
    k = min(_NEIGHBOURS, len(points) // 2)
    near = nearest_neighbours(points, points, k, exclude_self=True, approximate=approximate)
    typicality: Scores = 1 / (np.sqrt(near.squares).mean(axis=1) + _CLOSE)
    return typicality

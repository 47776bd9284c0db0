"""Uncertain items, spread over the clusters of the pool."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, Literal

import numpy as np
from numpy.typing import NDArray

from alaas.core.arrays import Embeddings, Probs, Rows
from alaas.strategies.clusters import k_means, k_means_work
from alaas.strategies.cost import Sizes, Work
from alaas.strategies.declaration import Picks
from alaas.strategies.distances import BLOCK
from alaas.strategies.parameters import Range
from alaas.strategies.registry import strategy
from alaas.strategies.selection import best
from alaas.strategies.uncertainty import margin_confidence


def _work(sizes: Sizes, params: Mapping[str, Any]) -> Work:
    n = sizes.N
    if params["approx"] != "none":
        n = min(n, params["candidates"] * sizes.K)
    if params["approx"] == "kmeans":
        clustering = k_means_work(n, max(1, n // params["size"]), sizes.D)
    else:
        clustering = Work(
            # Distances by differences run far below the rate of a matrix product.
            flops=20 * n * n * sizes.D,
            # The merging reads each distance a few times, not in the order in which they lie.
            reads=256 * n * n,
            memory=8 * n * n + 8 * n * sizes.D,
        )
    return Work(
        flops=20 * sizes.N * sizes.C + clustering.flops,
        reads=4 * sizes.N * sizes.C + clustering.reads,
        memory=60 * sizes.N + n * (100 + 8 * sizes.D) + 4 * BLOCK + clustering.memory,
    )


@strategy(
    family="hybrid",
    aliases=("ClusterMargin", "ClusterMarginSampling"),
    cost="O(N C + N^2 D)",
    paper="Citovsky et al. 2021, arXiv:2107.14263",
    use="Large batches: margin sampling that does not spend them on one kind of item.",
    work=_work,
)
def cluster_margin(
    probs: Probs,
    embeddings: Embeddings,
    budget: int,
    rng: np.random.Generator,
    *,
    candidates: Annotated[int, Range(1), "Rows of least margin that compete for each pick."] = 10,
    size: Annotated[int, Range(1), "Average size at which clusters are merged no more."] = 10,
    approx: Annotated[
        Literal["none", "candidates", "kmeans"],
        "What is clustered: the whole pool, or only the candidates, by merging or by k-means.",
    ] = "none",
) -> Picks:
    """The least margins, one from each cluster in turn, smallest cluster first.

    ``u(x) = -(p1(x) - p2(x))``, with p1 and p2 the two largest class probabilities. The
    candidates are the rows of highest u, a few for each pick. Clusters are ordered by how
    many candidates they hold, fewest first, and each gives one candidate, again and again,
    until the budget is met (Algorithm 2 of the paper, of which a call is one round).

    Clusters are merged by average linkage of Euclidean distances until N // size are left,
    which is the distance threshold of the paper's rule that clusters hold 10 rows on average.
    Where the paper draws a candidate of a cluster at random, this takes its best. Merging the
    whole pool takes N^2 memory; two approximations forget all rows but the candidates:
    ``candidates`` merges these, ``kmeans`` makes as many clusters of them by k-means.

    Args:
        probs: (N, C) class probabilities.
        embeddings: (N, D) embeddings.
        budget: Rows to pick, at most N.
        rng: Source of the start of k-means; merging draws nothing.
        candidates: Candidates for each row of the budget.
        size: Rows that a cluster has on average.
        approx: Whether only the candidates are clustered, and how.

    Returns:
        The rows in the order of the turns, and their u, from -1 to 0. Of equal margins the
        lowest row, of clusters with as many candidates the one that has the better first.

    Example:
        >>> probs = np.array([[0.5, 0.5], [0.625, 0.375], [0.75, 0.25], [0.875, 0.125]])
        >>> line = np.array([[0.0], [1.0], [2.0], [9.0]])
        >>> cluster_margin(probs, line, 3, np.random.default_rng(0), size=2)
        Picks(rows=array([3, 0, 1]), scores=array([-0.75,  0.  , -0.25]))
    """
    scores = margin_confidence(probs)
    ranked = best(scores, candidates * budget)
    if approx == "none":
        labels = _merge(embeddings, len(embeddings) // size)[ranked]
    elif approx == "candidates":
        labels = _merge(embeddings[ranked], len(ranked) // size)
    else:
        labels = k_means(embeddings[ranked], max(1, len(ranked) // size), rng).labels
    rows = ranked[_round_robin(labels)[:budget]]
    return Picks(rows, scores[rows])


def _merge(points: Embeddings, clusters: int) -> NDArray[np.int64]:
    """(N,) cluster numbers after merging by average linkage, in no particular order."""
    n = len(points)
    if clusters <= 1:
        return np.zeros(n, np.int64)
    from scipy.cluster.hierarchy import linkage

    merges = linkage(points, "average")[: n - clusters, :2].astype(np.int64)
    group = np.arange(n + len(merges))
    for made in reversed(range(len(merges))):  # merge number `made` makes the node n + made
        group[merges[made]] = group[n + made]
    return group[:n]


def _round_robin(labels: NDArray[np.int64]) -> Rows:
    """Positions of ranked rows in the order of their clusters' turns."""
    _, first, cluster, held = np.unique(
        labels, return_index=True, return_inverse=True, return_counts=True
    )
    turn = np.empty(len(labels), np.int64)
    turn[np.argsort(cluster, kind="stable")] = np.concatenate([np.arange(count) for count in held])
    return np.lexsort((first[cluster], held[cluster], turn))

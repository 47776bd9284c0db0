"""One pick a cluster: labels spread over what k-means finds in the embeddings."""

from __future__ import annotations

from collections.abc import Callable
from typing import Annotated, Literal

import numpy as np

from alaas.core.arrays import Embeddings, Probs, Scores
from alaas.strategies.clusters import k_means, k_means_plus_plus_work, k_means_work, nearest_rows
from alaas.strategies.clusters import k_means_plus_plus as draw_rows
from alaas.strategies.cost import Sizes, Work
from alaas.strategies.declaration import Picks
from alaas.strategies.distances import blocks
from alaas.strategies.parameters import Range
from alaas.strategies.registry import strategy
from alaas.strategies.selection import best
from alaas.strategies.uncertainty import entropy, least_confidence, margin_confidence

Iterations = Annotated[int, Range(1, 1000), "Lloyd iterations of k-means at most."]

_UNCERTAINTIES = {
    "least_confidence": least_confidence,
    "margin": margin_confidence,
    "entropy": entropy,
}


def _scoring(s: Sizes) -> Work:
    """What it takes to score the probabilities, a block at a time."""
    return Work(flops=30 * s.N * s.C, reads=4 * s.N * s.C, memory=24 * s.N)


def _together(*works: Work, copies: float = 0.0) -> Work:
    flops, memory, reads = map(sum, zip(*works, strict=True))
    return Work(flops, memory + copies, reads)


@strategy(
    family="clustering",
    aliases=("KMeans", "EmbeddingKMeans"),
    cost="O(K N D)",
    paper="Bodo, Minier & Csato 2011",
    use="No labels yet and a fixed budget: one typical item from each region of the pool.",
    work=lambda s, params: k_means_work(s.N, s.K, s.D, iterations=params["iterations"]),
)
def k_means_sampling(
    embeddings: Embeddings, budget: int, rng: np.random.Generator, *, iterations: Iterations = 25
) -> Picks:
    """The row nearest to the centre of each of as many clusters as are wanted.

    ``u(x) = |cluster of x| / N`` for the row x nearest to a centre of k-means with K
    clusters, so that the rows of large clusters come first.

    A row that is nearest to two centres is picked once, and the smaller cluster of the two
    has its next nearest. k-means starts from the best of many rows that k-means++ draws.

    Args:
        embeddings: (N, D) embeddings.
        budget: Rows to pick, which is K, at most N.
        rng: Source of the start.
        iterations: Lloyd iterations at most.

    Returns:
        The rows, and the share of the pool in the cluster that each stands for: 0 to 1, and
        never increasing. Of equal shares the lowest row, as of equally near rows.

    Example:
        >>> line = np.array([[0.0], [1.0], [2.0], [10.0], [11.0], [12.0], [12.5]])
        >>> rows, shares = k_means_sampling(line, 2, np.random.default_rng(0))
        >>> rows, shares.round(3)
        (array([4, 1]), array([0.571, 0.429]))
    """
    return _one_a_cluster(embeddings, budget, rng, None, iterations)


@strategy(
    family="clustering",
    aliases=("KMeansPlusPlus", "KMeansPP", "DSquaredSampling"),
    cost="O(K N D)",
    paper="Arthur & Vassilvitskii 2007",
    use="A diverse draw in a few passes, less drawn to outliers than k-center.",
    work=lambda s, params: k_means_plus_plus_work(s.N, s.K, s.D),
)
def k_means_plus_plus(embeddings: Embeddings, budget: int, rng: np.random.Generator) -> Picks:
    """Drawn one by one, each likelier the further it is from all drawn before.

    ``u(x) ~ min_{s in S} |h(x) - h(s)|^2``: the probability of x is this squared distance
    to the nearest row drawn before, over its sum. The first is uniform, and so are the rest
    once only duplicates are left.

    The initial centres of k-means++ (Arthur & Vassilvitskii, section 2.2, steps 1a to 1c),
    one trial a step.

    Args:
        embeddings: (N, D) embeddings.
        budget: Rows to draw, at most N.
        rng: Source of the draws.

    Returns:
        The rows in the order in which they were drawn, and the distance in embedding units
        that each had to the nearest before it; the first has the largest that any row has
        to it. 0 for duplicates.

    Example:
        >>> twins = np.array([[0.0], [0.0], [3.0], [3.0]])
        >>> rows, distances = k_means_plus_plus(twins, 3, np.random.default_rng(0))
        >>> distances, len(set(rows.tolist()))
        (array([3., 3., 0.]), 3)
    """
    seeds = draw_rows(embeddings, budget, rng)
    return Picks(seeds.rows, np.sqrt(seeds.squares))


@strategy(
    family="clustering",
    aliases=("DBAL", "DiverseMiniBatch", "DiverseMiniBatchSampling"),
    cost="O(N C + K^2 D)",
    paper="Zhdanov 2019, arXiv:1901.05954",
    use="Large batches: as uncertain as margin, without near-duplicates.",
    work=lambda s, params: _together(
        _scoring(s),
        k_means_work(
            min(s.N, int(params["prefilter"] * s.K)), s.K, s.D, iterations=params["iterations"]
        ),
        copies=8.0 * min(s.N, int(params["prefilter"] * s.K)) * s.D,
    ),
)
def diverse_mini_batch(
    probs: Probs,
    embeddings: Embeddings,
    budget: int,
    rng: np.random.Generator,
    *,
    prefilter: Annotated[float, Range(1, None), "Rows that are clustered for each pick."] = 10.0,
    iterations: Iterations = 25,
) -> Picks:
    """Of the most uncertain rows, the nearest to the centre of each weighted cluster.

    ``u(x) = sum_{y in cluster of x} w(y) / sum_y w(y)``, with the weight
    ``w(x) = 1 - (p1(x) - p2(x))`` of the ``prefilter`` K rows of the largest weight, for the row x
    among them nearest to a centre of their weighted k-means with K clusters.

    Zhdanov's Algorithm 1 with the margin as its informativeness. The paper does not say
    which row is taken when two centres share their nearest: the smaller cluster of the two
    has its next nearest.

    Args:
        probs: (N, C) class probabilities.
        embeddings: (N, D) embeddings.
        budget: Rows to pick, which is K, at most N.
        rng: Source of the start of k-means.
        prefilter: How many times the budget is clustered, the paper's beta; with 1 the most
            uncertain rows are picked.
        iterations: Lloyd iterations at most.

    Returns:
        The rows, and the share of the clustered weight that each stands for: 0 to 1, and
        never increasing. Where all weights are 0, as with one class or one-hot rows, all
        count alike. Of equal shares the lowest row.

    Example:
        >>> probs = np.array([[0.5, 0.5], [0.6, 0.4], [0.5, 0.5], [0.6, 0.4], [1.0, 0.0]])
        >>> line = np.array([[0.0], [1.0], [10.0], [11.0], [5.0]])
        >>> diverse_mini_batch(probs, line, 2, np.random.default_rng(0), prefilter=2)
        Picks(rows=array([0, 2]), scores=array([0.5, 0.5]))
    """
    weights = 1 + _by_blocks(margin_confidence, probs)
    rows = np.sort(best(weights, int(prefilter * budget)))
    picks = _one_a_cluster(embeddings[rows], budget, rng, weights[rows], iterations)
    return Picks(rows[picks.rows], picks.scores)


@strategy(
    family="clustering",
    aliases=("ClusteringUncertaintyWeightedEmbeddings",),
    cost="O(N C + K N D)",
    paper="Prabhu, Chandrasekaran, Saenko & Hoffman 2021, arXiv:2010.08666",
    use="A pool from a new domain: uncertain regions, each by its typical row.",
    work=lambda s, params: _together(
        _scoring(s), k_means_work(s.N, s.K, s.D, iterations=params["iterations"])
    ),
)
def clue(
    probs: Probs,
    embeddings: Embeddings,
    budget: int,
    rng: np.random.Generator,
    *,
    temperature: Annotated[
        float, Range(1e-3, None), "Of the softmax; below 1 only the least certain weigh."
    ] = 1.0,
    iterations: Iterations = 25,
) -> Picks:
    """The row nearest to the centre of each cluster, with clusters drawn to uncertain rows.

    ``u(x) = sum_{y in cluster of x} H(y) / sum_y H(y)`` for the row x nearest to a centre of
    k-means with K clusters, in which each row weighs its entropy ``H(y) = -sum_c q_c ln q_c``
    of ``q ~ p(y)^(1/temperature)``.

    A row that is nearest to two centres is picked once, and the smaller cluster of the two
    has its next nearest.

    Args:
        probs: (N, C) class probabilities.
        embeddings: (N, D) embeddings.
        budget: Rows to pick, which is K, at most N.
        rng: Source of the start of k-means.
        temperature: What the logits are divided by before the softmax.
        iterations: Lloyd iterations at most.

    Returns:
        The rows, and the share of the pool's entropy that each stands for: 0 to 1, and never
        increasing. Where all entropies are 0, all rows count alike. Of equal shares the
        lowest row.

    Example:
        >>> probs = np.array([[0.5, 0.5], [1.0, 0.0], [1.0, 0.0], [0.5, 0.5], [0.5, 0.5]])
        >>> line = np.array([[0.0], [2.0], [10.0], [12.0], [12.0]])
        >>> rows, shares = clue(probs, line, 2, np.random.default_rng(0))
        >>> rows, shares.round(3)
        (array([3, 0]), array([0.667, 0.333]))
    """

    def heat(block: Probs) -> Scores:
        powers = block.astype(np.float64, order="C")
        powers /= powers.max(axis=1, keepdims=True)
        powers **= 1 / temperature
        powers /= powers.sum(axis=1, keepdims=True)
        return entropy(powers)

    weights = _by_blocks(heat, probs)
    return _one_a_cluster(embeddings, budget, rng, weights, iterations)


@strategy(
    family="clustering",
    aliases=("Clustering",),
    cost="O(N C + N D)",
    paper="SpaceML Active Labeler 2021",
    use="Uncertainty sampling that leaves no region of the pool out.",
    work=lambda s, params: _together(
        _scoring(s),
        k_means_work(s.N, min(s.N, params["clusters"]), s.D, iterations=params["iterations"]),
    ),
)
def clustering_sampling(
    probs: Probs,
    embeddings: Embeddings,
    budget: int,
    rng: np.random.Generator,
    *,
    uncertainty: Annotated[
        Literal["least_confidence", "margin", "entropy"], "The score inside a cluster."
    ] = "entropy",
    clusters: Annotated[int, Range(1, None), "Clusters, each with its quota of the budget."] = 3,
    iterations: Iterations = 25,
) -> Picks:
    """The most uncertain rows of each cluster, as many as its share of the pool.

    ``u(x) = H(x)``, or another uncertainty, for the top ``K |cluster| / N`` rows of each
    cluster of k-means.

    Where the original rounded every quota up and gave more rows than asked for, they are
    rounded by largest remainder here and sum to the budget.

    Args:
        probs: (N, C) class probabilities.
        embeddings: (N, D) embeddings.
        budget: Rows to pick, at most N.
        rng: Source of the start of k-means.
        uncertainty: The rule of u.
        clusters: Number of clusters; of more than N there are N.
        iterations: Lloyd iterations at most.

    Returns:
        The rows by uncertainty, and their u in the unit of its rule. Of equal rows of one
        cluster the lowest; of equal remainders the larger cluster.

    Example:
        >>> probs = np.array([[0.5, 0.5], [0.6, 0.4], [0.6, 0.4], [0.9, 0.1], [0.8, 0.2]])
        >>> line = np.array([[0.0], [1.0], [2.0], [10.0], [11.0]])
        >>> rows, scores = clustering_sampling(
        ...     probs, line, 2, np.random.default_rng(0), uncertainty="margin", clusters=2
        ... )
        >>> rows, scores.round(3)
        (array([0, 4]), array([ 0. , -0.6]))
    """
    scores = _by_blocks(_UNCERTAINTIES[uncertainty], probs)
    labels = k_means(
        embeddings, min(clusters, len(embeddings)), rng, iterations=iterations
    ).labels  # fmt: skip
    sizes = np.bincount(labels)
    quotas, remainders = np.divmod(sizes * budget, len(labels))
    last = np.lexsort((-sizes, -remainders))
    quotas[last[: budget - quotas.sum()]] += 1
    chosen = []
    for cluster in np.flatnonzero(quotas):
        members = np.flatnonzero(labels == cluster)
        chosen.append(members[best(scores[members], int(quotas[cluster]))])
    rows = np.sort(np.concatenate(chosen))
    rows = rows[best(scores[rows], budget)]
    return Picks(rows, scores[rows])


def _by_blocks(measure: Callable[[Probs], Scores], probs: Probs) -> Scores:
    return np.concatenate([measure(probs[part]) for part in blocks(*probs.shape)])


def _one_a_cluster(
    embeddings: Embeddings,
    budget: int,
    rng: np.random.Generator,
    weights: Scores | None,
    iterations: int,
) -> Picks:
    """The row nearest to the centre of each cluster, the clusters of most weight first."""
    if weights is not None:
        # Probabilities may sum to a little more than 1, and their margin be above 1.
        weights = np.maximum(weights, 0) if (weights > 0).any() else None
    clusters = k_means(embeddings, budget, rng, weights=weights, iterations=iterations)
    shares = np.bincount(clusters.labels, weights, minlength=budget).astype(np.float64)
    shares /= shares.sum()
    order = best(shares, budget)
    rows = nearest_rows(embeddings, clusters._replace(centres=clusters.centres[order]))
    shares = shares[order]
    order = np.lexsort((rows, -shares))
    return Picks(rows[order], shares[order])

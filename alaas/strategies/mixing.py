"""Items whose prediction changes when their features do.

Both strategies ask the model's last layer about features that were moved a little, keep the
items whose predicted class does not survive it, and pick one of each cluster of those.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Annotated, Any

import numpy as np
from numpy.typing import NDArray

from alaas.core.arrays import Embeddings, Head, Labels, Rows, Scores
from alaas.strategies.clusters import k_means, k_means_work, nearest_rows
from alaas.strategies.cost import Sizes, Work
from alaas.strategies.declaration import Picks
from alaas.strategies.distances import blocks, squared_lengths, unit_rows
from alaas.strategies.parameters import Range
from alaas.strategies.registry import strategy


def _mixing(sizes: Sizes, params: Mapping[str, Any]) -> Work:
    N, C, D = sizes.N, sizes.C, sizes.D
    clusters = k_means_work(N, sizes.K, D)
    return Work(
        # Four products with the head or the anchors, in float64 at half the rate of float32.
        flops=16 * N * C * D + 30 * N * C + clusters.flops,
        reads=8 * N * D + clusters.reads,
        memory=4 * N * D + 32 * N + 8 * sizes.M * D + clusters.memory,
    )


@strategy(
    family="mixing",
    aliases=("ALFAMix", "AlphaMix", "AlphaMixSampling"),
    cost="O(N C D + K N D)",
    paper="Parvaneh et al. 2022, arXiv:2203.07034",
    use="Few labels on features of a pretrained model: finds features not seen labelled yet.",
    work=_mixing,
)
def alfa_mix(
    embeddings: Embeddings,
    head: Head,
    labelled_embeddings: Embeddings,
    labels: Labels,
    budget: int,
    rng: np.random.Generator,
    *,
    epsilon: Annotated[float, Range(0, None), "How far features are mixed with an anchor."] = 0.2,
) -> Picks:
    """Items whose predicted class changes when labelled features are mixed in.

    ``u(x) = max_{k != y} f_k(z') - f_y(z')``, with z the embedding, f the logits of the head,
    y the predicted class, and z' = (1 - a) z + a z*, elementwise, the mixture with the anchor
    z* that is furthest from z. The anchors are the mean labelled embeddings of each class.

    The share of the anchor is the paper's closed form, a = e |z* - z| g / (|g| (z* - z)) with
    e = epsilon / sqrt(D) and g the gradient of the loss with respect to z. It makes the
    mixture a step along the gradient, z' = z + e |z* - z| g / |g|, whatever the direction of
    the anchor; and since the lead of another class is convex along that line, the class
    changes for some anchor if and only if it changes for the furthest.

    Rows with u > 0 are candidates. k-means with one cluster a pick goes over the candidates'
    embeddings, scaled to length 1 as in the authors' code, and of each cluster the row nearest
    to its mean is picked. Where candidates are fewer than the budget, all of them are picked
    and then the rows that come nearest to a change; the paper takes random ones. The
    gradient's direction is taken without the factor 1 - p(y), so that it is defined for rows
    of which the model is certain.

    Args:
        embeddings: (N, D) embeddings of the pool.
        head: (C, D + 1) last layer of the model.
        labelled_embeddings: (M, D) embeddings of what is labelled.
        labels: (M,) their class numbers.
        budget: Rows to pick, at most N.
        rng: Source of the start of k-means.
        epsilon: Length of the step, in distances to the anchor times sqrt(D).

    Returns:
        The rows, and by how many logits the strongest other class leads after mixing: above 0
        where the class changes, 0 for all rows if there is but one class. Highest first; of
        equal scores the lowest row.

    Example:
        >>> line = np.array([[-3.0], [-1.0], [2.0]])
        >>> head = np.array([[-1.0, 0.0], [1.0, 0.0]])  # the class is the sign
        >>> alfa_mix(line, head, np.array([[4.0]]), np.array([1]), 3,
        ...          np.random.default_rng(0), epsilon=0.5)
        Picks(rows=array([1, 0, 2]), scores=array([ 3.,  1., -2.]))
    """
    anchors = np.stack(
        [labelled_embeddings[labels == c].mean(axis=0, dtype=np.float64) for c in np.unique(labels)]
    )
    N, D = embeddings.shape
    lead = np.zeros(N)
    for part in blocks(N, 2 * D + 6 * len(head)) if len(head) > 1 else ():
        z = embeddings[part].astype(np.float64)
        reach = epsilon / math.sqrt(D) * _furthest(z, anchors)
        lead[part] = _lead_after(z, head.astype(np.float64), reach)
    ranked = np.argsort(-lead, kind="stable")
    changed = np.flatnonzero(lead > 0)
    rows = _spread(embeddings, changed, ranked, budget, rng, scaled=True)
    return Picks(rows, lead[rows])


def _furthest(z: NDArray[np.float64], anchors: NDArray[np.float64]) -> NDArray[np.float64]:
    """(B,) distance of each row to the anchor that is furthest from it."""
    squares = squared_lengths(z)[:, None] + squared_lengths(anchors) - 2 * (z @ anchors.T)
    furthest: NDArray[np.float64] = np.sqrt(squares.max(axis=1).clip(min=0))
    return furthest


def _lead_after(
    z: NDArray[np.float64], head: NDArray[np.float64], reach: NDArray[np.float64]
) -> Scores:
    """(B,) lead of the strongest other class over y after a step of some length uphill.

    The gradient of -ln p(y) is sum_k p(k) (w_k - w_y), the sum over the classes but y. Only
    its direction counts, so p can be normalised without y, which no certainty underflows.
    """
    weights, bias = head[:, :-1], head[:, -1]
    leads = z @ weights.T + bias
    first = np.arange(len(z)), leads.argmax(axis=1)
    leads -= leads[first][:, None]
    leads[first] = -np.inf
    shares = np.exp(leads - leads.max(axis=1, keepdims=True))
    shares /= shares.sum(axis=1, keepdims=True)
    shares[first] = -1.0
    gradient = shares @ weights
    length = np.sqrt(squared_lengths(gradient))
    slopes = gradient @ weights.T
    slopes -= slopes[first][:, None]
    # Where all classes have one weight vector there is no direction to go.
    slopes *= np.divide(reach, length, out=np.zeros_like(length), where=length > 0)[:, None]
    leads += slopes
    strongest: Scores = leads.max(axis=1)
    return strongest


def _dropping(sizes: Sizes, params: Mapping[str, Any]) -> Work:
    N, C, D, passes = sizes.N, sizes.C, sizes.D, params["passes"]
    clusters = k_means_work(N, sizes.K, D)
    return Work(
        # A random number counts as 20.
        flops=2 * (passes + 1) * N * C * D + 22 * passes * N * D + clusters.flops,
        reads=8 * N * D + clusters.reads,
        memory=4 * N * D + 40 * N + clusters.memory,
    )


@strategy(
    family="mixing",
    aliases=("DropQuery",),
    cost="O(T N C D + K N D)",
    paper="Gupte et al. 2024, arXiv:2401.14555",
    use="Frozen features of a foundation model under a linear head, few labels, large batches.",
    work=_dropping,
)
def drop_query(
    embeddings: Embeddings,
    head: Head,
    budget: int,
    rng: np.random.Generator,
    *,
    passes: Annotated[int, Range(1, 100), "Times that features are dropped."] = 3,
    rate: Annotated[float, Range(0, 0.99), "Share of the features dropped each time."] = 0.75,
) -> Picks:
    """Items whose predicted class changes when most of their features are dropped.

    ``u(x) = 1/T sum_t [argmax_c f_c(z o m_t) != argmax_c f_c(z)]``, with z the embedding, f
    the logits of the head, and each number of m_t 0 with probability `rate`, else
    1 / (1 - rate).

    Rows of which more than half of the T passes changed are candidates. k-means with one
    cluster a pick goes over the candidates' embeddings, and of each cluster the row nearest
    to its mean is picked. Where candidates are fewer than the budget, which the paper leaves
    open, the rest are the other rows that changed most often.

    Args:
        embeddings: (N, D) embeddings of the pool.
        head: (C, D + 1) last layer of the model.
        budget: Rows to pick, at most N.
        rng: Source of the dropped features, in the order of the rows and in each of its
            passes, and then of the start of k-means.
        passes: T, the number of times.
        rate: Share of the features that is dropped.

    Returns:
        The rows, and the share of the passes, 0 to 1, that changed their class. Highest
        first; of equal shares the row whose first class leads the second by fewer logits,
        of equal leads the lowest row.

    Example:
        >>> pool = np.array([[4.0, 0.0], [0.0, 3.0]])
        >>> head = np.array([[1.0, 0.0, 0.5], [0.0, 1.0, 0.0]])  # without features, class 0
        >>> drop_query(pool, head, 2, np.random.default_rng(0), passes=40)
        Picks(rows=array([1, 0]), scores=array([0.75, 0.  ]))
    """
    N = len(embeddings)
    changes, lead = np.zeros(N, np.int64), np.zeros(N)
    # BLAS has no half precision.
    head = head.astype(np.result_type(embeddings, head, np.float32))
    for part in blocks(N, (passes + 1) * (embeddings.shape[1] + len(head))):
        z = embeddings[part].astype(head.dtype, copy=False)
        logits = _logits(z, head)
        kept = rng.random((len(z), passes, z.shape[1]), np.float32) >= rate
        dropped = _logits(z[:, None] * kept / (1 - rate), head)
        changes[part] = (dropped.argmax(axis=2) != logits.argmax(axis=1)[:, None]).sum(axis=1)
        if len(head) > 1:
            two = np.partition(logits, -2, axis=1)[:, -2:]
            lead[part] = two[:, 1] - two[:, 0]
    ranked = np.lexsort((lead, -changes))
    changed = np.flatnonzero(2 * changes > passes)
    rows = _spread(embeddings, changed, ranked, budget, rng, scaled=False)
    return Picks(rows, changes[rows] / passes)


def _logits(z: NDArray[np.floating], head: Head) -> NDArray[np.floating]:
    logits: NDArray[np.floating] = z @ head[:, :-1].T
    logits += head[:, -1]
    return logits


def _spread(
    embeddings: Embeddings,
    candidates: Rows,
    ranked: Rows,
    budget: int,
    rng: np.random.Generator,
    *,
    scaled: bool,
) -> Rows:
    """(budget,) one row of each cluster of the candidates, in the order of `ranked`.

    Args:
        embeddings: (N, D) embeddings of the pool.
        candidates: Rows to cluster, ascending; they come first in `ranked`.
        ranked: (N,) all rows, best first: what is picked where the candidates are too few.
        budget: Rows to pick.
        rng: Source of the start of k-means.
        scaled: Whether embeddings are scaled to length 1.
    """
    if len(candidates) <= budget:
        return ranked[:budget]
    points = np.empty((len(candidates), embeddings.shape[1]), np.float32)
    for part in blocks(*points.shape):
        block = embeddings[candidates[part]]
        points[part] = unit_rows(block) if scaled else block
    picked = np.zeros(len(embeddings), bool)
    picked[candidates[nearest_rows(points, k_means(points, budget, rng))]] = True
    return ranked[picked[ranked]]

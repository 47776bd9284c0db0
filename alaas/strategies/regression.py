"""Greedy sampling for regression: picks far from each other in inputs, outputs, or both."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from alaas.core.arrays import Embeddings, Predictions, Targets
from alaas.strategies.cost import Work
from alaas.strategies.declaration import Picks
from alaas.strategies.distances import BLOCK, blocks, squared_lengths
from alaas.strategies.geometry import k_center_greedy
from alaas.strategies.registry import strategy

_PAPER = "Wu, Lin & Huang 2019, arXiv:1808.04245"

_PICKED = -1.0
"""Stands for a squared product of distances: a row that it marks is never the largest again."""


@strategy(
    family="regression",
    aliases=("GSx", "GreedySamplingX"),
    cost="O((M + K) N D)",
    paper=_PAPER,
    use="Regression before there is a model: labels spread over the inputs.",
    work=lambda s, params: Work(
        flops=2 * (s.M + s.K) * s.N * s.D,
        reads=4 * (s.M + s.K) * s.N * s.D,
        memory=40 * s.N + 24 * BLOCK,
    ),
)
def greedy_sampling_inputs(
    embeddings: Embeddings, budget: int, labelled_embeddings: Embeddings | None = None
) -> Picks:
    """Again and again the row furthest in its inputs from all that is labelled or picked.

    ``u(x) = min_{s in L+S} |h(x) - h(s)|``, the Euclidean distance to the nearest labelled or
    picked row. Without labelled rows the first pick is the row nearest to the mean.

    It is `k_center_greedy`, which the paper arrives at with this start, under its name in
    regression.

    Args:
        embeddings: (N, D) embeddings of the pool.
        budget: Rows to pick, at most N.
        labelled_embeddings: (M, D) embeddings of what is labelled already.

    Returns:
        The rows, and the distance in embedding units that each had when it was picked; the
        first without labelled rows has the covering radius that it leaves. Of equal
        distances the lowest row.

    Example:
        >>> greedy_sampling_inputs(np.array([[0.0], [1.0], [5.0]]), 2, np.array([[1.0]]))
        Picks(rows=array([2, 0]), scores=array([4., 1.]))
    """
    return k_center_greedy(embeddings, budget, labelled_embeddings)


@strategy(
    family="regression",
    aliases=("GSy", "GreedySamplingY"),
    cost="O((M + K) N)",
    paper=_PAPER,
    use="Regression where the whole range of the target should be labelled.",
    work=lambda s, params: Work(
        flops=10 * (s.M + s.K) * s.N,
        reads=16 * (s.M + s.K) * s.N,
        memory=40 * s.N + 24 * BLOCK,
    ),
)
def greedy_sampling_outputs(
    predictions: Predictions, budget: int, targets: Targets | None = None
) -> Picks:
    """Again and again the row furthest in its output from all that is labelled or picked.

    ``u(x) = min_{s in L+S} |f(x) - y(s)|``, with f the prediction and y the target of a
    labelled row; the prediction of a picked row stands for the target that it has not yet.

    The paper begins by inputs where nothing is labelled. Here the first pick is then the row
    whose prediction is nearest to the mean, so that it needs outputs alone.

    Args:
        predictions: (N,) what the model predicts for the pool.
        budget: Rows to pick, at most N.
        targets: (M,) targets of what is labelled already.

    Returns:
        The rows, and the distance in target units that each had when it was picked: never
        increasing, 0 once only equal predictions are left. The first without labelled rows
        has the largest distance to it that is left. Of equal distances the lowest row.

    Example:
        >>> greedy_sampling_outputs(np.array([0.0, 1.0, 5.0]), 2, np.array([1.0]))
        Picks(rows=array([2, 0]), scores=array([4., 1.]))
    """
    return k_center_greedy(
        predictions[:, None], budget, None if targets is None else targets[:, None]
    )


@strategy(
    family="regression",
    aliases=("iGS", "GSi", "ImprovedGreedySampling", "GreedySamplingTarget"),
    cost="O((M + K) N D)",
    paper=_PAPER,
    use="The default for regression: labels spread over inputs and outputs at once.",
    work=lambda s, params: Work(
        flops=(2 * s.D + 10) * (s.M + s.K) * s.N,
        reads=(4 * s.D + 40) * (s.M + s.K) * s.N,
        memory=40 * s.N + 24 * BLOCK,
    ),
)
def greedy_sampling(
    embeddings: Embeddings,
    predictions: Predictions,
    labelled_embeddings: Embeddings,
    targets: Targets,
    budget: int,
) -> Picks:
    """Again and again the row furthest from all labelled or picked in inputs times outputs.

    ``u(x) = min_{s in L+S} |h(x) - h(s)| |f(x) - y(s)|``, with h the embedding, f the
    prediction and y the target of a labelled row; the prediction of a picked row stands for
    the target that it has not yet.

    The paper labels each pick, and trains the model anew, before the next; a batch is picked
    with the predictions of one model.

    Args:
        embeddings: (N, D) embeddings of the pool.
        predictions: (N,) what the model predicts for the pool.
        labelled_embeddings: (M, D) embeddings of what is labelled already.
        targets: (M,) targets of what is labelled already.
        budget: Rows to pick, at most N.

    Returns:
        The rows, and the product, in embedding units times target units, that each had when
        it was picked: never increasing, 0 for a row that has the embedding or the output of
        one that is labelled or picked. Of equal products the lowest row.

    Example:
        >>> line, outputs = np.array([[0.0], [2.0], [3.0]]), np.array([1.0, 4.0, 5.0])
        >>> greedy_sampling(line, outputs, np.array([[1.0]]), np.array([2.0]), 3)
        Picks(rows=array([2, 0, 1]), scores=array([6., 1., 1.]))
    """
    rows = np.empty(budget, np.int64)
    scores = np.empty(budget)
    squares = squared_lengths(embeddings)
    nearest = np.full(len(embeddings), np.inf)
    pool = embeddings, squares, predictions
    _draw_nearer(nearest, pool, labelled_embeddings, targets)
    for step in range(budget):
        row = int(nearest.argmax())
        rows[step], scores[step] = row, np.sqrt(nearest[row])
        if nearest[row] > 0:  # products of 0 can get no smaller
            picked = slice(row, row + 1)
            _draw_nearer(nearest, pool, embeddings[picked], predictions[picked])
        nearest[row] = _PICKED
    return Picks(rows, scores)


def _draw_nearer(
    nearest: NDArray[np.float64],
    pool: tuple[Embeddings, NDArray[np.float64], Predictions],
    centres: Embeddings,
    values: NDArray[np.floating],
) -> None:
    """Lower the squared products in `nearest` to those with new centres, in place.

    The distance of outputs is cheap and exact. That of inputs is bounded from below by one
    matrix-vector product, less all that rounding can add to it, and measured in float64 only
    where the bound does not rule the row out: ties and duplicates are exact.

    Args:
        nearest: (N,) smallest squared product of each row so far.
        pool: The embeddings of the pool, their squared lengths, and the predictions.
        centres: (G, D) embeddings of the new centres.
        values: (G,) their outputs.
    """
    embeddings, squares, predictions = pool
    dtype = np.result_type(embeddings, centres, np.float32)  # BLAS has no half precision
    D, limits = embeddings.shape[1], np.finfo(dtype)
    shrink = 1 - 2 * (D + 4) * float(limits.eps)
    underflow = 2 * D * float(limits.tiny)
    centres = centres.astype(dtype, copy=False)
    for part in blocks(*embeddings.shape):
        inputs = embeddings[part].astype(dtype, copy=False)
        near = nearest[part]
        for centre, square, value in zip(centres, squared_lengths(centres), values, strict=True):
            gaps = np.subtract(predictions[part], value, dtype=np.float64) ** 2
            # What overflows bounds nothing, and the comparison below lets it through.
            with np.errstate(over="ignore", invalid="ignore"):
                bound = shrink * (squares[part] + square) - 2.0 * (inputs @ centre) - underflow
                rows = np.flatnonzero(~(bound * gaps >= near))
            offsets = np.subtract(inputs[rows], centre, dtype=np.float64)
            near[rows] = np.minimum(
                near[rows], np.einsum("nd,nd->n", offsets, offsets) * gaps[rows]
            )

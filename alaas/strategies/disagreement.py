"""Disagreement of several predictions of the same item: high where they contradict each other.

The predictions are those of T stochastic passes, of T models or of T augmented copies. Where
their mean is taken, it is the mean of probabilities, not of logits.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from alaas.core.arrays import Draws, Scores
from alaas.strategies.distances import blocks
from alaas.strategies.registry import strategy
from alaas.strategies.uncertainty import entropy, least_confidence, margin_confidence

_BLOCK = 1 << 17
"""Probabilities that are worked on at a time: a few such blocks stay in the cache."""


@strategy(
    family="disagreement",
    aliases=("VariationRatios", "VariationRatio", "VarRatio", "VarRatioSampling"),
    cost="O(N T C)",
    paper="Freeman 1965; Gal 2016",
    use="Only the votes of a committee can be trusted, not its probabilities.",
    floor=0.0,
)
def variation_ratios(draws: Draws) -> Scores:
    """The share of the predictions that do not vote for the most voted class.

    ``u(x) = 1 - max_c |{t : argmax_k p_tk(x) = c}| / T``, as in Freeman's book and Gal's
    thesis. A prediction whose largest probabilities tie votes for the lowest of these classes.

    Several libraries give this name to 1 less the largest mean probability, the approximation
    of Gal, Islam & Ghahramani 2017; here that is mc_least_confidence.

    Args:
        draws: (N, T, C) class probabilities of T predictions.

    Returns:
        (N,) a share, from 0 where all agree to at most 1 - 1/min(T, C). It has T values at
        most, so ties are common; they go to the lowest row.

    Example:
        >>> a, b = [0.9, 0.1], [0.4, 0.6]
        >>> variation_ratios(np.array([[a, a, a, b], [a, a, a, a]]))
        array([0.25, 0.  ])
    """
    return _measure(draws, lambda block: least_confidence(_votes(block)))


@strategy(
    family="disagreement",
    aliases=("MeanSTD", "MeanSTDSampling", "MeanStandardDeviation"),
    cost="O(N T C)",
    paper="Kampffmeyer et al. 2016; Gal, Islam & Ghahramani 2017, arXiv:1703.02910",
    use="Predictions that move, even where the predicted class stays the same.",
    floor=0.0,
)
def mean_std(draws: Draws) -> Scores:
    """How far the predictions spread, as a mean over classes of standard deviations.

    ``u(x) = mean_c sqrt(mean_t (p_tc(x) - mean_t p_tc(x))^2)``.

    Args:
        draws: (N, T, C) class probabilities of T predictions.

    Returns:
        (N,) a difference of probabilities, from 0 where all agree to 1/2.

    Example:
        >>> mean_std(np.array([[[1.0, 0.0], [0.0, 1.0]], [[0.5, 0.5], [0.5, 0.5]]]))
        array([0.5, 0. ])
    """
    return _measure(draws, lambda block: _class_mean(np.sqrt(_variances(block))))


@strategy(
    family="disagreement",
    aliases=("VarianceSampling", "PredictiveVariance"),
    cost="O(N T C)",
    paper="Kendall & Gal 2017, arXiv:1703.04977",
    use="As mean_std, where one class that moves far should count more than many that move a bit.",
    floor=0.0,
)
def variance(draws: Draws) -> Scores:
    """How far the predictions spread, as a mean over classes of variances.

    ``u(x) = mean_c mean_t (p_tc(x) - mean_t p_tc(x))^2``.

    Args:
        draws: (N, T, C) class probabilities of T predictions.

    Returns:
        (N,) a squared difference of probabilities, from 0 where all agree to 1/4.

    Example:
        >>> variance(np.array([[[1.0, 0.0], [0.0, 1.0]], [[0.5, 0.5], [0.5, 0.5]]]))
        array([0.25, 0.  ])
    """
    return _measure(draws, lambda block: _class_mean(_variances(block)))


@strategy(
    family="disagreement",
    aliases=("MCLeastConfidence", "LeastConfidenceDropout", "ConsensusLeastConfidence"),
    cost="O(N T C)",
    paper="Gal, Islam & Ghahramani 2017, arXiv:1703.02910",
    use="Least confidence, from a model that is better calibrated averaged over its passes.",
    floor=0.0,
)
def mc_least_confidence(draws: Draws) -> Scores:
    """How much probability the mean prediction leaves to other than its likeliest class.

    ``u(x) = 1 - max_c mean_t p_tc(x)``.

    Args:
        draws: (N, T, C) class probabilities of T predictions.

    Returns:
        (N,) a probability, from 0 where all are one-hot and agree to 1 - 1/C.

    Example:
        >>> mc_least_confidence(np.array([[[1.0, 0.0], [0.0, 1.0]], [[1.0, 0.0], [1.0, 0.0]]]))
        array([0.5, 0. ])
    """
    return _measure(draws, lambda block: least_confidence(_mean(block)))


@strategy(
    family="disagreement",
    aliases=("MCMargin", "MarginSamplingDropout", "ConsensusMargin"),
    cost="O(N T C)",
    paper="Scheffer, Decomain & Wrobel 2001; Gal, Islam & Ghahramani 2017, arXiv:1703.02910",
    use="Margin, from a model that is better calibrated averaged over its passes.",
    floor=-1.0,
)
def mc_margin(draws: Draws) -> Scores:
    """How little the mean prediction's most likely class leads its second.

    ``u(x) = -(p1(x) - p2(x))``, with p1 and p2 the two largest of ``mean_t p_tc(x)``.

    Args:
        draws: (N, T, C) class probabilities of T predictions.

    Returns:
        (N,) a difference of probabilities, from -1 where all are one-hot and agree to 0.

    Example:
        >>> mc_margin(np.array([[[1.0, 0.0], [0.0, 1.0]], [[1.0, 0.0], [0.5, 0.5]]]))
        array([ 0. , -0.5])
    """
    return _measure(draws, lambda block: margin_confidence(_mean(block)))


@strategy(
    family="disagreement",
    aliases=("MCEntropy", "ConsensusEntropy", "PredictiveEntropy", "EntropySamplingDropout"),
    cost="O(N T C)",
    paper="Gal, Islam & Ghahramani 2017, arXiv:1703.02910; Settles 2009",
    use="All uncertainty, of the model and of the item itself; bald has the model's alone.",
    floor=0.0,
)
def mc_entropy(draws: Draws) -> Scores:
    """How evenly the mean prediction is spread over all classes.

    ``u(x) = -sum_c q_c(x) ln q_c(x)``, with q(x) = mean_t p_t(x): the predictive entropy of
    dropout passes, and the consensus entropy of a committee.

    Args:
        draws: (N, T, C) class probabilities of T predictions.

    Returns:
        (N,) nats, from 0 where all are one-hot and agree to ln C.

    Example:
        >>> mc_entropy(np.array([[[1.0, 0.0], [0.0, 1.0]], [[1.0, 0.0], [1.0, 0.0]]])).round(4)
        array([0.6931, 0.    ])
    """
    return _measure(draws, lambda block: entropy(_mean(block)))


@strategy(
    family="disagreement",
    aliases=("VoteEntropy",),
    cost="O(N T C)",
    paper="Engelson & Dagan 1996, arXiv:cmp-lg/9606030",
    use="A committee whose votes can be trusted more than its probabilities, of many classes.",
    floor=0.0,
)
def vote_entropy(draws: Draws) -> Scores:
    """How evenly the votes of the predictions are spread over all classes.

    ``u(x) = -sum_c v_c(x) ln v_c(x)``, with v_c the share of the predictions whose largest
    probability is that of class c, the lowest class where several tie. Engelson & Dagan
    divide by ln min(T, C), the same for all rows; this is left out.

    Args:
        draws: (N, T, C) class probabilities of T predictions.

    Returns:
        (N,) nats, from 0 where all agree to at most ln min(T, C). It has few values, so ties
        are common; they go to the lowest row.

    Example:
        >>> a, b = [0.9, 0.1], [0.4, 0.6]
        >>> vote_entropy(np.array([[a, a, b, b], [a, a, a, a]])).round(4)
        array([0.6931, 0.    ])
    """
    return _measure(draws, lambda block: entropy(_votes(block)))


@strategy(
    family="disagreement",
    aliases=(
        "BayesianDisagreement",
        "BALDDropout",
        "MutualInformation",
        "KLDisagreement",
        "KLDivergence",
        "JensenShannonDivergence",
    ),
    cost="O(N T C)",
    paper="Houlsby et al. 2011, arXiv:1112.5745; McCallum & Nigam 1998 for the KL form",
    use="What the model does not know: items that are merely ambiguous score low.",
    floor=0.0,
)
def bald(draws: Draws) -> Scores:
    """How much the predictions contradict each other, each for itself being sure.

    ``u(x) = H(mean_t p_t(x)) - mean_t H(p_t(x))``, equation 2 of Houlsby et al.: what the
    label would say about the model. It equals ``mean_t KL(p_t(x) || mean_t p_t(x))``, the
    disagreement of a committee after McCallum & Nigam, whose names it therefore has too.

    Rounding can leave a difference just below 0; it is set to 0.

    Args:
        draws: (N, T, C) class probabilities of T predictions.

    Returns:
        (N,) nats, from 0 where all agree to ln min(T, C).

    Example:
        >>> bald(np.array([[[1.0, 0.0], [0.0, 1.0]], [[0.5, 0.5], [0.5, 0.5]]])).round(4)
        array([0.6931, 0.    ])
    """
    return _measure(draws, _mutual_information)


def _measure(draws: Draws, measure: Callable[[Draws], Scores]) -> Scores:
    """What `measure` gives for each row, block by block."""
    N, T, C = draws.shape
    measured = np.empty(N)
    for part in blocks(N, T * C, numbers=_BLOCK):
        measured[part] = measure(draws[part])
    return measured


def _mutual_information(draws: Draws) -> Scores:
    B, T, C = draws.shape
    own: Scores = entropy(draws.reshape(B * T, C)).reshape(B, T).mean(axis=1)
    return np.maximum(entropy(_mean(draws)) - own, 0.0)


def _mean(draws: Draws) -> NDArray[np.float64]:
    """(B, C) mean of the passes."""
    mean: NDArray[np.float64] = _sum_of_passes(_passes(draws)).T / draws.shape[1]
    return mean


def _variances(draws: Draws) -> NDArray[np.float64]:
    """(B, C) variance of each class over the passes."""
    offsets = _passes(draws)
    offsets -= _sum_of_passes(offsets) / len(offsets)
    variances: NDArray[np.float64] = _sum_of_passes(offsets * offsets).T / len(offsets)
    return variances


def _passes(draws: Draws) -> NDArray[np.float64]:
    """A (T, C, B) copy: NumPy adds long rows of items faster than short ones of classes."""
    passes: NDArray[np.float64] = draws.transpose(1, 2, 0).astype(np.float64, order="C")
    return passes


def _sum_of_passes(passes: NDArray[np.float64]) -> NDArray[np.float64]:
    """(C, B) sum, pass after pass, so that it does not depend on the other rows of a block."""
    total: NDArray[np.float64] = passes[0].copy()
    for one in passes[1:]:
        total += one
    return total


def _class_mean(rows: NDArray[np.float64]) -> Scores:
    mean: Scores = np.ascontiguousarray(rows).mean(axis=1)
    return mean


def _votes(draws: Draws) -> NDArray[np.float64]:
    """(B, C) share of the passes that find each class the most likely."""
    B, T, C = draws.shape
    cells = draws.argmax(axis=2) + C * np.arange(B)[:, None]
    counts: NDArray[np.int64] = np.bincount(cells.ravel(), minlength=B * C).reshape(B, C)
    shares: NDArray[np.float64] = counts / T
    return shares

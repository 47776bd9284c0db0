"""Uncertainty of one probability vector: high where the model does not know the class.

With one class there is nothing to be uncertain of, and a second class that is not there
counts as probability 0.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from alaas.core.arrays import Probs, Scores
from alaas.strategies.registry import strategy


@strategy(
    family="uncertainty",
    aliases=("LeastConfidence", "LC"),
    cost="O(N C)",
    paper="Lewis & Gale 1994",
)
def least_confidence(probs: Probs) -> Scores:
    """How much probability the most likely class leaves to the others.

    ``u(x) = 1 - p1(x)``, with p1 the largest class probability.

    Args:
        probs: (N, C) class probabilities.

    Returns:
        (N,) a probability, from 0 for a one-hot row to 1 - 1/C for a uniform one. It does
        not see how many classes tie for the first place, nor how the rest is spread.

    Example:
        >>> least_confidence(np.array([[0.5, 0.25, 0.25], [1.0, 0.0, 0.0]]))
        array([0.5, 0. ])
    """
    first: Scores = probs.max(axis=1).astype(np.float64)
    return 1 - first


@strategy(
    family="uncertainty",
    aliases=("MarginConfidence", "MC", "Margin"),
    cost="O(N C)",
    paper="Scheffer, Decomain & Wrobel 2001",
)
def margin_confidence(probs: Probs) -> Scores:
    """How little the most likely class leads the second.

    ``u(x) = -(p1(x) - p2(x))``, with p1 and p2 the two largest class probabilities.

    Args:
        probs: (N, C) class probabilities.

    Returns:
        (N,) a difference of probabilities, from -1 for a one-hot row to 0 where two or
        more classes tie for the first place.

    Example:
        >>> margin_confidence(np.array([[0.5, 0.25, 0.25], [0.5, 0.5, 0.0]]))
        array([-0.25,  0.  ])
    """
    first, second = _two_largest(probs)
    return second - first


@strategy(
    family="uncertainty",
    aliases=("RatioConfidence", "RC", "Ratio"),
    cost="O(N C)",
    paper="Settles 2009",
)
def ratio_confidence(probs: Probs) -> Scores:
    """How close the second most likely class comes to the first, as a ratio.

    ``u(x) = p2(x) / p1(x)``, with p1 and p2 the two largest class probabilities.

    Args:
        probs: (N, C) class probabilities.

    Returns:
        (N,) a ratio, from 0 for a one-hot row to 1 where two or more classes tie for the
        first place. The divisor is at least 1/C.

    Example:
        >>> ratio_confidence(np.array([[0.5, 0.25, 0.25], [0.5, 0.5, 0.0]]))
        array([0.5, 1. ])
    """
    first, second = _two_largest(probs)
    return second / first


@strategy(
    family="uncertainty",
    aliases=("EntropySampling", "ES"),
    cost="O(N C)",
    paper="Shannon 1948; Settles 2009",
)
def entropy(probs: Probs) -> Scores:
    """How evenly the probability is spread over all classes.

    ``u(x) = -sum_c p_c(x) ln p_c(x)``, with 0 ln 0 = 0.

    Args:
        probs: (N, C) class probabilities.

    Returns:
        (N,) nats, from 0 for a one-hot row to ln C for a uniform one.

    Example:
        >>> entropy(np.array([[0.5, 0.5, 0.0], [1.0, 0.0, 0.0]])).round(4)
        array([0.6931, 0.    ])
    """
    # The smallest normal number stands in for 0: its logarithm is finite, and times 0 is 0.
    terms = np.maximum(probs, np.finfo(np.float64).tiny, dtype=np.float64, order="C")
    np.log(terms, out=terms)
    terms *= probs
    negated: Scores = terms.sum(axis=1)
    return 0 - negated  # a plain minus would make -0.0 of a one-hot row


def _two_largest(probs: Probs) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    classes = probs.shape[1]
    if classes == 1:
        first = probs[:, 0].astype(np.float64)
        return first, np.zeros_like(first)
    ordered = np.partition(probs, classes - 2, axis=1)
    return ordered[:, -1].astype(np.float64), ordered[:, -2].astype(np.float64)

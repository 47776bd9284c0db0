"""Uncertainty of one probability vector: high where the model does not know the class.

With one class there is nothing to be uncertain of, and a second class that is not there
counts as probability 0.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import reduce
from typing import TypeAlias

import numpy as np
from numpy.typing import DTypeLike, NDArray

from alaas.core.arrays import Probs, Scores
from alaas.strategies.distances import blocks
from alaas.strategies.registry import strategy

_BLOCK = 1 << 17
"""Probabilities that are worked on at a time: few enough to stay in the cache of a core."""

_FEW = 32
"""Up to so many classes, a block is turned: NumPy is slow along rows as short as these."""

_Block: TypeAlias = NDArray[np.floating]
_Measure: TypeAlias = Callable[[_Block, int], NDArray[np.floating]]
"""A number for each row of a block, whose classes are on the axis given, 0 or 1."""


@strategy(
    family="uncertainty",
    aliases=("LeastConfidence", "LC"),
    cost="O(N C)",
    paper="Lewis & Gale 1994",
    use="A first try: cheap, and hard to beat with few classes.",
    floor=0.0,
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
    return 1 - _measure(probs, _largest)


@strategy(
    family="uncertainty",
    aliases=("MarginConfidence", "MC", "Margin"),
    cost="O(N C)",
    paper="Scheffer, Decomain & Wrobel 2001",
    use="The default where classes are confused in pairs; the strongest of the cheap ones.",
    floor=-1.0,
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
    return _measure(probs, _lead)


@strategy(
    family="uncertainty",
    aliases=("RatioConfidence", "RC", "Ratio"),
    cost="O(N C)",
    paper="Settles 2009",
    use="As margin, where pairs of small probabilities should count as much as large ones.",
    floor=0.0,
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
    return _measure(probs, _closeness)


@strategy(
    family="uncertainty",
    aliases=("EntropySampling", "ES"),
    cost="O(N C)",
    paper="Shannon 1948; Settles 2009",
    use="Where being unsure among many classes matters more than between two.",
    floor=0.0,
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
    # A plain minus would make -0.0 of a one-hot row.
    return 0 - _measure(probs, _information, np.float64)


@strategy(
    family="uncertainty",
    aliases=("GiniImpurity", "GiniIndex", "GiniSimpson"),
    cost="O(N C)",
    paper="Gini 1912; Breiman et al. 1984",
    use="As entropy, without its weight on very small probabilities, and cheaper.",
    floor=0.0,
)
def gini(probs: Probs) -> Scores:
    """How likely two labels drawn from the prediction differ.

    ``u(x) = 1 - sum_c p_c(x)^2``.

    Args:
        probs: (N, C) class probabilities.

    Returns:
        (N,) a probability, from 0 for a one-hot row to 1 - 1/C for a uniform one.

    Example:
        >>> gini(np.array([[0.5, 0.25, 0.25], [1.0, 0.0, 0.0]]))
        array([0.625, 0.   ])
    """
    return 1 - _measure(probs, lambda block, axis: _total(block * block, axis), np.float64)


def _measure(
    probs: Probs, measure: _Measure, dtype: DTypeLike | None = None
) -> NDArray[np.float64]:
    """What `measure` gives for each row, block by block.

    Args:
        probs: (N, C) class probabilities.
        measure: Sees blocks in C order: (B, C), or (C, B) where classes are few.
        dtype: Type of the blocks; None for that of `probs`, where it is not half precision.
    """
    classes = probs.shape[1]
    if dtype is None:
        dtype = np.result_type(probs, np.float32)
    axis = int(classes > _FEW)
    measured = np.empty(len(probs))
    for part in blocks(len(probs), classes, numbers=_BLOCK):
        block = probs[part] if axis else probs[part].T
        measured[part] = measure(np.ascontiguousarray(block, dtype), axis)
    return measured


def _largest(block: _Block, axis: int) -> _Block:
    # Along rows NumPy finds the place of the largest number faster than the number.
    largest: _Block = block[np.arange(len(block)), block.argmax(axis=1)] if axis else block.max(0)
    return largest


def _lead(block: _Block, axis: int) -> NDArray[np.float64]:
    first, second = _two_largest(block, axis)
    return np.subtract(second, first, dtype=np.float64)


def _closeness(block: _Block, axis: int) -> NDArray[np.float64]:
    first, second = _two_largest(block, axis)
    return np.divide(second, first, dtype=np.float64)


def _two_largest(block: _Block, axis: int) -> tuple[_Block, _Block]:
    if axis == 1:
        rows, top = np.arange(len(block)), block.argmax(axis=1)
        first, others = block[rows, top], block.copy()
        others[rows, top] = 0
        return first, others.max(axis=1)
    first, second = block[0], np.zeros_like(block[0])
    for column in block[1:]:
        second = np.maximum(second, np.minimum(first, column))
        first = np.maximum(first, column)
    return first, second


def _information(block: _Block, axis: int) -> NDArray[np.floating]:
    # The smallest normal number stands in for 0: its logarithm is finite, and times 0 is 0.
    terms = np.maximum(block, np.finfo(np.float64).tiny)
    np.log(terms, out=terms)
    terms *= block
    return _total(terms, axis)


def _total(block: _Block, axis: int) -> NDArray[np.floating]:
    """Sum over classes, in an order that does not depend on how many rows a block has."""
    total: NDArray[np.floating] = block.sum(axis=1) if axis else reduce(np.add, block)
    return total

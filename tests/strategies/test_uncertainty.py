"""What the measures of one probability vector promise beyond the laws and their oracles."""

from __future__ import annotations

import tracemalloc
from collections.abc import Callable

import numpy as np
import pytest
from oracles.uncertainty import SCORES
from pools import distributions

from alaas.core.arrays import Scores
from alaas.strategies import get
from alaas.strategies.uncertainty import (
    entropy,
    gini,
    least_confidence,
    margin_confidence,
    ratio_confidence,
)

MEASURES = [least_confidence, margin_confidence, ratio_confidence, entropy, gini]

every_measure = pytest.mark.parametrize("measure", MEASURES, ids=lambda measure: measure.__name__)

Measure = Callable[..., Scores]


@every_measure
@pytest.mark.parametrize("classes", [1, 2, 9, 31, 32, 33, 200])
@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64])
def test_a_row_scores_the_same_alone_and_in_any_crowd(
    measure: Measure, classes: int, dtype: type[np.floating]
) -> None:
    probs = distributions(np.random.default_rng(classes), 64, classes).astype(dtype)
    whole = measure(probs)
    assert whole.dtype == np.float64
    for size in (1, 2, 3, 17):
        parts = [measure(probs[at : at + size]) for at in range(0, len(probs), size)]
        np.testing.assert_array_equal(np.concatenate(parts), whole)
    for layout in (np.asfortranarray(probs), np.repeat(probs, 3, axis=0)[::3]):
        np.testing.assert_array_equal(measure(layout), whole)


@every_measure
@pytest.mark.parametrize("classes", [10, 700])
def test_pools_of_several_blocks(measure: Measure, classes: int) -> None:
    probs = distributions(np.random.default_rng(0), 200_000 // classes, classes)
    oracle = SCORES[measure.__name__]
    scores = measure(probs)
    for row in (0, len(probs) // 2, -1):
        assert scores[row] == pytest.approx(oracle(probs[row]), rel=1e-12)
    np.testing.assert_array_equal(measure(probs[::-1]), scores[::-1])


@every_measure
@pytest.mark.parametrize("classes", [2, 10, 40])
def test_the_ends_of_the_scale(measure: Measure, classes: int) -> None:
    ends = {
        "least_confidence": 1 - 1 / classes,
        "margin_confidence": 0,
        "ratio_confidence": 1,
        "entropy": np.log(classes),
        "gini": 1 - 1 / classes,
    }
    probs = np.stack([np.eye(classes)[-1], np.full(classes, 1 / classes)])
    least, most = measure(probs)
    assert least == get(measure.__name__).floor
    assert not np.signbit(least) or least < 0
    assert most == pytest.approx(ends[measure.__name__], rel=1e-12)


@every_measure
@pytest.mark.parametrize("classes", [10, 1000])
def test_working_memory_does_not_grow_with_the_pool(measure: Measure, classes: int) -> None:
    probs = np.full((2_000_000 // classes, classes), 1 / classes, np.float32)
    tracemalloc.start()
    try:
        measure(probs)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < 16 * len(probs) + 2**21


@pytest.mark.parametrize("classes", [3, 50])
def test_the_second_class_may_tie_with_the_first_anywhere(classes: int) -> None:
    first, second = np.triu_indices(classes, k=1)
    probs = np.zeros((len(first), classes))
    probs[np.arange(len(first)), first] = probs[np.arange(len(first)), second] = 0.5
    np.testing.assert_array_equal(margin_confidence(probs), 0.0)
    np.testing.assert_array_equal(ratio_confidence(probs), 1.0)


def test_probabilities_next_to_nothing_keep_their_logarithm() -> None:
    tiny = np.array([1e-20, 1e-300])
    probs = np.stack([np.ones(2), tiny], axis=1)
    np.testing.assert_allclose(entropy(probs), -tiny * np.log(tiny), rtol=1e-12)

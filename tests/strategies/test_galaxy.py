"""What the tables cannot say of `galaxy`."""

from __future__ import annotations

from collections import Counter

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from numpy.typing import NDArray
from oracles import SEEDED

from alaas.strategies import Picks
from alaas.strategies.galaxy import galaxy

Array = NDArray[np.float64]


def two_classes(chance: list[float]) -> Array:
    """Probabilities of class 0 and class 1, which are one line read in two directions."""
    return np.stack([np.array(chance), 1 - np.array(chance)], axis=1)


def pick(pool: list[float], known: list[float], labels: list[int], budget: int) -> list[float]:
    """The chance of class 0 of what is picked."""
    rng = np.random.default_rng(0)
    rows, _ = galaxy(two_classes(pool), budget, rng, two_classes(known), np.array(labels))
    return [pool[row] for row in rows]


@st.composite
def some_distributions(draw: st.DrawFn, rows: int, classes: int) -> Array:
    weights = draw(arrays(np.float64, (rows, classes), elements=st.integers(0, 3).map(float)))
    weights[weights.sum(axis=1) == 0] = 1.0
    weights /= weights.sum(axis=1, keepdims=True)
    return weights


@settings(deadline=None, derandomize=True, max_examples=300)
@given(data=st.data(), seed=st.integers(0, 9))
def test_picks_with_ties_and_duplicates_are_those_of_the_oracle(
    data: st.DataObject, seed: int
) -> None:
    n, labelled, classes = (data.draw(st.integers(1, most)) for most in (10, 6, 4))
    views = {
        "probs": data.draw(some_distributions(n, classes)),
        "labelled_probs": data.draw(some_distributions(labelled, classes)),
        "labels": data.draw(arrays(np.int64, labelled, elements=st.integers(0, classes - 1))),
    }
    rows, scores = SEEDED["galaxy"](views, n, np.random.default_rng(seed))
    picked = galaxy(
        views["probs"], n, np.random.default_rng(seed), views["labelled_probs"], views["labels"]
    )
    assert picked.rows.tolist() == rows
    np.testing.assert_allclose(picked.scores, scores)


def test_the_shortest_stretch_between_two_labels_is_halved_first() -> None:
    known, labels = [0.05, 0.35, 0.4, 0.95], [1, 1, 0, 0]
    pool = [0.1, 0.15, 0.36, 0.37, 0.38, 0.6, 0.7]
    assert pick(pool, known, labels, 1) == [0.37]


def test_a_label_that_contradicts_its_neighbours_is_looked_into() -> None:
    # Labelled 0 where the model is all but sure of 1, and the other way round.
    known, labels = [0.02, 0.1, 0.2, 0.8, 0.95], [1, 0, 1, 0, 1]
    pool = [0.01, 0.05, 0.15, 0.3, 0.5, 0.7, 0.9, 0.97]
    assert set(pick(pool, known, labels, 3)) == {0.05, 0.15, 0.9}


def test_where_labels_touch_the_nearest_open_item_is_next() -> None:
    known, labels = [0.1, 0.2, 0.3, 0.4, 0.5], [1, 1, 1, 0, 0]
    assert pick([0.05, 0.6, 0.7], known, labels, 1) == [0.6]


def test_bisection_finds_where_the_prediction_turns_in_few_picks() -> None:
    pool = np.linspace(0.001, 0.999, 998).tolist()
    picked = pick(pool, [0.0, 1.0], [1, 0], 11)
    nearest = sorted(pool, key=lambda chance: abs(chance - 0.5))[:2]
    assert set(nearest) <= set(picked)


def test_rare_classes_are_not_forgotten() -> None:
    """Each class leads or trails the first by as much, but one is a hundred times rarer."""
    rng = np.random.default_rng(1)
    likely = rng.uniform(0.5, 1, 2020)
    second = np.r_[np.full(1000, 1), np.full(1000, 0), np.full(20, 2)]
    first = np.r_[np.full(1000, 0), np.full(1000, 1), np.full(20, 0)]
    probs = np.zeros((2020, 3))
    probs[np.arange(2020), first] = likely
    probs[np.arange(2020), second] = 1 - likely
    known = np.array([[1.0, 0, 0], [0, 1.0, 0], [0.45, 0, 0.55]])
    rows, _ = galaxy(probs, 30, np.random.default_rng(0), known, np.arange(3))
    assert Counter((rows >= 2000).tolist())[True] >= 5


@pytest.mark.parametrize("budget", [1, 2])
def test_every_class_can_have_the_first_turn(budget: int) -> None:
    # Each of three classes has its own row between a label of it and one that leads nowhere.
    known = np.array([[0.9, 0.1, 0, 0], [0, 0.9, 0.1, 0], [0.1, 0, 0.9, 0], [1 / 3] * 3 + [0]])
    probs = np.array([[0.6, 0.2, 0.2, 0], [0.2, 0.6, 0.2, 0], [0.2, 0.2, 0.6, 0]])
    first = [
        galaxy(probs, budget, np.random.default_rng(seed), known, np.arange(4)).rows[0]
        for seed in range(30)
    ]
    assert set(first) == {0, 1, 2}


def test_scores_say_how_near_labels_of_both_kinds_are() -> None:
    probs, known = two_classes([0.3, 0.4, 0.5]), two_classes([0.1, 0.9])
    picks = galaxy(probs, 3, np.random.default_rng(0), known, np.array([1, 0]))
    assert isinstance(picks, Picks)
    assert picks.rows.tolist() == [1, 2, 0]
    np.testing.assert_allclose(picks.scores, [1 / 4, 1 / 2, 1 / 3])

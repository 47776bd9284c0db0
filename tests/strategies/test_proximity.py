"""Iterative proximity sampling beyond its oracle."""

from __future__ import annotations

from typing import Literal

import numpy as np
import pytest
from oracles.proximity import away_from_the_mean_of_what_is_picked
from pools import pool

from alaas.strategies.proximity import iterative_proximity_sampling


@pytest.mark.parametrize("batch", [1, 4, 10, 99])
@pytest.mark.parametrize("spread", [0.0, 0.3, 5.0])
@pytest.mark.parametrize("budget", [1, 9, 10, 11, 37, 50])
def test_mini_batches_and_their_spread(batch: int, spread: float, budget: int) -> None:
    views = pool(50)
    rows, scores = away_from_the_mean_of_what_is_picked(views, budget, None, batch, spread)
    picks = iterative_proximity_sampling(
        views["probs"], views["embeddings"], budget, batch=batch, spread=spread
    )
    assert picks.rows.tolist() == rows
    np.testing.assert_allclose(picks.scores, scores, rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize(
    ("uncertainty", "order"),
    [("least_confidence", [2, 0, 1]), ("margin", [0, 2, 1]), ("entropy", [2, 1, 0])],
)
def test_the_uncertainty_can_be_chosen(
    uncertainty: Literal["least_confidence", "margin", "entropy"], order: list[int]
) -> None:
    probs = np.array([[0.5, 0.49, 0.01], [0.55, 0.3, 0.15], [0.48, 0.26, 0.26]])
    picks = iterative_proximity_sampling(probs, np.zeros((3, 1)), 3, uncertainty=uncertainty)
    assert picks.rows.tolist() == order


def test_equal_uncertainties_leave_it_to_the_distance() -> None:
    """Where the original divides 0 by 0 and ranks NaN."""
    probs = np.full((5, 3), 1 / 3)
    line = np.array([[0.0], [1.0], [2.0], [3.0], [4.0]])
    picks = iterative_proximity_sampling(probs, line, 3, batch=1)
    assert picks.rows.tolist() == [0, 4, 1]
    # The last is as far from 2, the middle of 0 and 4, as row 3 is: of 0 to 2, half.
    np.testing.assert_allclose(picks.scores, [0.0, 0.3, 0.0], atol=1e-12)


def test_equal_points_leave_it_to_the_uncertainty() -> None:
    probs = pool(30)["probs"]
    alone = iterative_proximity_sampling(probs, np.ones((30, 4)), 30, spread=0.0)
    picks = iterative_proximity_sampling(probs, np.ones((30, 4)), 30)
    np.testing.assert_array_equal(picks.rows, alone.rows)
    np.testing.assert_array_equal(picks.scores, alone.scores)


def test_a_pool_far_from_the_origin_is_measured_as_well_as_a_near_one() -> None:
    views = pool(40)
    points = np.round(views["embeddings"] * 64) / 64
    near = iterative_proximity_sampling(views["probs"], points.astype(np.float32), 30)
    far = iterative_proximity_sampling(views["probs"], (points + 1000).astype(np.float32), 30)
    np.testing.assert_array_equal(near.rows, far.rows)
    np.testing.assert_allclose(near.scores, far.scores, atol=1e-4)


def test_blocks_do_not_show(monkeypatch: pytest.MonkeyPatch) -> None:
    views = pool(50)
    whole = iterative_proximity_sampling(views["probs"], views["embeddings"], 40)
    monkeypatch.setattr("alaas.strategies.proximity._BLOCK", 20)
    pieces = iterative_proximity_sampling(views["probs"], views["embeddings"], 40)
    np.testing.assert_array_equal(pieces.rows, whole.rows)
    np.testing.assert_array_equal(pieces.scores, whole.scores)

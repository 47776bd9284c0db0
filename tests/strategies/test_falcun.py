"""FALCUN beyond its oracle."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from oracles.falcun import chances, drawn_by_relevance
from pools import distributions

from alaas.strategies.falcun import falcun


@pytest.mark.parametrize("gamma", [0.0, 0.5, 1.0, 40.0])
@pytest.mark.parametrize("seed", range(4))
def test_draws_follow_the_power_of_the_relevance(gamma: float, seed: int) -> None:
    probs = distributions(np.random.default_rng(seed), 30, 4)
    rows, scores = drawn_by_relevance({"probs": probs}, 20, np.random.default_rng(seed), gamma)
    picks = falcun(probs, 20, np.random.default_rng(seed), gamma=gamma)
    assert picks.rows.tolist() == rows
    np.testing.assert_allclose(picks.scores, scores, rtol=1e-10)


def test_a_high_power_takes_the_most_relevant_and_does_not_overflow() -> None:
    probs = distributions(np.random.default_rng(7), 40, 3)
    first, second = (falcun(probs, 10, np.random.default_rng(seed), gamma=1000) for seed in (0, 1))
    np.testing.assert_array_equal(first.rows, second.rows)
    ordered = np.sort(probs, axis=1)
    assert first.rows[0] == np.argmin(ordered[:, -1] - ordered[:, -2])


@pytest.mark.parametrize("gamma", [1.0, 10.0])
def test_scikit_activeml_draws_with_the_chances_of_our_oracle(gamma: float) -> None:
    from skactiveml.base import SkactivemlClassifier
    from skactiveml.pool import Falcun

    class Told(SkactivemlClassifier):  # type: ignore[misc]
        """Predicts what it is given."""

        def fit(self, X: Any, y: Any, sample_weight: Any = None) -> Any:
            return self

        def predict_proba(self, X: Any) -> Any:
            return X

    probs = distributions(np.random.default_rng(0), 40, 5)
    picked, drawn_with = Falcun(gamma=gamma, random_state=0).query(
        X=probs,
        y=np.full(40, np.nan),
        clf=Told(classes=[0, 1, 2, 3, 4]),
        fit_clf=False,
        batch_size=15,
        return_utilities=True,
    )
    for step in range(15):
        expected = chances(probs, picked[:step].tolist(), gamma)
        np.testing.assert_allclose(np.nan_to_num(drawn_with[step]), expected, rtol=1e-9)


def test_certain_rows_come_last() -> None:
    probs = np.array([[1.0, 0.0], [0.6, 0.4], [0.0, 1.0], [0.3, 0.7], [1.0, 0.0]])
    for seed in range(20):
        picks = falcun(probs, 5, np.random.default_rng(seed), gamma=0.5)
        assert set(picks.rows[:2].tolist()) == {1, 3}
        np.testing.assert_array_equal(picks.scores[2:], 0.0)


@pytest.mark.parametrize("drawn", [0.0, np.nextafter(1, 0)])
def test_the_ends_of_the_unit_interval_are_rows_with_a_weight(drawn: float) -> None:
    class Drawn(np.random.Generator):
        """Always draws the same."""

        def random(self) -> float:  # type: ignore[override]
            return drawn

    probs = np.array([[1.0, 0.0], [0.6, 0.4], [0.5, 0.5], [1.0, 0.0]])
    picks = falcun(probs, 4, Drawn(np.random.PCG64()))
    assert set(picks.rows[:2].tolist()) == {1, 2}
    assert set(picks.rows[2:].tolist()) == {0, 3}


def test_rows_without_relevance_are_drawn_uniformly() -> None:
    probs = np.eye(4)[[0, 0, 1, 2]]
    firsts = [falcun(probs, 4, np.random.default_rng(seed)).rows[0] for seed in range(800)]
    counts = np.bincount(firsts, minlength=4)
    assert (np.abs(counts - 200) < 4 * np.sqrt(150)).all()


def test_rows_that_sum_to_a_little_more_than_1_do_no_harm() -> None:
    probs = np.array([[1.005, 0.0], [0.0, 1.005], [0.505, 0.5]])
    picks = falcun(probs, 3, np.random.default_rng(0), gamma=1.5)
    assert picks.rows[0] == 2
    assert np.isfinite(picks.scores).all()


def test_blocks_do_not_show(monkeypatch: pytest.MonkeyPatch) -> None:
    probs = distributions(np.random.default_rng(3), 50, 5)
    whole = falcun(probs, 20, np.random.default_rng(5))
    monkeypatch.setattr("alaas.strategies.falcun._BLOCK", 35)
    pieces = falcun(probs, 20, np.random.default_rng(5))
    np.testing.assert_array_equal(pieces.rows, whole.rows)
    np.testing.assert_allclose(pieces.scores, whole.scores, rtol=1e-12)

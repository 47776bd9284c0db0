"""What greedy sampling promises beyond the laws and its oracles."""

from __future__ import annotations

from functools import partial
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from oracles.regression import by_both, by_inputs, by_outputs

from alaas.strategies import Picks, distances, regression
from alaas.strategies.regression import (
    greedy_sampling,
    greedy_sampling_inputs,
    greedy_sampling_outputs,
)

Array = NDArray[Any]


def views_of(
    n: int, labelled: int, *, width: int, seed: int, dtype: Any = float
) -> dict[str, Array]:
    rng = np.random.default_rng(seed)
    views = {
        "embeddings": rng.normal(size=(n, width)),
        "predictions": rng.normal(size=n),
        "labelled_embeddings": rng.normal(size=(labelled, width)),
        "targets": rng.normal(size=labelled),
    }
    return {name: view.astype(dtype) for name, view in views.items()}


def both(views: dict[str, Array], budget: int) -> Picks:
    names = ("embeddings", "predictions", "labelled_embeddings", "targets")
    taken: dict[str, Any] = {name: views[name] for name in names}
    return greedy_sampling(**taken, budget=budget)


@pytest.mark.parametrize("numbers", [1, 100, 1 << 20])
@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64])
def test_blocks_of_any_size_give_what_brute_force_gives(
    monkeypatch: pytest.MonkeyPatch, numbers: int, dtype: type[np.floating]
) -> None:
    monkeypatch.setattr(regression, "blocks", partial(distances.blocks, numbers=numbers))
    views = views_of(70, 5, width=16, seed=numbers, dtype=dtype)
    rows, scores = by_both(views, 25)
    picks = both(views, 25)
    assert picks.rows.tolist() == rows
    np.testing.assert_allclose(picks.scores, scores, rtol=1e-12)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_a_cloud_far_from_the_origin_loses_no_digits(dtype: type[np.floating]) -> None:
    views = {name: view * 1e-2 + 1e4 for name, view in views_of(60, 3, width=8, seed=1).items()}
    views = {name: view.astype(dtype) for name, view in views.items()}
    rows, scores = by_both(views, 60)
    picks = both(views, 60)
    assert picks.rows.tolist() == rows
    np.testing.assert_allclose(picks.scores, scores, rtol=1e-12)


def test_views_may_differ_in_precision() -> None:
    views = views_of(40, 4, width=5, seed=2)
    views["embeddings"] = views["embeddings"].astype(np.float16)
    views["predictions"] = views["predictions"].astype(np.float32)
    rows, scores = by_both(views, 20)
    picks = both(views, 20)
    assert picks.rows.tolist() == rows
    np.testing.assert_allclose(picks.scores, scores, rtol=1e-12)


@pytest.mark.parametrize("seed", range(20))
def test_outputs_from_targets_on_a_grid_full_of_ties(seed: int) -> None:
    rng = np.random.default_rng(seed)
    views: dict[str, Array] = {
        "predictions": rng.integers(-4, 5, size=25).astype(np.float32),
        "targets": rng.integers(-4, 5, size=1 + seed % 3).astype(np.float64),
    }
    rows, scores = by_outputs(views, 12)
    picks = greedy_sampling_outputs(views["predictions"], 12, views["targets"])
    assert picks.rows.tolist() == rows
    assert picks.scores.tolist() == scores


def test_both_distances_count_and_neither_alone() -> None:
    line, outputs = np.array([[9.0], [1.0], [5.0]]), np.array([0.0, 9.0, 5.0])
    known, targets = np.array([[0.0]]), np.array([0.0])
    assert greedy_sampling_inputs(line, 1, known).rows.tolist() == [0]
    assert greedy_sampling_outputs(outputs, 1, targets).rows.tolist() == [1]
    picks = greedy_sampling(line, outputs, known, targets, 1)
    assert (picks.rows.tolist(), picks.scores.tolist()) == ([2], [25.0])


def test_what_equals_a_labelled_row_in_inputs_or_outputs_comes_last_by_row() -> None:
    line = np.array([[0.0], [3.0], [0.0], [2.0]])
    outputs = np.array([5.0, 1.0, 7.0, 4.0])
    picks = greedy_sampling(line, outputs, np.array([[0.0]]), np.array([1.0]), 4)
    assert picks.rows.tolist() == [3, 0, 1, 2]
    assert picks.scores.tolist() == [6.0, 0.0, 0.0, 0.0]


@pytest.mark.parametrize("method", ["GSy", "GSi"])
def test_scikit_activeml_picks_the_same(method: str) -> None:
    from skactiveml.base import SkactivemlRegressor
    from skactiveml.pool import GreedySamplingTarget

    views = views_of(60, 5, width=4, seed=3)
    points = np.concatenate([views["labelled_embeddings"], views["embeddings"]])
    outputs = np.concatenate([views["targets"], views["predictions"]])

    class Given(SkactivemlRegressor):  # type: ignore[misc]
        def fit(self, X: Array, y: Array, sample_weight: Array | None = None) -> Given:
            return self

        def predict(self, X: Array) -> Array:
            return np.array([outputs[(points == x).all(axis=1)][0] for x in X])

    known = np.where(np.arange(65) < 5, outputs, np.nan)
    rows = GreedySamplingTarget(method=method).query(
        points, known, Given(), fit_reg=False, batch_size=20
    )
    picks = (
        both(views, 20)
        if method == "GSi"
        else greedy_sampling_outputs(views["predictions"], 20, views["targets"])
    )
    assert picks.rows.tolist() == (rows - 5).tolist()


def test_scikit_activeml_picks_the_same_by_inputs() -> None:
    from skactiveml.pool import GreedySamplingX

    views = views_of(60, 5, width=4, seed=4)
    points = np.concatenate([views["labelled_embeddings"], views["embeddings"]])
    known = np.where(np.arange(65) < 5, 0.0, np.nan)
    rows = GreedySamplingX().query(points, known, batch_size=20)
    picks = greedy_sampling_inputs(views["embeddings"], 20, views["labelled_embeddings"])
    assert picks.rows.tolist() == (rows - 5).tolist()
    assert picks.rows.tolist() == by_inputs(views, 20)[0]

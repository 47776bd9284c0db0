"""k-means, its start, and the rows nearest to its centres."""

from __future__ import annotations

from collections import Counter
from itertools import permutations
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from numpy.typing import NDArray
from pools import traced
from scipy import stats
from scipy.spatial.distance import cdist
from sklearn.cluster import KMeans

from alaas.strategies.clusters import (
    Clusters,
    k_means,
    k_means_plus_plus,
    nearest_rows,
    start_rows,
)

Array = NDArray[Any]


def blobs(n: int, k: int, *, width: int = 8, apart: float = 20.0, seed: int = 0) -> Array:
    """Rows in k round clusters; row number modulo k is the cluster."""
    rng = np.random.default_rng(seed)
    places = rng.normal(scale=apart, size=(k, width))
    return places[np.arange(n) % k] + rng.normal(size=(n, width))


def rng() -> np.random.Generator:
    return np.random.default_rng(7)


@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("offset", [0.0, 1e4])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_k_means_is_that_of_scikit_learn_from_the_same_centres(
    weighted: bool, offset: float, dtype: type[np.floating]
) -> None:
    points = (rng().normal(size=(600, 5)) + offset).astype(dtype)
    weights = rng().exponential(size=600) if weighted else None
    start = points[:9]
    found = k_means(points, 9, rng(), weights=weights, iterations=300, start=start)
    model = KMeans(9, init=start.astype(np.float64), n_init=1, tol=0, max_iter=300)
    model.fit(points.astype(np.float64), sample_weight=weights)
    np.testing.assert_array_equal(found.labels, model.labels_)
    np.testing.assert_allclose(found.centres, model.cluster_centers_, rtol=1e-6, atol=1e-6)
    assert found.inertia == pytest.approx(model.inertia_, rel=1e-5)
    assert found.centres.dtype == np.float32


def test_iterations_are_a_limit() -> None:
    points, start = rng().normal(size=(500, 4)), rng().normal(size=(6, 4))
    inertia = [
        k_means(points, 6, rng(), start=start, iterations=limit).inertia for limit in (1, 3, 200)
    ]
    assert inertia[0] > inertia[1] > inertia[2]
    assert inertia[2] == k_means(points, 6, rng(), start=start, iterations=400).inertia


def test_the_labels_and_the_inertia_are_those_of_the_centres() -> None:
    points, weights = rng().normal(size=(300, 3)), rng().exponential(size=300)
    found = k_means(points, 11, rng(), weights=weights, iterations=2)
    squares = cdist(points, found.centres, "sqeuclidean")
    np.testing.assert_array_equal(found.labels, squares.argmin(axis=1))
    assert found.inertia == pytest.approx(weights @ squares.min(axis=1), rel=1e-5)


def test_the_start_is_no_worse_than_greedy_k_means_plus_plus() -> None:
    for apart in (0.0, 2.0, 20.0):
        points = blobs(3000, 40, apart=apart)
        ours = np.mean([k_means(points, 40, np.random.default_rng(s)).inertia for s in range(3)])
        theirs = np.mean(
            [KMeans(40, n_init=1, random_state=s).fit(points).inertia_ for s in range(3)]
        )
        assert ours <= 1.01 * theirs


def test_every_blob_has_a_centre() -> None:
    found = k_means(blobs(2000, 50), 50, rng())
    labels = found.labels.reshape(-1, 50)
    assert (labels == labels[0]).all()
    assert len(set(labels[0].tolist())) == 50


def test_a_centre_without_rows_moves_to_the_row_that_is_worst_served() -> None:
    points = np.array([[0.0], [1.0], [2.0], [50.0]])
    found = k_means(points, 2, rng(), start=np.array([[1.0], [1e6]]))
    assert sorted(found.centres[:, 0].tolist()) == [1.0, 50.0]
    weights = np.array([1.0, 0.0, 1.0, 0.0])
    found = k_means(points, 2, rng(), start=np.array([[1.0], [1e6]]), weights=weights)
    assert sorted(found.centres[:, 0].tolist()) == [0.0, 2.0]
    points, weights = np.append(points, [[-40.0]], axis=0), np.array([1.0, 1.0, 1.0, 0.1, 1.0])
    found = k_means(points, 2, rng(), start=np.array([[1.0], [1e6]]), weights=weights)
    assert sorted(found.centres[:, 0].tolist()) == pytest.approx([-40.0, 8 / 3.1])


def test_rows_without_weight_move_no_centre() -> None:
    points = np.concatenate([blobs(200, 4), blobs(200, 4, seed=1)])
    weights = np.repeat([2.5, 0.0], 200)
    found = k_means(points, 4, rng(), weights=weights)
    alone = k_means(points[:200], 4, rng(), start=found.centres)
    np.testing.assert_allclose(found.centres, alone.centres, rtol=1e-5)


def test_the_scale_of_the_weights_does_not_matter() -> None:
    points, weights = rng().normal(size=(200, 4)), rng().exponential(size=200)
    large, small = (k_means(points, 7, rng(), weights=weights * scale) for scale in (1.0, 2.0**-60))
    np.testing.assert_array_equal(large.labels, small.labels)
    assert small.inertia == pytest.approx(large.inertia * 2.0**-60)


def test_as_many_clusters_as_rows() -> None:
    found = k_means(blobs(30, 3), 30, rng())
    assert sorted(found.labels.tolist()) == list(range(30))
    assert found.inertia == pytest.approx(0, abs=1e-6)


def test_no_view_is_copied() -> None:
    points = rng().normal(size=(200_000, 128)).astype(np.float16)
    k_means(points[:100], 3, rng())
    with traced() as memory:
        k_means(points, 3, rng(), iterations=1)
    assert memory.peak < 0.6 * 4 * points.size


def probabilities(points: Array, weights: Array, size: int) -> dict[tuple[int, ...], float]:
    """The chance of each ordered choice by k-means++, from its definition."""
    chances = {}
    for order in permutations(range(len(points)), size):
        chance = 1.0
        for step, row in enumerate(order):
            near = cdist(points, points[list(order[:step])], "sqeuclidean").min(
                axis=1, initial=np.inf
            )
            costs = weights * near if step else weights
            chance *= costs[row] / costs.sum()
        chances[order] = chance
    return chances


def test_weighted_draws_have_their_distribution() -> None:
    points = np.array([[0.0], [1.0], [3.0], [3.5], [7.0]])
    weights = np.array([1.0, 4.0, 0.5, 2.0, 0.2])
    expected = probabilities(points, weights, 4)
    runs, source = 6000, rng()
    seen = Counter(
        tuple(k_means_plus_plus(points, 4, source, weights=weights).rows.tolist())
        for _ in range(runs)
    )
    often = [order for order in expected if runs * expected[order] >= 5]
    counts, means = [seen[o] for o in often], [runs * expected[o] for o in often]
    counts.append(runs - sum(counts))
    means.append(runs - sum(means))
    assert stats.chisquare(counts, means).pvalue > 0.01


def test_a_long_draw_knows_its_distances_and_labels() -> None:
    points = rng().normal(size=(900, 3))
    seeds = k_means_plus_plus(points, 400, rng())
    assert len(set(seeds.rows.tolist())) == 400
    apart = cdist(points, points[seeds.rows], "sqeuclidean")
    before = [apart[row, :step].min() for step, row in enumerate(seeds.rows) if step]
    np.testing.assert_allclose(seeds.squares[1:], before, rtol=1e-4)
    assert seeds.squares[0] == pytest.approx(apart[:, 0].max(), rel=1e-5)
    np.testing.assert_array_equal(seeds.labels, apart.argmin(axis=1))


def test_duplicates_are_drawn_last() -> None:
    points = np.repeat(blobs(20, 20) + 1e4, 5, axis=0).astype(np.float32)
    for seed in range(20):
        seeds = k_means_plus_plus(points, 60, np.random.default_rng(seed))
        assert sorted((seeds.rows[:20] // 5).tolist()) == list(range(20))
        assert (seeds.squares[:20] > 0).all()
        assert (seeds.squares[20:] == 0).all()
        assert len(set(seeds.rows.tolist())) == 60


def test_rows_without_weight_are_drawn_last() -> None:
    weights = np.repeat([0.0, 1.0, 0.0], [10, 5, 10])
    seeds = k_means_plus_plus(blobs(25, 25), 12, rng(), weights=weights)
    assert sorted(seeds.rows[:5].tolist()) == [10, 11, 12, 13, 14]
    assert len(set(seeds.rows.tolist())) == 12


@pytest.mark.parametrize("weighted", [False, True])
def test_each_row_of_a_small_start_lowers_the_cost_most(weighted: bool) -> None:
    points = rng().normal(size=(40, 3)) + 100
    weights = rng().exponential(size=40) if weighted else None
    rows = start_rows(points, 14, rng(), weights=weights).tolist()
    apart = cdist(points, points, "sqeuclidean")
    shares = np.ones(40) if weights is None else weights
    for step in range(14):
        costs = [shares @ apart[:, [*rows[:step], row]].min(axis=1) for row in range(40)]
        assert costs[rows[step]] <= min(costs) * (1 + 1e-5)


def test_a_start_from_duplicates_has_all_that_differ() -> None:
    points = np.repeat(blobs(6, 6), 20, axis=0)
    rows = start_rows(points, 8, rng())
    assert sorted((rows[:6] // 20).tolist()) == list(range(6))
    assert len(set(rows.tolist())) == 8


def nearest_one_by_one(points: Array, centres: Array) -> list[int]:
    rows: list[int] = []
    for centre in centres:
        squares = {
            row: float(((points[row].astype(np.float64) - centre) ** 2).sum())
            for row in range(len(points))
            if row not in rows
        }
        rows.append(min(squares, key=lambda row: (squares[row], row)))
    return rows


@settings(deadline=None, derandomize=True, max_examples=80)
@given(
    points=arrays(np.float64, (23, 2), elements=st.integers(-2, 2).map(float)),
    centres=arrays(np.float64, (23, 2), elements=st.integers(-3, 3).map(float)),
    k=st.integers(1, 23),
)
def test_nearest_rows_are_taken_in_turn(points: Array, centres: Array, k: int) -> None:
    clusters = Clusters(centres[:k].astype(np.float32), np.zeros(23, np.int64), 0.0)
    assert nearest_rows(points, clusters).tolist() == nearest_one_by_one(points, centres[:k])


def test_of_two_rows_around_their_mean_the_lower_is_nearest() -> None:
    points = rng().normal(size=(2, 50))
    for pair in (points, points[::-1]):
        assert nearest_rows(pair, k_means(pair, 1, rng())).tolist() == [0]

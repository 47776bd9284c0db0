"""What BADGE promises beyond the laws and its oracles."""

from __future__ import annotations

import numpy as np
import pytest
from oracles.badge import badge as dense_badge
from pools import distributions, traced

from alaas.strategies import Sizes, check_params, distances, get
from alaas.strategies.badge import badge


@pytest.mark.parametrize("block", [1, 3000, 1 << 20])
@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64])
def test_hundreds_of_picks_are_those_of_dense_sampling(
    monkeypatch: pytest.MonkeyPatch, block: int, dtype: type[np.floating]
) -> None:
    monkeypatch.setattr(distances, "BLOCK", block)
    rng = np.random.default_rng(1)
    views = {
        "probs": distributions(rng, 300, 4).astype(dtype),
        "embeddings": rng.normal(size=(300, 16)).astype(dtype),
    }
    rows, scores = dense_badge(views, 250, np.random.default_rng(2))
    picks = badge(**views, budget=250, rng=np.random.default_rng(2))
    assert picks.rows.tolist() == rows
    np.testing.assert_allclose(picks.scores, scores, rtol=1e-2 if dtype != np.float64 else 1e-7)


@pytest.mark.parametrize("spread", [1e-1, 1e-4])
def test_tight_clusters_far_from_the_origin_lose_no_picks(spread: float) -> None:
    rng = np.random.default_rng(3)
    number = rng.integers(5, size=200)
    noise = spread * rng.normal(size=(200, 8))
    views = {
        "probs": distributions(rng, 5, 4)[number].astype(np.float32),
        "embeddings": (10 * rng.normal(size=(5, 8))[number] + noise).astype(np.float32),
    }
    rows, scores = dense_badge(views, 60, np.random.default_rng(4))
    picks = badge(**views, budget=60, rng=np.random.default_rng(4))
    assert set(number[picks.rows[:5]]) == set(range(5))
    assert picks.rows.tolist() == rows
    np.testing.assert_allclose(picks.scores, scores, rtol=1e-3)


def test_copies_of_a_pick_come_last_with_the_distance_zero() -> None:
    rng = np.random.default_rng(5)
    probs = np.repeat(distributions(rng, 20, 3), 3, axis=0).astype(np.float32)
    points = np.repeat(rng.normal(size=(20, 64)), 3, axis=0).astype(np.float32)
    picks = badge(probs, points, 60, rng)
    assert len(set(picks.rows[:20] // 3)) == 20
    assert (picks.scores[:20] > 0).all()
    assert picks.scores[20:].tolist() == [0.0] * 40


def test_where_no_row_has_a_gradient_all_are_equally_likely() -> None:
    probs, points = np.eye(4), np.ones((4, 2))
    last = [badge(probs, points, 4, np.random.default_rng(seed)).rows[-1] for seed in range(60)]
    assert set(last) == {1, 2, 3}


@pytest.mark.parametrize(("draw", "row"), [(0.0, 1), (1 - 2**-53, 8)])
def test_the_extreme_draws_belong_to_the_first_and_last_row_with_a_weight(
    draw: float, row: int
) -> None:
    class Generator(np.random.Generator):
        def random(self, size: object = None) -> object:  # type: ignore[override]
            return np.array([draw, 0.0])

    probs = np.full((10, 2), 0.5)
    points = np.array([[9.0], *([float(i)] for i in range(8)), [9.0]])
    picks = badge(probs, points, 2, Generator(np.random.PCG64(0)))
    assert picks.rows.tolist() == [0, row]


def test_weights_at_the_edge_of_zero_can_be_drawn() -> None:
    probs, points = np.array([[1.0, 2e-162], [1.0, 0.0]]), np.ones((2, 1))
    for seed in range(5):
        picks = badge(probs, points, 2, np.random.default_rng(seed))
        assert picks.rows.tolist() == [0, 1]


@pytest.mark.parametrize("scale", [2.0**-90, 2.0**90])
def test_products_that_leave_the_range_of_float32_change_nothing(scale: float) -> None:
    rng = np.random.default_rng(6)
    probs = distributions(rng, 80, 3).astype(np.float32)
    points = rng.normal(size=(80, 5)).astype(np.float32)
    picks = badge(probs, points, 40, np.random.default_rng(7))
    scaled = badge(probs, points * np.float32(scale), 40, np.random.default_rng(7))
    assert scaled.rows.tolist() == picks.rows.tolist()
    np.testing.assert_allclose(scaled.scores, scale * picks.scores, rtol=1e-5)


def test_the_gradient_is_that_of_the_predicted_class() -> None:
    probs = np.array([[0.2, 0.8], [0.6, 0.4]])
    points = np.array([[3.0, 4.0], [0.0, 5.0]])
    picks = badge(probs, points, 2, np.random.default_rng(0))
    assert picks.rows.tolist() == [1, 0]
    first, other = np.outer([-0.4, 0.4], points[1]), np.outer([0.2, -0.2], points[0])
    expected = [np.linalg.norm(first), np.linalg.norm(first - other)]
    np.testing.assert_allclose(picks.scores, expected, rtol=1e-12)


def test_gradients_of_many_classes_are_never_built() -> None:
    rng = np.random.default_rng(8)
    probs = distributions(rng, 8000, 400).astype(np.float16)
    points = rng.normal(size=(8000, 256)).astype(np.float16)
    with traced() as memory:
        badge(probs, points, 70, rng)
    estimate = get("badge").work(
        Sizes(N=8000, K=70, C=400, D=256), check_params(get("badge"), None)
    )
    assert memory.peak <= 1.1 * estimate.memory < 8000 * 400 * 256 / 4

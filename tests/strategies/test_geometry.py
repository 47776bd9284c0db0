"""What greedy k-center promises beyond the laws and its oracle."""

from __future__ import annotations

import tracemalloc

import numpy as np
import pytest
from oracles.geometry import k_center

from alaas.core.errors import ModelOutputInvalid
from alaas.strategies import geometry, run
from alaas.strategies.geometry import k_center_greedy


@pytest.mark.parametrize("block", [1, 64, 1 << 20])
@pytest.mark.parametrize("labelled", [0, 5])
@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64])
def test_blocks_of_any_size_give_what_brute_force_gives(
    monkeypatch: pytest.MonkeyPatch, block: int, labelled: int, dtype: type[np.floating]
) -> None:
    monkeypatch.setattr(geometry, "_BLOCK", block)
    rng = np.random.default_rng(block + labelled)
    points = rng.normal(size=(90 + labelled, 16)).astype(dtype)
    pool, known = points[labelled:], points[:labelled]
    rows, scores = k_center({"embeddings": pool, "labelled_embeddings": known}, 60)
    picks = k_center_greedy(pool, 60, known)
    assert picks.rows.tolist() == rows
    np.testing.assert_allclose(picks.scores, scores, rtol=1e-12)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_a_cloud_far_from_the_origin_loses_no_digits(dtype: type[np.floating]) -> None:
    points = (np.random.default_rng(2).normal(size=(80, 8)) * 1e-2 + 1e4).astype(dtype)
    rows, scores = k_center({"embeddings": points}, 80)
    picks = k_center_greedy(points, 80)
    assert picks.rows.tolist() == rows
    np.testing.assert_allclose(picks.scores, scores, rtol=1e-12)


@pytest.mark.parametrize("scale", [1e-25, 1e25])
def test_products_that_leave_the_range_of_float32_hide_no_row(scale: float) -> None:
    points = (np.random.default_rng(3).normal(size=(40, 4)) * scale).astype(np.float32)
    rows, scores = k_center({"embeddings": points}, 40)
    picks = k_center_greedy(points, 40)
    assert picks.rows.tolist() == rows
    np.testing.assert_allclose(picks.scores, scores, rtol=1e-12)


def test_distances_too_large_for_float64_are_refused() -> None:
    embeddings = np.array([[1e200], [-1e200], [0.0]])
    with pytest.raises(ModelOutputInvalid, match="only finite scores can be ranked"):
        run("k_center_greedy", {"embeddings": embeddings}, ids=["a", "b", "c"], budget=2)


def test_the_first_score_is_the_radius_that_the_first_pick_leaves() -> None:
    points = np.array([[0.0, 0.0], [3.0, 4.0], [0.0, 1.0]])
    picks = k_center_greedy(points, 1)
    assert picks.rows.tolist() == [2]
    assert picks.scores.tolist() == [np.sqrt(18.0)]


def test_scores_never_increase() -> None:
    points = np.random.default_rng(4).normal(size=(200, 5))
    assert (np.diff(k_center_greedy(points, 200).scores) <= 0).all()


def test_once_all_is_covered_the_lowest_rows_fill_up() -> None:
    points = np.array([[0.1], [0.1], [0.7], [0.1], [0.7]])
    picks = k_center_greedy(points, 5, np.array([[0.1]]))
    assert picks.rows.tolist() == [2, 0, 1, 3, 4]
    assert picks.scores.tolist()[1:] == [0.0] * 4


def test_no_labelled_rows_are_as_none() -> None:
    points = np.random.default_rng(6).normal(size=(30, 3))
    assert k_center_greedy(points, 9, np.empty((0, 3))).rows.tolist() == (
        k_center_greedy(points, 9).rows.tolist()
    )


def test_working_memory_is_a_few_numbers_a_row(monkeypatch: pytest.MonkeyPatch) -> None:
    rows, dims = 4000, 256
    monkeypatch.setattr(geometry, "_BLOCK", 16 * dims)
    points = np.random.default_rng(7).normal(size=(rows, dims)).astype(np.float32)
    k_center_greedy(points[:32], 2)
    tracemalloc.start()
    try:
        k_center_greedy(points, 5, points[:3])
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < points.nbytes / 4


@pytest.mark.parametrize("block", [4, 40, 400])
@pytest.mark.parametrize("labelled", [0, 3])
def test_ties_go_to_the_lowest_row_wherever_the_front_ends(
    monkeypatch: pytest.MonkeyPatch, block: int, labelled: int
) -> None:
    monkeypatch.setattr(geometry, "_BLOCK", block)
    monkeypatch.setattr(geometry, "_BESIDE", 0)
    points = np.random.default_rng(block).integers(0, 4, (120 + labelled, 2)).astype(np.float32)
    pool, known = 120 * points[labelled:], 120 * points[:labelled]
    rows, scores = k_center({"embeddings": pool, "labelled_embeddings": known}, 40)
    picks = k_center_greedy(pool, 40, known)
    assert picks.rows.tolist() == rows
    np.testing.assert_allclose(picks.scores, scores, rtol=1e-12)


def spread(kind: str, rows: int, dims: int) -> np.ndarray:
    rng = np.random.default_rng(8)
    noise = rng.normal(size=(rows, dims))
    if kind == "clusters":
        noise = (
            0.3 * noise + rng.normal(size=(rows // 20, dims))[rng.integers(rows // 20, size=rows)]
        )
    return noise.astype(np.float32)


@pytest.mark.parametrize(("kind", "share"), [("noise", 0.25), ("clusters", 0.75)])
def test_most_rows_wait_through_most_picks(
    monkeypatch: pytest.MonkeyPatch, kind: str, share: float
) -> None:
    pairs = 0
    draw_nearer = geometry._draw_nearer

    def counted(nearest: np.ndarray, points: np.ndarray, *rest: np.ndarray) -> None:
        nonlocal pairs
        pairs += len(points) * len(rest[-1])
        draw_nearer(nearest, points, *rest)

    monkeypatch.setattr(geometry, "_BLOCK", 1 << 13)
    monkeypatch.setattr(geometry, "_draw_nearer", counted)
    k_center_greedy(spread(kind, 4000, 64), 200)
    assert pairs < share * 4000 * 200


def test_duplicates_are_not_measured_again(monkeypatch: pytest.MonkeyPatch) -> None:
    measured = 0
    squared_distances = geometry._squared_distances

    def counted(points: np.ndarray, others: np.ndarray) -> np.ndarray:
        nonlocal measured
        measured += len(points)
        return squared_distances(points, others)

    monkeypatch.setattr(geometry, "_BLOCK", 1 << 10)
    monkeypatch.setattr(geometry, "_squared_distances", counted)
    picks = k_center_greedy(np.ones((3000, 16), np.float32), 3000)
    assert picks.rows.tolist() == list(range(3000))
    assert measured < 5 * 3000


def test_it_agrees_with_scikit_activeml() -> None:
    from skactiveml.pool import CoreSet

    points = np.random.default_rng(9).normal(size=(300, 12))
    theirs = CoreSet(random_state=0).query(
        points, np.array([0.0] * 5 + [np.nan] * 295), batch_size=60
    )
    assert k_center_greedy(points[5:], 60, points[:5]).rows.tolist() == (theirs - 5).tolist()

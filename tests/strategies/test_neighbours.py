"""Nearest neighbours: exact to the last tie, or approximate and nearly so."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from numpy.typing import NDArray
from scipy.spatial.distance import cdist

from alaas.strategies import neighbours
from alaas.strategies.neighbours import nearest_neighbours

Array = NDArray[Any]
fixed = settings(deadline=None, derandomize=True, max_examples=80)


def by_full_matrix(
    queries: Array, points: Array, k: int, *, exclude_self: bool = False
) -> tuple[Array, Array]:
    squares = cdist(queries.astype(np.float64), points.astype(np.float64), "sqeuclidean")
    if exclude_self:
        np.fill_diagonal(squares, np.inf)
    rows = np.argsort(squares, axis=1, kind="stable")[:, :k]
    return rows, np.take_along_axis(squares, rows, axis=1)


def assert_exact(queries: Array, points: Array, k: int, *, exclude_self: bool = False) -> None:
    found = nearest_neighbours(queries, points, k, exclude_self=exclude_self)
    rows, squares = by_full_matrix(queries, points, k, exclude_self=exclude_self)
    np.testing.assert_array_equal(found.rows, rows)
    np.testing.assert_allclose(found.squares, squares, rtol=1e-12)


@pytest.mark.parametrize("part", [neighbours._PART, 100])
@fixed
@given(
    points=arrays(np.int64, (90, 2), elements=st.integers(-3, 3)),
    queries=arrays(np.int64, (7, 2), elements=st.integers(-4, 4)),
    n=st.integers(2, 90),
    k=st.integers(1, 90),
    offset=st.sampled_from([0, 1000]),
    dtype=st.sampled_from([np.float16, np.float32, np.float64]),
)
def test_ties_go_to_the_lowest_row(
    part: int, points: Array, queries: Array, n: int, k: int, offset: int, dtype: type
) -> None:
    points, queries = ((given + offset).astype(dtype) for given in (points[:n], queries))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(neighbours, "_PART", part)
        assert_exact(queries, points, min(k, n))
        assert_exact(points, points, min(k, n - 1), exclude_self=True)


@pytest.mark.parametrize("k", [1, 5, 60])
@pytest.mark.parametrize("offset", [0.0, 1e5])
def test_points_in_general_position(k: int, offset: float) -> None:
    points = np.random.default_rng(0).normal(size=(1500, 24)) + offset
    assert_exact(points[:300] + 0.1, points, k)
    assert_exact(points, points, k, exclude_self=True)


def test_many_points_equally_far() -> None:
    axes = np.concatenate([np.eye(40), -np.eye(40)])
    points = np.repeat(axes, 4, axis=0)[::-1]
    assert_exact(np.zeros((3, 40)), points, 7)
    assert_exact(points, points, 6, exclude_self=True)


def test_points_closer_than_float32_can_tell() -> None:
    rng = np.random.default_rng(1)
    points = rng.normal(size=(400, 3)) * 1e-6 + rng.choice([-1e3, 1e3], size=(400, 1))
    assert_exact(points, points, 5, exclude_self=True)


def test_a_pool_of_one_row_and_its_copies() -> None:
    points = np.ones((700, 5))
    found = nearest_neighbours(points, points, 3, exclude_self=True)
    assert found.rows[0].tolist() == [1, 2, 3]
    assert found.rows[1].tolist() == [0, 2, 3]
    assert found.rows[699].tolist() == [0, 1, 2]
    assert not found.squares.any()


def test_memory_layout_does_not_matter() -> None:
    points = np.random.default_rng(2).normal(size=(200, 6))
    expected = nearest_neighbours(points, points, 4)
    for layout in (np.asfortranarray(points), np.repeat(points, 2, axis=0)[::2]):
        found = nearest_neighbours(layout, layout, 4)
        np.testing.assert_array_equal(found.rows, expected.rows)
        np.testing.assert_array_equal(found.squares, expected.squares)


def test_the_approximate_search_finds_most(monkeypatch: pytest.MonkeyPatch) -> None:
    rng = np.random.default_rng(3)
    places = 2 * rng.normal(size=(60, 16))
    points = places[rng.integers(60, size=12_000)] + rng.normal(size=(12_000, 16))
    queries = rng.choice(12_000, 300, replace=False)
    exact, _ = by_full_matrix(points[queries], points, 10)
    found, again = (nearest_neighbours(points[queries], points, 10, approximate=True) for _ in "12")
    np.testing.assert_array_equal(found.rows, again.rows)
    assert recall(found.rows, exact) > 0.95
    offsets = points[found.rows] - points[queries, None]
    np.testing.assert_allclose(found.squares, (offsets**2).sum(axis=2), rtol=1e-12)
    assert (np.diff(found.squares, axis=1) >= 0).all()
    monkeypatch.setattr(neighbours, "_PROBED", 1)
    hasty = nearest_neighbours(points[queries], points, 10, approximate=True).rows
    assert 0.2 < recall(hasty, exact) < 0.9


def recall(found: Array, exact: Array) -> float:
    return float(np.mean([np.isin(rows, found[at]) for at, rows in enumerate(exact)]))


def test_an_approximate_search_leaves_the_row_itself_out() -> None:
    points = np.random.default_rng(5).normal(size=(10_000, 4))
    found = nearest_neighbours(points, points, 5, approximate=True, exclude_self=True)
    assert (found.rows != np.arange(10_000)[:, None]).all()
    assert (found.squares > 0).all()


def test_short_lists_are_made_up_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(neighbours, "_EXACT_BELOW", 1)
    monkeypatch.setattr(neighbours, "_PROBED", 1)
    points = np.random.default_rng(4).normal(size=(900, 3))
    found = nearest_neighbours(points[:50], points, 200, approximate=True)
    rows, _ = by_full_matrix(points[:50], points, 200)
    np.testing.assert_array_equal(found.rows, rows)

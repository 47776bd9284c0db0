"""What neighbour expansion promises beyond the laws and its oracle."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from oracles.expansion import in_turns
from sklearn.neighbors import NearestNeighbors

from alaas.strategies import Sizes, check_params, distances, expansion, get
from alaas.strategies.expansion import neighbour_expansion

Array = NDArray[Any]
INDICES = ["flat", "ivf", "hnsw"]


def cloud(n: int, *, dims: int = 8, seed: int = 0) -> Array:
    return np.random.default_rng(seed).normal(size=(n, dims)).astype(np.float32)


def test_first_neighbours_come_before_second_ones() -> None:
    pool = np.array([[0.0], [0.1], [0.2], [5.0], [9.0]])
    picks = neighbour_expansion(pool, np.array([[0.0], [7.5]]), 4)
    assert picks.rows.tolist() == [0, 4, 1, 3]
    np.testing.assert_allclose(picks.scores, [0, -1.5, -0.1, -2.5])


@pytest.mark.parametrize("copies", [1, 7])
def test_lists_grow_until_they_name_as_many_rows_as_are_wanted(copies: int) -> None:
    pool, labelled = cloud(200), np.repeat(cloud(1, seed=1), copies, axis=0)
    nearest = NearestNeighbors(n_neighbors=150).fit(pool).kneighbors(labelled[:1])
    picks = neighbour_expansion(pool, labelled, 150)
    assert picks.rows.tolist() == nearest[1][0].tolist()
    np.testing.assert_allclose(picks.scores, -nearest[0][0], rtol=1e-5)


def test_lists_of_many_items_are_read_a_part_at_a_time(monkeypatch: pytest.MonkeyPatch) -> None:
    parts: list[slice] = []

    def small(rows: int, width: int) -> list[slice]:
        parts[:] = distances.blocks(rows, width, numbers=3 * width)
        return parts

    pool, labelled = cloud(60), cloud(20, seed=1)
    rows, scores = in_turns({"embeddings": pool, "labelled_embeddings": labelled}, 50)
    monkeypatch.setattr(expansion, "blocks", small)
    picks = neighbour_expansion(pool, labelled, 50)
    assert len(parts) == 7
    assert picks.rows.tolist() == rows
    np.testing.assert_allclose(picks.scores, scores, rtol=1e-6)


def test_cosine_looks_at_directions() -> None:
    pool = np.array([[0.1, 0.0], [10.0, 1.0], [0.0, 2.0], [-3.0, 0.0]])
    picks = neighbour_expansion(pool, np.array([[5.0, 0.0]]), 4, metric="cosine")
    assert picks.rows.tolist() == [0, 1, 2, 3]
    cosines = np.array([1, 10 / np.sqrt(101), 0, -1])
    np.testing.assert_allclose(picks.scores, cosines - 1, atol=1e-6)


def test_cosine_and_euclidean_distance_disagree_on_long_rows() -> None:
    pool, labelled = np.array([[9.0, 0.0], [0.7, 0.7]]), np.array([[1.0, 0.0]])
    assert neighbour_expansion(pool, labelled, 1).rows.tolist() == [1]
    assert neighbour_expansion(pool, labelled, 1, metric="cosine").rows.tolist() == [0]


def test_a_row_of_zeros_has_no_direction() -> None:
    pool = np.array([[0.0, 0.0], [2.0, 0.0], [0.0, 2.0]])
    picks = neighbour_expansion(pool, np.array([[1.0, 0.0]]), 3, metric="cosine")
    assert picks.rows.tolist() == [1, 0, 2]
    np.testing.assert_allclose(picks.scores, [0, -0.5, -1])


@pytest.mark.parametrize("index", ["ivf", "hnsw"])
def test_an_approximate_index_misses_little(index: Any) -> None:
    pool, labelled = cloud(12_000), cloud(40, seed=1)
    exact = neighbour_expansion(pool, labelled, 400)
    picks = neighbour_expansion(pool, labelled, 400, index=index)
    assert len(set(picks.rows.tolist())) == 400
    assert len(np.intersect1d(picks.rows, exact.rows)) > 360


@pytest.mark.parametrize("index", INDICES)
@pytest.mark.parametrize("metric", ["euclidean", "cosine"])
def test_the_same_call_gives_the_same_answer(index: Any, metric: Any) -> None:
    first, second = (
        neighbour_expansion(cloud(3000), cloud(9, seed=1), 60, index=index, metric=metric)
        for _ in range(2)
    )
    assert first.rows.tolist() == second.rows.tolist()
    assert first.scores.tolist() == second.scores.tolist()


@pytest.mark.parametrize("index", INDICES)
@pytest.mark.parametrize("labelled", [1, 5])
def test_any_index_fills_the_budget_from_heaps_of_duplicates(index: Any, labelled: int) -> None:
    pool = np.repeat(cloud(3), 300, axis=0)
    picks = neighbour_expansion(pool, cloud(labelled, seed=1), 900, index=index)
    assert sorted(picks.rows.tolist()) == list(range(900))


def test_rows_that_a_graph_does_not_reach_are_found_without_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    search = expansion._search

    def blind(points: Array, index: str) -> Any:
        if index == "flat":
            return search(points, index)

        def found(queries: Array, k: int) -> Any:
            neighbours = search(points, "flat")(queries, k)
            neighbours.rows[:, 3:] = -1
            return neighbours

        return found

    monkeypatch.setattr(expansion, "_search", blind)
    pool, labelled = cloud(50), cloud(2, seed=1)
    few = neighbour_expansion(pool, labelled, 3, index="hnsw")
    assert few.rows.tolist() == neighbour_expansion(pool, labelled, 3).rows.tolist()
    many = neighbour_expansion(pool, labelled, 20, index="hnsw")
    assert many.rows.tolist() == neighbour_expansion(pool, labelled, 20).rows.tolist()


def test_building_a_graph_leaves_the_number_of_threads_as_it_was() -> None:
    import faiss

    before = faiss.omp_get_max_threads()
    faiss.omp_set_num_threads(2)
    try:
        neighbour_expansion(cloud(100), cloud(2, seed=1), 5, index="hnsw")
        assert faiss.omp_get_max_threads() == 2
    finally:
        faiss.omp_set_num_threads(before)


@pytest.mark.parametrize(("index", "metric"), [("hnsw", "euclidean"), ("flat", "cosine")])
def test_the_estimate_counts_copies_of_the_pool(index: str, metric: str) -> None:
    strategy = get("neighbour_expansion")
    params = check_params(strategy, None)
    sizes = Sizes(N=10**6, K=100, M=50, D=512)
    plain = strategy.work(sizes, params).memory
    copied = strategy.work(sizes, {**params, "index": index, "metric": metric}).memory
    assert copied - plain >= 4 * 10**6 * 512

"""What the laws and the oracle do not say of TypiClust."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from alaas.core.types import Selection
from alaas.strategies import Sizes, check_params, get, neighbours, run, typical
from alaas.strategies.clusters import k_means

Array = NDArray[Any]


def pick(
    points: Array, budget: int, *, seed: int = 0, params: Any = None, **views: Array
) -> Selection:
    ids = [str(row) for row in range(len(points))]
    return run(
        "typi_clust",
        {"embeddings": points, **views},
        ids=ids,
        budget=budget,
        seed=seed,
        params=params,
    )


def rows_of(selection: Selection) -> list[int]:
    return [int(row) for row in selection.ids]


def groups(*sizes: int, seed: int = 0) -> tuple[Array, Array]:
    """Rows around far directions, and the group of each, in a random order."""
    rng = np.random.default_rng(seed)
    of = rng.permutation(np.repeat(np.arange(len(sizes)), sizes))
    points = 10 * np.eye(len(sizes))[of] + 0.1 * rng.normal(size=(len(of), len(sizes)))
    return points, of


def test_each_group_gives_one_the_largest_first() -> None:
    points, of = groups(30, 60, 20, 40)
    selection = pick(points, 4)
    assert of[rows_of(selection)].tolist() == [1, 3, 0, 2]


def test_groups_without_labels_come_first() -> None:
    points, of = groups(30, 60, 20, 40)
    labelled = np.flatnonzero((of == 1) | (of == 2))[:5]
    assert {1, 2} == set(of[labelled].tolist())
    rest = np.delete(np.arange(len(points)), labelled)
    params = {"max_clusters": 4}
    selection = pick(points[rest], 4, labelled_embeddings=points[labelled], params=params)
    counts = np.bincount(of[labelled], minlength=4)
    known = sorted([1, 2], key=lambda group: (counts[group], -[30, 60, 20, 40][group]))
    assert of[rest[rows_of(selection)]].tolist() == [3, 0, *known]


def test_a_cluster_takes_turns_until_it_is_used_up() -> None:
    points, of = groups(9, 6)
    turns = of[rows_of(pick(points, 15, params={"max_clusters": 2}))].tolist()
    assert turns == [0, 1] * 6 + [0] * 3


def test_small_clusters_come_when_all_others_are_used_up() -> None:
    points, of = groups(8, 5, 7)
    sizes = {"max_clusters": 3}
    assert of[rows_of(pick(points, 20, params=sizes))].tolist() == [0, 2] * 7 + [0] + [1] * 5
    smaller = pick(points, 6, params={**sizes, "min_cluster_size": 4})
    assert of[rows_of(smaller)].tolist() == [0, 2, 1] * 2


def test_the_budget_is_met_where_every_cluster_is_small() -> None:
    points, of = groups(3, 2, 4)
    selection = pick(points, 9, params={"max_clusters": 3})
    assert of[rows_of(selection)].tolist() == [2, 0, 1, 2, 0, 1, 2, 0, 2]
    assert selection.scores[-1] == 0  # nothing is left of its cluster


def test_the_most_typical_row_has_the_closest_neighbours() -> None:
    # One cluster: 20 rows far from each other, and a knot of 11 that hold half of it.
    line = np.concatenate([np.arange(20.0) * 3, 30.5 + 0.01 * np.arange(21)])[:, None]
    selection = pick(line, 1, params={"normalise": False})
    assert rows_of(selection) == [20 + 10]  # the middle of the knot
    mean = 0.01 * 2 * sum(range(1, 11)) / 20
    np.testing.assert_allclose(selection.scores, 1 / (mean + 1e-5), rtol=1e-4)


def test_picked_and_labelled_rows_are_no_neighbours() -> None:
    line = np.array([[0.0], [1.0], [1.1], [4.0], [5.0]])
    params = {"normalise": False, "max_clusters": 1, "min_cluster_size": 0}
    # Two neighbours of five: 0.1 and 1; then one of four and so on.
    selection = pick(line, 3, params=params)
    assert rows_of(selection)[0] == 1
    np.testing.assert_allclose(selection.scores[0], 1 / (0.55 + 1e-5))
    # Of 0, 1.1, 4 and 5 two neighbours each: 1.1 has 1.1 and 2.9, 4 has 1 and 2.9.
    assert rows_of(selection)[1] == 3
    np.testing.assert_allclose(selection.scores[1], 1 / (1.95 + 1e-5))
    beside = pick(np.delete(line, 1, 0), 1, labelled_embeddings=line[1:2], params=params)
    assert rows_of(beside) == [2]
    np.testing.assert_allclose(beside.scores, selection.scores[1:2], rtol=1e-6)


def test_copies_are_as_typical_as_can_be() -> None:
    selection = pick(np.ones((30, 3)), 5)
    assert rows_of(selection) == [0, 1, 2, 3, 4]
    np.testing.assert_allclose(selection.scores, 1e5)


def test_lengths_count_only_if_they_are_not_normalised() -> None:
    points, _ = groups(30, 20)
    longer = points * np.random.default_rng(1).uniform(1, 9, size=(50, 1))
    plain, scaled = pick(points, 8), pick(longer, 8)
    assert plain.ids == scaled.ids
    np.testing.assert_allclose(plain.scores, scaled.scores, rtol=1e-3)
    raw = {"normalise": False}
    assert pick(points, 8, params=raw).ids != pick(longer, 8, params=raw).ids


def test_a_row_of_zeros_is_allowed() -> None:
    points, _ = groups(10, 10)
    points[3] = 0
    assert np.isfinite(pick(points, 20).scores).all()


def test_an_index_finds_nearly_as_typical_rows(monkeypatch: pytest.MonkeyPatch) -> None:
    points = np.random.default_rng(0).normal(size=(3000, 4))
    exact = pick(points, 3)
    monkeypatch.setattr(neighbours, "_EXACT_BELOW", 500)
    assert pick(points, 3).ids == exact.ids
    near = pick(points, 3, params={"approx": "knn"})
    assert (near.scores > 0.8 * exact.scores).all()
    assert (near.scores <= exact.scores * (1 + 1e-6)).all()


def test_a_large_pool_takes_less_with_an_index() -> None:
    strategy = get("typi_clust")
    sizes = Sizes(N=1_000_000, K=10, D=512)
    exact = strategy.work(sizes, check_params(strategy, None))
    indexed = strategy.work(sizes, check_params(strategy, {"approx": "knn"}))
    assert indexed.flops < exact.flops / 10
    assert indexed.memory < 12 * 2**30


@pytest.mark.parametrize("seed", range(4))
def test_agrees_with_scikit_activeml(seed: int) -> None:
    from skactiveml.pool import TypiClust

    points, of = groups(40, 25, 31, 12, 52, 18, seed=seed)
    labelled = np.array([np.flatnonzero(of == group)[0] for group in (1, 4)])
    y = np.full(len(points), np.nan)
    y[labelled] = 0
    rest = np.delete(np.arange(len(points)), labelled)

    class Given:
        """The clusters that our own k-means finds."""

        def __init__(self, n_clusters: int) -> None:
            self.n_clusters = n_clusters

        def fit_predict(self, X: Array) -> Array:
            ours, _ = typical._joined(X[rest], X[labelled], unit=False)
            found = k_means(ours, self.n_clusters, np.random.default_rng(seed)).labels
            labels = np.empty(len(X), np.int64)
            labels[np.concatenate([labelled, rest])] = found
            return labels

    theirs = TypiClust(cluster_algo=Given, k=5, random_state=0)
    rows, gains = theirs.query(points, y, batch_size=4, return_utilities=True)
    monkey = pytest.MonkeyPatch()
    with monkey.context() as patch:
        patch.setattr(typical, "_NEIGHBOURS", 5)
        ours = pick(
            points[rest], 4, seed=seed, labelled_embeddings=points[labelled],
            params={"normalise": False},
        )  # fmt: skip
    assert rest[rows_of(ours)].tolist() == rows.tolist()
    np.testing.assert_allclose(ours.scores, np.nanmax(gains, axis=1), rtol=1e-4)

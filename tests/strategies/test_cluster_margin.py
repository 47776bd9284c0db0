"""Cluster-Margin beyond its oracle."""

from __future__ import annotations

from collections import Counter
from typing import Any

import numpy as np
import pytest
from oracles.cluster_margin import clusters_of_the_pool, in_turns, margins_of, merged
from pools import ids_of, pool

from alaas.core.errors import PoolTooLarge
from alaas.strategies import Sizes, get, run
from alaas.strategies.cluster_margin import cluster_margin
from alaas.strategies.clusters import k_means


def picked(views: dict[str, Any], budget: int, **params: Any) -> tuple[list[int], list[float]]:
    picks = cluster_margin(
        views["probs"], views["embeddings"], budget, np.random.default_rng(3), **params
    )
    return picks.rows.tolist(), picks.scores.tolist()


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("size", [1, 2, 5, 10, 90])
@pytest.mark.parametrize("candidates", [1, 2, 10])
def test_clusters_of_the_whole_pool(seed: int, size: int, candidates: int) -> None:
    views = pool(70, seed=seed)
    expected = clusters_of_the_pool(views, 12, candidates, size)
    rows, scores = picked(views, 12, candidates=candidates, size=size)
    assert rows == expected[0]
    np.testing.assert_allclose(scores, expected[1], rtol=1e-12)


@pytest.mark.parametrize("seed", range(5))
def test_ties_of_margins_distances_and_clusters_break_alike(seed: int) -> None:
    rng = np.random.default_rng(seed)
    views = {
        "probs": np.eye(3)[rng.integers(3, size=60)] / 2 + 1 / 6,
        "embeddings": rng.integers(-2, 3, size=(60, 2)).astype(float),
    }
    expected = clusters_of_the_pool(views, 20, 2, 3)
    assert picked(views, 20, candidates=2, size=3)[0] == expected[0]


@pytest.mark.parametrize("approx", ["candidates", "kmeans"])
def test_an_approximation_clusters_the_candidates_alone(approx: str) -> None:
    views = pool(200)
    margins = margins_of(views)
    ranked = sorted(range(200), key=lambda row: margins[row])[:80]
    kept = views["embeddings"][ranked]
    if approx == "candidates":
        labels = merged(kept, 20)
    else:
        labels = k_means(kept, 20, np.random.default_rng(3)).labels.tolist()
    expected = in_turns(margins, dict(zip(ranked, labels, strict=True)), 16)
    assert picked(views, 16, candidates=5, size=4, approx=approx)[0] == expected[0]


def test_the_two_ways_agree_where_every_row_is_a_candidate() -> None:
    views = pool(60)
    assert picked(views, 6) == picked(views, 6, approx="candidates")


@pytest.mark.parametrize("approx", ["none", "candidates", "kmeans"])
def test_groups_that_lie_apart_share_the_budget(approx: str) -> None:
    rng = np.random.default_rng(0)
    group = np.repeat(np.arange(4), 25)
    points = 100.0 * np.eye(4)[group] + rng.normal(size=(100, 4))
    # The least margins are all in group 0: plain margin sampling would look nowhere else.
    lead = 0.02 * group + 0.01 * rng.random(100)
    probs = np.stack([0.5 + lead / 2, 0.5 - lead / 2], axis=1)
    views = {"probs": probs, "embeddings": points}
    rows, _ = picked(views, 8, candidates=13, size=25, approx=approx)
    assert Counter(group[rows].tolist()) == {0: 2, 1: 2, 2: 2, 3: 2}


def test_a_pool_smaller_than_a_cluster_is_ranked_by_margin() -> None:
    views = pool(9)
    rows, scores = picked(views, 9)
    assert rows == sorted(range(9), key=lambda row: margins_of(views)[row])
    assert scores == sorted(scores, reverse=True)


def test_merging_a_million_rows_is_refused_and_the_other_ways_are_named() -> None:
    strategy = get("ClusterMargin")
    sizes = Sizes(N=10**6, K=1000, C=10, D=512)
    memory = {
        approx: strategy.work(sizes, {"candidates": 10, "size": 10, "approx": approx}).memory
        for approx in ("none", "candidates", "kmeans")
    }
    assert memory["none"] > 8e12 > 8e9 > memory["candidates"] > memory["kmeans"]
    # A view that takes no memory: each of its rows is the same one.
    n = 3 * 10**6
    views = {
        "probs": np.broadcast_to(np.float32(0.5), (n, 2)),
        "embeddings": np.broadcast_to(np.float32(0), (n, 1)),
    }
    with pytest.raises(
        PoolTooLarge, match=r"params\.approx, one of 'none', 'candidates', 'kmeans'"
    ):
        run("cluster_margin", views, ids=range(n), budget=1)  # type: ignore[arg-type]


def test_chance_has_no_part_in_merging() -> None:
    views = {name: pool(40)[name] for name in ("probs", "embeddings")}
    first, second = (
        run("cluster_margin", views, ids=ids_of(40), budget=7, seed=seed) for seed in (0, 1)
    )
    assert first.ids == second.ids

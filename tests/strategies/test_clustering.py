"""What the oracles of the clustering strategies cannot say."""

from __future__ import annotations

from typing import Any, Literal

import numpy as np
import pytest
from numpy.typing import NDArray
from pools import distributions, ids_of

from alaas.core.errors import ValidationFailed
from alaas.strategies import Sizes, check_params, get, run
from alaas.strategies.clustering import (
    clue,
    clustering_sampling,
    diverse_mini_batch,
    k_means_plus_plus,
    k_means_sampling,
)

Array = NDArray[Any]


def rng(seed: int = 0) -> np.random.Generator:
    return np.random.default_rng(seed)


def blobs(sizes: list[int]) -> tuple[Array, Array]:
    """Far-away round clusters of these sizes, and the cluster of each row."""
    labels = np.repeat(np.arange(len(sizes)), sizes)
    places = 50 * rng(1).normal(size=(len(sizes), 4))
    return places[labels] + rng(2).normal(size=(len(labels), 4)), labels


def test_each_blob_gives_one_row_the_largest_first() -> None:
    points, labels = blobs([5, 30, 12, 20])
    rows, scores = k_means_sampling(points, 4, rng())
    assert labels[rows].tolist() == [1, 3, 2, 0]
    np.testing.assert_allclose(scores, np.array([30, 20, 12, 5]) / 67)
    for row in rows:
        members = points[labels == labels[row]]
        far = np.linalg.norm(members - members.mean(axis=0), axis=1)
        assert np.linalg.norm(points[row] - members.mean(axis=0)) == pytest.approx(far.min())


def test_weights_draw_the_centres() -> None:
    points, labels = blobs([40, 40])
    probs = np.where((labels == 0)[:, None], [0.5, 0.5], [0.99, 0.01])
    for pick in (clue, diverse_mini_batch):
        rows, scores = pick(probs, points, 6, rng())
        assert (labels[rows] == 0).sum() > 3
        assert scores.sum() == pytest.approx(1)
        assert (np.diff(scores) <= 0).all()


@pytest.mark.parametrize("pick", [clue, diverse_mini_batch])
def test_certain_rows_all_count_alike(pick: Any) -> None:
    points, labels = blobs([10, 20, 30])
    certain = np.eye(3)[labels]
    rows, scores = pick(
        certain, points, 3, rng(), **({"prefilter": 100} if pick is not clue else {})
    )
    assert labels[rows].tolist() == [2, 1, 0]
    np.testing.assert_allclose(scores, [1 / 2, 1 / 3, 1 / 6])


def test_dbal_clusters_only_the_most_uncertain() -> None:
    probs, points = distributions(rng(), 300, 4), rng().normal(size=(300, 5))
    ordered = np.sort(probs, axis=1)
    margin = ordered[:, -1] - ordered[:, -2]
    for prefilter in (1, 2.5, 7):
        rows, _ = diverse_mini_batch(probs, points, 20, rng(), prefilter=prefilter)
        assert set(rows.tolist()) <= set(np.argsort(margin)[: int(20 * prefilter)].tolist())


def test_a_sum_of_probabilities_just_above_1_gives_no_negative_weight() -> None:
    probs = np.array([[1.004, 0.0], [0.5, 0.5], [0.5, 0.5]])
    points = np.array([[0.0], [1.0], [5.0]])
    rows, scores = diverse_mini_batch(probs, points, 3, rng())
    assert rows.tolist() == [1, 2, 0]
    np.testing.assert_allclose(scores, [0.5, 0.5, 0])


@pytest.mark.parametrize("seed", range(5))
def test_clue_of_one_row_is_that_of_scikit_activeml(seed: int) -> None:
    from skactiveml.classifier import ParzenWindowClassifier
    from skactiveml.pool import Clue

    points = rng(seed).normal(size=(60, 3))
    labels = np.where(np.arange(60) < 9, np.arange(60) % 3, np.nan)
    model = ParzenWindowClassifier(classes=[0, 1, 2], random_state=0)
    free = np.arange(9, 60)
    theirs = Clue(random_state=0).query(points, labels, model, candidates=free)
    probs = model.fit(points, labels).predict_proba(points[free])
    assert clue(probs, points[free], 1, rng()).rows + 9 == theirs


def test_a_low_temperature_leaves_weight_to_the_least_certain() -> None:
    points = np.array([[0.0], [10.0], [20.0]])
    probs = np.array([[0.5, 0.5], [0.6, 0.4], [0.9, 0.1]])
    for temperature, row in ((0.01, 0), (1.0, 1), (1e3, 1)):
        assert clue(probs, points, 1, rng(), temperature=temperature).rows.tolist() == [row]
    logits = np.log(probs) / 2.5
    softened = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    np.testing.assert_allclose(
        clue(probs, points, 3, rng(), temperature=2.5).scores,
        clue(softened, points, 3, rng()).scores,
    )
    many = np.full((3, 1000), 1e-3)
    assert np.isfinite(clue(many, points, 3, rng(), temperature=1e-3).scores).all()


def test_quotas_follow_the_sizes_of_the_clusters() -> None:
    points, labels = blobs([50, 30, 20])
    probs = distributions(rng(), 100, 3)
    for budget, quotas in ((10, [5, 3, 2]), (1, [1, 0, 0]), (3, [1, 1, 1]), (4, [2, 1, 1])):
        rows, scores = clustering_sampling(probs, points, budget, rng())
        assert np.bincount(labels[rows], minlength=3).tolist() == quotas
        assert (np.diff(scores) <= 0).all()


@pytest.mark.parametrize("budget", range(1, 38))
def test_quotas_sum_to_any_budget(budget: int) -> None:
    points, probs = rng().normal(size=(37, 2)), distributions(rng(), 37, 4)
    rows, _ = clustering_sampling(probs, points, budget, rng(), clusters=7)
    assert len(set(rows.tolist())) == budget


def test_each_cluster_gives_its_most_uncertain() -> None:
    points, labels = blobs([10, 10])
    probs = distributions(rng(), 20, 3)
    ordered = np.sort(probs, axis=1)
    doubts: dict[Literal["least_confidence", "margin"], Array] = {
        "least_confidence": 1 - ordered[:, -1],
        "margin": ordered[:, -2] - ordered[:, -1],
    }
    for uncertainty, doubt in doubts.items():
        rows, scores = clustering_sampling(
            probs, points, 6, rng(), uncertainty=uncertainty, clusters=2
        )  # fmt: skip
        np.testing.assert_allclose(scores, doubt[rows])
        for cluster in (0, 1):
            members = np.flatnonzero(labels == cluster)
            best = members[np.argsort(-doubt[members])[:3]]
            assert set(rows[labels[rows] == cluster].tolist()) == set(best.tolist())


def test_more_clusters_than_rows() -> None:
    probs, points = distributions(rng(), 4, 3), rng().normal(size=(4, 2))
    rows, _ = clustering_sampling(probs, points, 4, rng(), clusters=9)
    assert sorted(rows.tolist()) == [0, 1, 2, 3]


def test_the_first_draw_of_k_means_plus_plus_has_the_largest_distance_to_it() -> None:
    points = rng().normal(size=(50, 3))
    rows, scores = k_means_plus_plus(points, 9, rng())
    far = np.linalg.norm(points - points[rows[0]], axis=1)
    assert scores[0] == pytest.approx(far.max())
    assert scores[1] == pytest.approx(far[rows[1]])


def test_their_usual_names_lead_to_them() -> None:
    names = {
        "KMeansSampling": "k_means_sampling",
        "KMeans": "k_means_sampling",
        "KMeansPlusPlus": "k_means_plus_plus",
        "DBAL": "diverse_mini_batch",
        "DiverseMiniBatchSampling": "diverse_mini_batch",
        "CLUE": "clue",
        "ClusteringSampling": "clustering_sampling",
    }
    assert {alias: get(alias).name for alias in names} == names


def test_iterations_are_a_parameter_of_all() -> None:
    points, probs = rng().normal(size=(400, 3)), distributions(rng(), 400, 3)
    views = {"embeddings": points, "probs": probs}
    for name in ("k_means_sampling", "diverse_mini_batch", "clue", "clustering_sampling"):
        picked = [
            run(name, views, ids=ids_of(400), budget=12, params={"iterations": limit}).ids
            for limit in (1, 200)
        ]
        assert picked[0] != picked[1]
        with pytest.raises(ValidationFailed, match="iterations must be a whole number >= 1"):
            run(name, views, ids=ids_of(400), budget=12, params={"iterations": 0})


def test_a_large_pool_is_within_reach_and_a_hopeless_one_is_not() -> None:
    for name in ("k_means_sampling", "k_means_plus_plus", "clue", "clustering_sampling"):
        known = get(name)
        params = check_params(known, None)
        work = known.work(Sizes(N=1_000_000, K=1000, C=10, D=512), params)
        assert work.memory < 2**30 / 2
        more = known.work(Sizes(N=1_000_000, K=10_000, C=10, D=512), params)
        assert name == "clustering_sampling" or more.flops > 8 * work.flops

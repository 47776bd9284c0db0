"""What BAIT promises beyond the laws and its oracle."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray
from oracles.bait import information, least_variance
from pools import distributions

from alaas.strategies import Sizes, check_params, distances, get
from alaas.strategies.bait import bait

Floats = NDArray[np.float64]


def pool(n: int, classes: int, dims: int, *, seed: int = 0) -> tuple[Floats, Floats]:
    rng = np.random.default_rng(seed)
    return distributions(rng, n, classes), rng.normal(size=(n, dims)) * 3


@pytest.mark.parametrize("lamb", [1e-3, 1.0, 100.0])
@pytest.mark.parametrize("block", [1, 500, 1 << 20])
def test_a_hundred_updates_stay_with_the_explicit_inverse(
    monkeypatch: pytest.MonkeyPatch, lamb: float, block: int
) -> None:
    monkeypatch.setattr(distances, "BLOCK", block)
    probs, points = pool(80, 3, 4)
    known_probs, known = pool(5, 3, 4, seed=1)
    rows, gains = least_variance(
        information(probs, points), information(known_probs, known).sum(axis=0), 38, lamb
    )
    picks = bait(probs, points, 38, known, known_probs, lamb=lamb)
    assert picks.rows.tolist() == rows
    np.testing.assert_allclose(picks.scores, gains, rtol=1e-6)


def test_binary_information_is_that_of_the_likeliest_class() -> None:
    probs, points = pool(40, 6, 5)
    top = probs.max(axis=1)
    each = np.einsum("n,nd,ne->nde", top * (1 - top), points, points)
    rows, gains = least_variance(each, np.zeros(()), 9, 1.0)
    picks = bait(probs, points, 9, approx="binary")
    assert picks.rows.tolist() == rows
    np.testing.assert_allclose(picks.scores, gains, rtol=1e-9)
    assert picks.rows.tolist() != bait(probs, points, 9, approx="none").rows.tolist()


def test_binary_is_exact_for_two_classes_and_half_the_prior() -> None:
    probs, points = pool(40, 2, 5)
    exact = bait(probs, points, 9, approx="none", lamb=0.5)
    binary = bait(probs, points, 9, approx="binary", lamb=0.25)
    assert binary.rows.tolist() == exact.rows.tolist()
    np.testing.assert_allclose(binary.scores, exact.scores, rtol=1e-9)


@pytest.mark.parametrize(("classes", "same"), [(10, "none"), (13, "binary")])
def test_auto_is_binary_above_1280_parameters(classes: int, same: str) -> None:
    probs, points = pool(12, classes, 128)
    auto, other = bait(probs, points, 2), bait(probs, points, 2, approx=same)  # type: ignore[arg-type]
    assert auto.rows.tolist() == other.rows.tolist()
    assert auto.scores.tolist() == other.scores.tolist()
    none, binary = (
        get("bait").work(
            Sizes(N=10**6, K=100, C=classes, D=512), check_params(get("bait"), {"approx": approx})
        )
        for approx in ("none", "binary")
    )
    assert binary.memory < none.memory
    assert binary.flops < none.flops


def test_directions_without_information_can_be_left_out() -> None:
    probs, points = pool(30, 3, 4)
    rotation = np.linalg.qr(np.random.default_rng(2).normal(size=(12, 12)))[0]
    wide = points @ rotation[:4]
    all_of_them, some = bait(probs, wide, 8), bait(probs, wide, 8, dimensions=4)
    assert some.rows.tolist() == all_of_them.rows.tolist()
    np.testing.assert_allclose(some.scores, all_of_them.scores, rtol=1e-9)


def test_the_directions_kept_are_those_of_the_pools_information() -> None:
    probs, points = pool(30, 3, 6)
    points[:3, 0], probs[:3] = 1e3, [1.0, 0.0, 0.0]  # large, but sure: without information
    known_probs, known = pool(4, 3, 6, seed=1)
    weights = 1 - (probs**2).sum(axis=1)
    left, values, _ = np.linalg.svd((points * np.sqrt(weights)[:, None]).T)
    assert len(values) == 6
    basis = left[:, :2]
    projected = bait(probs, points, 7, known, known_probs, dimensions=2)
    expected = bait(probs, points @ basis, 7, known @ basis, known_probs)
    assert projected.rows.tolist() == expected.rows.tolist()
    np.testing.assert_allclose(projected.scores, expected.scores, rtol=1e-9)


def test_of_copies_the_lowest_row_is_picked_first() -> None:
    probs, points = pool(5, 3, 4)
    for order in ([0, 1, 2, 3, 4] * 4, [4, 3, 2, 1, 0] * 4):
        single = bait(probs[order], points[order], 20).rows[0]
        assert single == order.index(order[single])


def test_sure_rows_gain_nothing_and_fill_up_from_the_lowest() -> None:
    probs, points = pool(6, 3, 4)
    probs[:4] = np.eye(3)[0]
    picks = bait(probs, points, 4)
    assert sorted(picks.rows[:2].tolist()) == [4, 5]
    assert picks.rows[2:].tolist() == [0, 1]
    assert picks.scores[2:].tolist() == [0.0, 0.0]


def test_what_is_labelled_is_not_asked_again() -> None:
    probs = np.full((2, 2), 0.5)
    points = np.array([[3.0, 0.0], [0.0, 2.9]])
    assert bait(probs, points, 1).rows.tolist() == [0]
    assert bait(probs, points, 1, points[:1], probs[:1]).rows.tolist() == [1]
    assert bait(probs, points, 1, points[:1]).rows.tolist() == [0]


def test_pruning_can_mend_what_greed_picked_first() -> None:
    batches = 0
    for seed in range(20):
        probs, points = pool(15, 3, 3, seed=seed)
        greedy = least_variance_forward(information(probs, points), 3)
        batches += sorted(bait(probs, points, 3).rows.tolist()) != sorted(greedy)
    assert 0 < batches < 20


def least_variance_forward(each: Floats, budget: int) -> list[int]:
    pool_of_all, design = each.mean(axis=0), np.eye(each.shape[1])
    rows: list[int] = []
    for _ in range(budget):
        left = [row for row in range(len(each)) if row not in rows]
        costs = [np.trace(np.linalg.inv(design + each[row]) @ pool_of_all) for row in left]
        rows.append(left[int(np.argmin(costs))])
        design = design + each[rows[-1]]
    return rows


def test_probabilities_that_do_not_quite_sum_to_one_are_scaled() -> None:
    probs, points = pool(20, 4, 3)
    rounded, exact = bait(probs * 1.004, points, 5), bait(probs, points, 5)
    assert rounded.rows.tolist() == exact.rows.tolist()
    np.testing.assert_allclose(rounded.scores, exact.scores, rtol=1e-9)

"""CDAL beyond its oracle."""

from __future__ import annotations

import numpy as np
import pytest
from oracles.contextual import contextual_k_center
from pools import distributions, traced

from alaas.strategies import Sizes, get
from alaas.strategies.contextual import cdal


@pytest.mark.parametrize("labelled", [0, 1, 7])
@pytest.mark.parametrize("classes", [2, 9, 40])
@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64])
def test_larger_pools_agree_with_single_divergences(
    labelled: int, classes: int, dtype: type[np.floating]
) -> None:
    rng = np.random.default_rng(classes)
    views = {"probs": distributions(rng, 60, classes).astype(dtype)}
    if labelled:
        views["labelled_probs"] = distributions(rng, labelled, classes).astype(dtype)
    exact = {name: view.astype(np.float64) for name, view in views.items()}
    rows, scores = contextual_k_center(exact, 20)
    picks = cdal(views["probs"], 20, views.get("labelled_probs"))
    assert picks.rows.tolist() == rows
    np.testing.assert_allclose(picks.scores, scores, rtol=1e-12)


@pytest.mark.parametrize("apart", [1e-2, 1e-4, 1e-6])
def test_rows_are_told_apart_below_the_precision_of_the_bound(apart: float) -> None:
    rng = np.random.default_rng(0)
    groups = np.repeat(distributions(rng, 3, 12), 20, axis=0)
    probs = groups * (1 + apart * rng.random((60, 12)))
    probs /= probs.sum(axis=1, keepdims=True)
    rows, scores = contextual_k_center({"probs": probs}, 60)
    picks = cdal(probs, 60)
    assert picks.rows.tolist() == rows
    np.testing.assert_allclose(picks.scores, scores, rtol=1e-9)
    assert 0 < picks.scores[-1] < apart**2


def test_the_estimate_counts_the_logarithms() -> None:
    n, classes = 2000, 1000
    probs = np.full((n, classes), 1 / classes, np.float32)
    estimate = get("cdal").work(Sizes(N=n, K=3, C=classes), {}).memory
    with traced() as memory:
        cdal(probs, 3)
    assert 0.5 * estimate < memory.peak <= estimate


def test_blocks_do_not_show(monkeypatch: pytest.MonkeyPatch) -> None:
    probs = distributions(np.random.default_rng(1), 60, 5)
    whole = cdal(probs, 30)
    monkeypatch.setattr("alaas.strategies.contextual._BLOCK", 33)
    pieces = cdal(probs, 30)
    np.testing.assert_array_equal(pieces.rows, whole.rows)
    np.testing.assert_array_equal(pieces.scores, whole.scores)


def test_a_duplicate_is_worth_nothing_and_scores_never_increase() -> None:
    probs = np.repeat(distributions(np.random.default_rng(2), 10, 4), 3, axis=0)
    picks = cdal(probs, 30)
    assert len({row // 3 for row in picks.rows[:10].tolist()}) == 10
    np.testing.assert_array_equal(picks.scores[10:], 0.0)
    assert (np.diff(picks.scores) <= 0).all()


def test_opposite_certainties_are_finitely_far_apart() -> None:
    picks = cdal(np.eye(3), 2, np.eye(3)[:1])
    assert picks.rows.tolist() == [1, 2]
    np.testing.assert_allclose(picks.scores, np.log(1e7), rtol=1e-6)


def test_the_first_pick_without_labels_is_the_most_ordinary() -> None:
    probs = np.array([[1.0, 0.0], [0.5, 0.5], [0.0, 1.0], [0.9, 0.1]])
    assert cdal(probs, 1).rows.tolist() == [1]
    assert cdal(probs, 4).rows.tolist() == [1, 0, 2, 3]

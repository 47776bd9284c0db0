"""Contrastive active learning beyond its oracle."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from oracles.contrastive import by_divergence_from_labelled
from pools import distributions, ids_of, pool

from alaas.strategies import run
from alaas.strategies.contrastive import contrastive

VIEWS = ("probs", "embeddings", "labelled_embeddings", "labelled_probs")


def crowd(n: int, labelled: int, classes: int = 4) -> dict[str, Any]:
    rng = np.random.default_rng(n)
    return {
        "probs": distributions(rng, n, classes),
        "embeddings": rng.normal(size=(n, 6)),
        "labelled_embeddings": rng.normal(size=(labelled, 6)),
        "labelled_probs": distributions(rng, labelled, classes),
    }


@pytest.mark.parametrize("neighbours", [1, 3, 10, 60])
def test_the_divergence_is_from_as_many_neighbours_as_asked_for(neighbours: int) -> None:
    views = crowd(80, 30)
    rows, scores = by_divergence_from_labelled(views, 12, None, neighbours)
    selection = run("CAL", views, ids=ids_of(80), budget=12, params={"neighbours": neighbours})
    assert list(selection.ids) == [f"item-{row}" for row in rows]
    np.testing.assert_allclose(selection.scores, scores, rtol=1e-12)


def test_blocks_do_not_show(monkeypatch: pytest.MonkeyPatch) -> None:
    views = crowd(50, 12)
    whole = contrastive(**views, budget=50)
    monkeypatch.setattr("alaas.strategies.contrastive._BLOCK", 42)
    pieces = contrastive(**views, budget=50)
    np.testing.assert_array_equal(pieces.rows, whole.rows)
    np.testing.assert_allclose(pieces.scores, whole.scores, rtol=1e-12)


def test_certain_neighbours_of_another_class_make_a_finite_divergence() -> None:
    certain = np.eye(2)
    points = np.array([[0.0], [1.0]])
    picks = contrastive(certain, points, 2, points, certain[::-1], neighbours=1)
    np.testing.assert_allclose(picks.scores, np.log(1e7), rtol=1e-5)
    agreeing = contrastive(certain, points, 2, points, certain, neighbours=1)
    np.testing.assert_array_equal(agreeing.scores, [0.0, 0.0])
    np.testing.assert_array_equal(agreeing.rows, [0, 1])


def test_the_divergence_is_of_the_item_from_its_neighbour_and_not_the_other_way() -> None:
    item, neighbour = np.array([[0.9, 0.1]]), np.array([[0.5, 0.5]])
    point = np.zeros((1, 1))
    picks = contrastive(item, point, 1, point, neighbour)
    expected = 0.5 * np.log(0.5 / 0.9) + 0.5 * np.log(0.5 / 0.1)
    np.testing.assert_allclose(picks.scores, expected, rtol=1e-6)


def test_agreement_is_0_and_never_below() -> None:
    probs = distributions(np.random.default_rng(0), 200, 7)
    line = np.arange(200.0)[:, None]
    known, seen = np.repeat(line, 3, axis=0), np.repeat(probs, 3, axis=0)
    picks = contrastive(probs, line, 200, known, seen, neighbours=3)
    assert (picks.scores >= 0).all()
    np.testing.assert_allclose(picks.scores, 0, atol=1e-14)


def test_rows_are_scaled_to_sum_to_1() -> None:
    views = crowd(30, 12)
    expected = contrastive(**views, budget=30)
    rounded = {**views, "probs": 1.008 * views["probs"]}
    picks = contrastive(**rounded, budget=30)
    np.testing.assert_allclose(picks.scores, expected.scores, rtol=1e-9)


@pytest.mark.parametrize("labelled", [4, 25])
def test_scikit_activeml_ranks_as_we_do(labelled: int) -> None:
    from skactiveml.base import SkactivemlClassifier
    from skactiveml.pool import ContrastiveAL

    class Told(SkactivemlClassifier):  # type: ignore[misc]
        """Predicts for each row what stands behind its embedding."""

        def fit(self, X: Any, y: Any, sample_weight: Any = None) -> Any:
            return self

        def predict_proba(self, X: Any, **_: Any) -> Any:
            return X[:, 6:].copy(), X[:, :6]

    views = crowd(60, labelled)
    pool_rows = np.hstack([views["embeddings"], views["probs"]])
    known = np.hstack([views["labelled_embeddings"], views["labelled_probs"]])
    strategy = ContrastiveAL(
        nearest_neighbors_dict={"n_neighbors": 10}, clf_embedding_flag_name={}, random_state=0
    )
    chosen, utilities = strategy.query(
        X=np.vstack([pool_rows, known]),
        y=np.append(np.full(60, np.nan), np.zeros(labelled)),
        clf=Told(classes=[0, 1, 2, 3]),
        fit_clf=False,
        batch_size=20,
        return_utilities=True,
    )
    picks = contrastive(**views, budget=20)
    assert picks.rows.tolist() == list(chosen)
    np.testing.assert_allclose(picks.scores, utilities[0, chosen], rtol=1e-9)


def test_labels_are_needed() -> None:
    views = {name: view for name, view in pool(5).items() if name in VIEWS[:2]}
    with pytest.raises(Exception, match="contrastive needs labelled items"):
        run("contrastive", views, ids=ids_of(5), budget=1)

"""What ALFA-Mix and DropQuery promise beyond the laws and their oracles."""

from __future__ import annotations

from functools import partial
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from pools import pool

from alaas.strategies import Picks, distances, mixing
from alaas.strategies.mixing import alfa_mix, drop_query

Array = NDArray[Any]


def mix(views: dict[str, Array], budget: int, seed: int = 0, **params: Any) -> Picks:
    names = ("embeddings", "head", "labelled_embeddings", "labels")
    taken: dict[str, Any] = {name: views[name] for name in names}
    return alfa_mix(**taken, budget=budget, rng=np.random.default_rng(seed), **params)


def drop(views: dict[str, Array], budget: int, seed: int = 0, **params: Any) -> Picks:
    rng = np.random.default_rng(seed)
    return drop_query(views["embeddings"], views["head"], budget, rng, **params)


@pytest.mark.parametrize("choose", [mix, drop])
def test_blocks_of_any_size_give_the_same_picks(
    monkeypatch: pytest.MonkeyPatch, choose: Any
) -> None:
    views = pool(200)
    expected = choose(views, 9, seed=3)
    monkeypatch.setattr(mixing, "blocks", partial(distances.blocks, numbers=150))
    picks = choose(views, 9, seed=3)
    assert picks.rows.tolist() == expected.rows.tolist()
    np.testing.assert_allclose(picks.scores, expected.scores, rtol=1e-12)


@pytest.mark.parametrize("epsilon", [0.0, 0.3, 4.0])
@pytest.mark.parametrize("scale", [1.0, 1e4])
def test_two_classes_have_a_closed_form_however_certain_the_model_is(
    epsilon: float, scale: float
) -> None:
    views = pool(60, classes=2)
    views["head"] = head = scale * views["head"]
    across = head[1] - head[0]
    leads = views["embeddings"] @ across[:-1] + across[-1]
    anchors = views["labelled_embeddings"].reshape(2, 2, 6).mean(axis=0)  # labels 0, 1, 0, 1
    distances = np.linalg.norm(views["embeddings"][:, None] - anchors, axis=2).max(axis=1)
    expected = epsilon / np.sqrt(6) * distances * np.linalg.norm(across[:-1]) - np.abs(leads)
    picks = mix(views, 60, epsilon=epsilon)
    np.testing.assert_allclose(picks.scores, expected[picks.rows], rtol=1e-9)
    assert (np.diff(picks.scores) <= 0).all()


@pytest.mark.parametrize("weight", [0.0, 1.0])
def test_with_equal_weights_there_is_no_way_to_another_class(weight: float) -> None:
    views = pool(8, classes=3)
    views["head"] = np.column_stack([np.full((3, 6), weight), [0.0, 2.0, 0.5]])
    assert mix(views, 8).scores.tolist() == pytest.approx([-1.5] * 8)


def test_anchors_are_the_classes_that_are_labelled() -> None:
    views = pool(30, classes=5)
    first = mix(views, 30)
    views["labels"] = np.array([7, 7, 2, 2])
    second = mix(views, 30)
    middles = views["labelled_embeddings"].reshape(2, 2, 6).mean(axis=1)
    single = {**views, "labelled_embeddings": middles, "labels": np.array([0, 1])}
    np.testing.assert_allclose(mix(single, 30).scores, second.scores)
    assert not np.allclose(first.scores, second.scores)


def three_groups(rng: np.random.Generator, lengths: Array) -> Array:
    """90 rows in three directions of the plane, tightly, of given lengths."""
    angles = np.repeat([0.0, 2.0, 4.0], 30) + rng.normal(size=90) / 100
    rows: Array = lengths[:, None] * np.column_stack([np.cos(angles), np.sin(angles)])
    return rows


@pytest.mark.parametrize("seed", range(5))
def test_alfa_mix_picks_one_of_each_direction_whatever_the_length(seed: int) -> None:
    rng = np.random.default_rng(seed)
    views = {
        "embeddings": three_groups(rng, rng.uniform(1, 1000, size=90)),
        "head": np.array([[1.0, 0.0, 0.0], [0.0, 1.0, 0.0], [-1.0, -1.0, 0.0]]),
        "labelled_embeddings": np.zeros((1, 2)),
        "labels": np.array([0]),
    }
    picks = mix(views, 3, seed, epsilon=5.0)
    assert (picks.scores > 0).all()
    assert sorted(picks.rows // 30) == [0, 1, 2]


def test_what_changes_is_picked_before_what_does_not() -> None:
    views = pool(100)
    every = mix(views, 100)
    changed = int((every.scores > 0).sum())
    assert 5 < changed < 95
    assert mix(views, changed + 5).rows.tolist() == every.rows[: changed + 5].tolist()
    few = mix(views, changed - 3)
    assert set(few.rows) < set(every.rows[:changed])
    assert few.rows.tolist() != every.rows[: changed - 3].tolist()
    assert (np.diff(few.scores) <= 0).all()


def fragile_and_sturdy() -> dict[str, Array]:
    """Two groups that are class 1 by one of two features, and rows that are always class 0."""
    fragile = np.repeat([[0.0, 3.0, 0.0], [0.0, 0.0, 3.0]], 40, axis=0)
    sturdy = np.tile([5.0, 0.0, 0.0], (40, 1))
    noise = np.random.default_rng(0).normal(size=(120, 3)) / 100
    return {
        "embeddings": np.concatenate([fragile, sturdy]) + noise,
        "head": np.array([[1.0, 0.0, 0.0, 0.5], [0.0, 1.0, 1.0, 0.0]]),
    }


@pytest.mark.parametrize("seed", range(5))
def test_drop_query_picks_one_of_each_group_that_changes(seed: int) -> None:
    picks = drop(fragile_and_sturdy(), 2, seed)
    assert sorted(picks.rows // 40) == [0, 1]
    assert (picks.scores > 0.5).all()


def test_scikit_activeml_picks_from_the_same_groups() -> None:
    from skactiveml.base import SkactivemlClassifier
    from skactiveml.pool import DropQuery

    views = fragile_and_sturdy()

    class Head(SkactivemlClassifier):  # type: ignore[misc]
        def fit(self, X: Array, y: Array, sample_weight: Array | None = None) -> Head:
            return self

        def predict_proba(self, X: Array) -> Array:
            raise NotImplementedError

        def predict(self, X: Array) -> Array:
            logits = X @ views["head"][:, :-1].T + views["head"][:, -1]
            return np.asarray(logits.argmax(axis=1))

    for seed in range(5):
        rows = DropQuery(n_dropout_samples=3, random_state=seed).query(
            views["embeddings"], np.full(120, np.nan), Head(classes=[0, 1]), fit_clf=False,
            batch_size=2,
        )  # fmt: skip
        assert sorted(rows // 40) == sorted(drop(views, 2, seed).rows // 40)


def test_half_of_the_passes_is_not_more_than_half() -> None:
    picks = drop(fragile_and_sturdy(), 20, passes=2)
    assert (picks.scores == 1.0).all()
    every = drop(fragile_and_sturdy(), 120, passes=2)
    assert (every.scores == 0.5).sum() > 10


def test_nothing_dropped_changes_nothing_and_leaves_the_smallest_leads_first() -> None:
    views = pool(30)
    logits = views["embeddings"] @ views["head"][:, :-1].T + views["head"][:, -1]
    second, first = np.sort(logits, axis=1)[:, -2:].T
    picks = drop(views, 30, rate=0.0)
    assert picks.scores.tolist() == [0.0] * 30
    assert picks.rows.tolist() == np.argsort(first - second).tolist()


@pytest.mark.parametrize("rate", [0.25, 0.75, 0.9])
def test_what_is_kept_is_scaled_up(rate: float) -> None:
    embeddings = np.full((4000, 1), 1.0)
    # Scaled up, a row is class 2; as it is, or without its feature, class 1.
    head = np.array([[1.0, 0.0], [0.0, 0.9 / (1 - rate)], [1.1, -0.05]])
    changed = drop({"embeddings": embeddings, "head": head}, 4000, passes=1, rate=rate)
    before = (embeddings @ head[:, :-1].T + head[:, -1])[0].argmax()
    kept = (embeddings / (1 - rate) @ head[:, :-1].T + head[:, -1])[0].argmax()
    assert (before, kept) == (1, 2)
    assert changed.scores.mean() == pytest.approx(1 - rate, abs=0.03)

"""What density-weighted strategies promise beyond the laws and their oracles."""

from __future__ import annotations

import math
from functools import partial
from typing import Any

import numpy as np
import pytest
from oracles.density import information_density as density_oracle
from oracles.density import ranked_batch as ranked_oracle
from oracles.density import similarities
from oracles.uncertainty import entropy, least_confidence, margin
from pools import distributions

from alaas.core.arrays import Embeddings
from alaas.strategies.density import information_density, ranked_batch
from alaas.strategies.distances import blocks

UNCERTAINTIES: list[Any] = ["least_confidence", "margin", "entropy"]


def clouds(n: int, seed: int = 0) -> tuple[Any, Any]:
    rng = np.random.default_rng(seed)
    return distributions(rng, n, 3), rng.normal(size=(n, 8))


def unsure(row: Any, measure: str) -> float:
    normalised = {
        "least_confidence": least_confidence(row) * 3 / 2,
        "margin": 1 + margin(row),
        "entropy": entropy(row) / math.log(3),
    }
    return normalised[measure]


def small_blocks(monkeypatch: pytest.MonkeyPatch, numbers: int) -> None:
    cut = partial(blocks, numbers=numbers)
    monkeypatch.setattr("alaas.strategies.density.blocks", cut)


@pytest.mark.parametrize("uncertainty", UNCERTAINTIES)
@pytest.mark.parametrize("beta", [0.0, 0.5, 3.0])
def test_the_score_is_uncertainty_times_a_power_of_mean_similarity(
    uncertainty: Any, beta: float
) -> None:
    probs, embeddings = clouds(50)
    typical = similarities(embeddings, embeddings).mean(axis=1)
    expected = np.array([unsure(row, uncertainty) for row in probs]) * typical**beta
    picks = information_density(probs, embeddings, 50, beta=beta, uncertainty=uncertainty)
    np.testing.assert_allclose(picks.scores, expected[picks.rows], rtol=1e-12)
    np.testing.assert_array_equal(picks.rows, np.argsort(-expected))


@pytest.mark.parametrize("uncertainty", UNCERTAINTIES)
def test_once_all_is_known_a_ranked_batch_is_ranked_by_uncertainty(uncertainty: Any) -> None:
    probs, embeddings = clouds(30)
    expected = [unsure(row, uncertainty) for row in probs]
    picks = ranked_batch(
        probs, embeddings, 30, np.tile(embeddings, (40, 1)), uncertainty=uncertainty
    )
    np.testing.assert_array_equal(picks.rows, np.argsort(expected)[::-1])


@pytest.mark.parametrize("uncertainty", UNCERTAINTIES)
def test_scores_lie_between_0_and_1(uncertainty: Any) -> None:
    half = np.array([[0.5, 0.5, 0.004], [1.0, 0.004, 0.0], [1.005, 0.0, 0.0], [0.333] * 3])
    embeddings = np.array([[1.0, 0.0], [-1.0, 0.0], [1.0, 1e-9], [1.0, 0.0]])
    for picks in (
        information_density(half, embeddings, 4, uncertainty=uncertainty),
        ranked_batch(half, embeddings, 4, embeddings[:1], uncertainty=uncertainty),
    ):
        assert (picks.scores >= 0).all()
        assert (picks.scores <= 1).all()


@pytest.mark.parametrize("numbers", [1, 64])
@pytest.mark.parametrize("labelled", [0, 5])
@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64])
def test_blocks_of_any_size_give_what_the_full_matrix_gives(
    monkeypatch: pytest.MonkeyPatch, numbers: int, labelled: int, dtype: type[np.floating]
) -> None:
    small_blocks(monkeypatch, numbers)
    probs, points = clouds(90 + labelled)
    points = points.astype(dtype)
    probs, pool, known = probs[labelled:], points[labelled:], points[:labelled]
    views = {"probs": probs, "embeddings": pool.astype(np.float64), "labelled_embeddings": known}
    rng = np.random.default_rng(0)
    for picks, (rows, scores) in (
        (information_density(probs, pool, 60), density_oracle(views, 60, rng)),
        (ranked_batch(probs, pool, 60, known), ranked_oracle(views, 60, rng)),
    ):
        assert picks.rows.tolist() == rows
        np.testing.assert_allclose(picks.scores, scores, rtol=1e-11)


@pytest.mark.parametrize("scale", [1e-44, 1e-25, 1e25, 3e38])
def test_lengths_at_the_ends_of_float32_change_nothing(scale: float) -> None:
    rng = np.random.default_rng(3)
    probs = distributions(rng, 200, 3)
    embeddings = (rng.uniform(-1, 1, size=(200, 12)) * scale).astype(np.float32)
    moderate = embeddings.astype(np.float64) / scale
    for picks, expected in (
        (ranked_batch(probs, embeddings, 200), ranked_batch(probs, moderate, 200)),
        (information_density(probs, embeddings, 200), information_density(probs, moderate, 200)),
    ):
        np.testing.assert_array_equal(picks.rows, expected.rows)
        np.testing.assert_allclose(picks.scores, expected.scores, rtol=1e-12)


def test_what_is_labelled_and_sure_scores_no_less_than_0() -> None:
    embeddings = np.random.default_rng(6).normal(size=(300, 20))
    picks = ranked_batch(np.tile([1.0, 0.0], (300, 1)), embeddings, 300, embeddings)
    assert (picks.scores >= 0).all()
    np.testing.assert_allclose(picks.scores, 0.0, atol=1e-15)


def test_a_row_of_zeros_is_half_similar_to_everything() -> None:
    probs = np.full((2, 2), 0.5)
    embeddings = np.array([[0.0, 0.0], [1.0, 0.0]])
    assert information_density(probs, embeddings, 2).scores.tolist() == [0.75, 0.5]
    picks = ranked_batch(probs, embeddings, 1, embeddings[:1])
    assert picks.scores == pytest.approx([2 / 3 * 0.5 + 1 / 3])


def test_an_outlier_is_left_to_the_last() -> None:
    rng = np.random.default_rng(4)
    embeddings = np.array([5.0, 0.0]) + rng.normal(size=(30, 2))
    embeddings[7] = [-5.0, 0.0]
    probs = np.full((30, 2), 0.5)
    assert information_density(probs, embeddings, 30).rows[-1] == 7
    assert ranked_batch(probs, embeddings, 1, embeddings[:1]).rows[0] == 7


@pytest.mark.parametrize("n", [2, 33, 1000])
def test_duplicates_score_the_same_and_go_by_row(n: int) -> None:
    rng = np.random.default_rng(5)
    row: Embeddings = rng.normal(size=37).astype(np.float32)
    probs, embeddings = np.full((n, 3), 1 / 3), np.tile(row, (n, 1))
    for picks in (
        information_density(probs, embeddings, n),
        ranked_batch(probs, embeddings, n, rng.normal(size=(3, 37))),
        ranked_batch(probs, embeddings, n),
    ):
        np.testing.assert_array_equal(picks.rows, np.arange(n))


def test_a_ranked_batch_without_labels_starts_with_the_most_uncertain_row() -> None:
    probs, embeddings = clouds(40)
    first = int(np.argmin(probs.max(axis=1)))
    for labelled in (None, np.empty((0, 8))):
        picks = ranked_batch(probs, embeddings, 40, labelled)
        assert picks.rows[0] == first
        assert picks.scores[0] == 1.0
        assert sorted(picks.rows.tolist()) == list(range(40))


def test_a_ranked_batch_is_the_same_to_the_last_bit_in_blocks_of_any_size(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    rng = np.random.default_rng(7)
    probs, embeddings = distributions(rng, 300, 3), rng.normal(size=(300, 37)).astype(np.float32)
    whole = ranked_batch(probs, embeddings, 200, embeddings[:9])
    for numbers in (37, 111, 999):
        small_blocks(monkeypatch, numbers)
        picks = ranked_batch(probs, embeddings, 200, embeddings[:9])
        np.testing.assert_array_equal(picks.rows, whole.rows)
        np.testing.assert_array_equal(picks.scores, whole.scores)

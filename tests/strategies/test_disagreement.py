"""What the measures of several predictions promise beyond the laws and their oracles."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
from oracles.disagreement import SCORES
from pools import distributions

from alaas.core.arrays import Scores
from alaas.strategies import get
from alaas.strategies.disagreement import (
    bald,
    mc_entropy,
    mc_least_confidence,
    mc_margin,
    mean_std,
    variance,
    variation_ratios,
    vote_entropy,
)
from alaas.strategies.uncertainty import entropy, least_confidence, margin_confidence

MEASURES = [
    variation_ratios,
    vote_entropy,
    mean_std,
    variance,
    mc_least_confidence,
    mc_margin,
    mc_entropy,
    bald,
]

every_measure = pytest.mark.parametrize("measure", MEASURES, ids=lambda measure: measure.__name__)

Measure = Callable[..., Scores]


def some_draws(n: int, draws: int, classes: int) -> np.ndarray:
    return distributions(np.random.default_rng(n + draws + classes), n, draws, classes)


@every_measure
@pytest.mark.parametrize(("draws", "classes"), [(1, 1), (1, 9), (9, 2), (20, 10), (12, 40)])
@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64])
def test_a_row_scores_the_same_alone_and_in_any_crowd(
    measure: Measure, draws: int, classes: int, dtype: type[np.floating]
) -> None:
    pool = some_draws(34, draws, classes).astype(dtype)
    whole = measure(pool)
    assert whole.dtype == np.float64
    for size in (1, 2, 3, 17):
        parts = [measure(pool[at : at + size]) for at in range(0, len(pool), size)]
        np.testing.assert_array_equal(np.concatenate(parts), whole)
    swapped = np.ascontiguousarray(pool.swapaxes(1, 2)).swapaxes(1, 2)
    for layout in (np.asfortranarray(pool), np.repeat(pool, 3, axis=0)[::3], swapped):
        np.testing.assert_array_equal(measure(layout), whole)


@every_measure
def test_pools_of_several_blocks(measure: Measure) -> None:
    pool = some_draws(3000, 20, 10)
    scores = measure(pool)
    for row in (0, 1500, -1):
        assert scores[row] == pytest.approx(SCORES[measure.__name__](pool[row]), rel=1e-9)
    np.testing.assert_array_equal(measure(pool[::-1]), scores[::-1])


@every_measure
def test_predictions_that_agree_and_are_sure_score_least(measure: Measure) -> None:
    agreed = np.zeros((1, 7, 5))
    agreed[:, :, 3] = 1.0
    assert measure(agreed).tolist() == [get(measure.__name__).floor]


@pytest.mark.parametrize("measure", [variation_ratios, vote_entropy, mean_std, variance, bald])
def test_one_prediction_has_nothing_to_disagree_with(measure: Measure) -> None:
    np.testing.assert_array_equal(measure(some_draws(50, 1, 6)), 0.0)


@pytest.mark.parametrize("measure", [mean_std, variance, bald])
def test_predictions_that_agree_do_not_disagree_however_unsure(measure: Measure) -> None:
    agreed = np.repeat(some_draws(50, 1, 6), 7, axis=1)
    scores = measure(agreed)
    assert (scores >= 0).all()
    np.testing.assert_allclose(scores, 0.0, atol=1e-15)


def test_variation_ratios_count_votes_not_probabilities() -> None:
    barely = [[0.51, 0.49]] * 4
    split = [[1.0, 0.0]] * 3 + [[0.0, 1.0]]
    pool = np.array([barely, split])
    assert variation_ratios(pool).tolist() == [0.0, 0.25]
    assert mc_least_confidence(pool).argmax() == 0
    assert variation_ratios(pool).argmax() == 1


def test_a_vote_that_ties_goes_to_the_lowest_class() -> None:
    pool = np.array([[[0.4, 0.4, 0.2], [0.2, 0.4, 0.4]], [[0.4, 0.2, 0.4], [0.4, 0.4, 0.2]]])
    assert variation_ratios(pool).tolist() == [0.5, 0.0]


def test_the_mean_is_taken_of_probabilities_not_of_logits() -> None:
    pool = np.array([[[0.999, 0.001], [0.5, 0.5]]])
    assert mc_margin(pool)[0] == pytest.approx(-0.499)


@pytest.mark.parametrize(
    ("measure", "single"),
    [
        (mc_least_confidence, least_confidence),
        (mc_margin, margin_confidence),
        (mc_entropy, entropy),
    ],
)
def test_a_measure_of_the_mean_of_one_pass_is_that_of_the_pass(
    measure: Measure, single: Measure
) -> None:
    pool = some_draws(20, 1, 5)
    np.testing.assert_array_equal(measure(pool), single(pool[:, 0]))


def test_bald_tells_a_torn_model_from_an_ambiguous_item() -> None:
    torn = [[1.0, 0.0, 0.0], [0.0, 1.0, 0.0], [0.0, 0.0, 1.0]]
    ambiguous = [[1 / 3, 1 / 3, 1 / 3]] * 3
    pool = np.array([torn, ambiguous])
    np.testing.assert_allclose(bald(pool), [np.log(3), 0.0], atol=1e-15)
    np.testing.assert_allclose(mc_entropy(pool), np.log(3))


@pytest.mark.parametrize(
    ("alias", "name"),
    [
        ("BayesianDisagreement", "bald"),
        ("KLDisagreement", "bald"),
        ("ConsensusEntropy", "mc_entropy"),
        ("VoteEntropy", "vote_entropy"),
        ("MeanSTDSampling", "mean_std"),
        ("VarRatioSampling", "variation_ratios"),
    ],
)
def test_names_of_other_libraries_are_known(alias: str, name: str) -> None:
    assert get(alias).name == name


@pytest.mark.parametrize("classes", [2, 5])
def test_a_committee_is_judged_as_scikit_activeml_does(classes: int) -> None:
    from skactiveml import pool as peers

    draws = some_draws(60, 7, classes)
    votes, every = draws.argmax(axis=2), list(range(classes))
    np.testing.assert_allclose(bald(draws), peers.average_kl_divergence(draws.swapaxes(0, 1)))
    np.testing.assert_allclose(variation_ratios(draws), peers.variation_ratios(votes))
    np.testing.assert_allclose(vote_entropy(draws), peers.vote_entropy(votes, every), atol=1e-12)

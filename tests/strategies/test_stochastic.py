"""What sampling in favour of high scores promises beyond the laws and its oracles."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from pools import distributions

from alaas.strategies.disagreement import bald
from alaas.strategies.stochastic import perturbed, power_bald, softmax_bald, softrank_bald
from alaas.strategies.uncertainty import margin_confidence

KINDS: list[Any] = ["power", "softmax", "softrank"]

every_kind = pytest.mark.parametrize("kind", KINDS)


def generator(seed: int = 0) -> np.random.Generator:
    return np.random.default_rng(seed)


@every_kind
@pytest.mark.parametrize("beta", [0.0, 1.0, 1e6])
@pytest.mark.parametrize("scores", [[0.0], [0.0, 0.0], [0.0, 5e-324, 1.0, 0.0], [1e9, 0.0]])
def test_keys_are_finite(kind: Any, beta: float, scores: list[float]) -> None:
    keys = perturbed(np.array(scores), generator(), kind=kind, beta=beta, floor=0.0)
    assert keys.shape == (len(scores),)
    assert np.isfinite(keys).all()


@every_kind
def test_half_precision_scores_are_perturbed_as_such(kind: Any) -> None:
    scores = generator(1).random(50)
    low = scores.astype(np.float16)
    keys = perturbed(low, generator(), kind=kind, beta=3.1, floor=0.0)
    wide = perturbed(low.astype(np.float64), generator(), kind=kind, beta=3.1, floor=0.0)
    np.testing.assert_array_equal(keys, wide)
    assert keys.dtype == np.float64


@every_kind
def test_scores_are_left_as_they_were(kind: Any) -> None:
    scores = generator(2).random(9)
    scores[4] = 0.0
    untouched = scores.copy()
    scores.flags.writeable = False
    perturbed(scores, generator(), kind=kind, beta=1.0, floor=0.0)
    np.testing.assert_array_equal(scores, untouched)


@every_kind
def test_without_beta_every_row_is_as_likely(kind: Any) -> None:
    scores = np.linspace(0.1, 0.9, 40)
    keys = perturbed(scores, generator(3), kind=kind, beta=0.0, floor=0.0)
    np.testing.assert_array_equal(keys, generator(3).gumbel(size=40))


@every_kind
def test_a_large_beta_leaves_the_order_of_the_scores(kind: Any) -> None:
    scores = generator(4).permutation(np.linspace(0.1, 0.9, 40))
    keys = perturbed(scores, generator(5), kind=kind, beta=1e6, floor=0.0)
    np.testing.assert_array_equal(np.argsort(-keys), np.argsort(-scores))


def test_rows_at_the_floor_come_last_in_random_order() -> None:
    scores = np.array([-1.0, -0.5, -1.0, -1.0, -0.999999, -1.0])
    orders = set()
    for seed in range(200):
        keys = perturbed(scores, generator(seed), kind="power", beta=1.0, floor=-1.0)
        order = np.argsort(-keys).tolist()
        assert set(order[:2]) == {1, 4}
        orders.add(tuple(order[2:]))
    assert len(orders) == 24


def test_a_score_that_rounding_left_below_the_floor_counts_as_at_it() -> None:
    keys = perturbed(np.array([-1e-16, 0.5]), generator(), kind="power", beta=1.0, floor=0.0)
    assert np.isfinite(keys).all()
    assert keys.argmax() == 1


@pytest.mark.parametrize("floor", [None, 0.0])
def test_powers_need_a_least_score(floor: float | None) -> None:
    scores = np.array([1.0, 2.0])
    for kind in KINDS[1:]:
        assert len(perturbed(scores, generator(), kind=kind, beta=1.0, floor=floor)) == 2
    if floor is None:
        with pytest.raises(ValueError, match="use 'softmax' or 'softrank'"):
            perturbed(scores, generator(), kind="power", beta=1.0, floor=floor)


def test_a_kind_that_there_is_not_is_refused() -> None:
    with pytest.raises(ValueError, match="must be 'power', 'softmax' or 'softrank', got 'gibbs'"):
        perturbed(np.ones(2), generator(), kind="gibbs", beta=1.0)  # type: ignore[arg-type]


def test_equal_scores_rank_by_row() -> None:
    keys = perturbed(np.ones(5), generator(6), kind="softrank", beta=1e6)
    assert np.argsort(-keys).tolist() == [0, 1, 2, 3, 4]


@every_kind
@pytest.mark.parametrize("beta", [1.0, 8.0])
def test_the_uncertain_half_is_preferred_where_scores_are_negative(kind: Any, beta: float) -> None:
    """Margins lie in [-1, 0]: a sampler blind to their sign prefers what the model is sure of."""
    sure = np.sort(generator(7).uniform(0.5, 1.0, 400))
    scores = margin_confidence(np.stack([sure, 1 - sure], axis=1))
    picked = np.concatenate(
        [
            np.argsort(-perturbed(scores, generator(seed), kind=kind, beta=beta, floor=-1.0))[:40]
            for seed in range(50)
        ]
    )
    assert (picked < 200).mean() > 0.55  # rows 0 to 199 are the uncertain ones


@pytest.mark.parametrize(
    ("kind", "picker"),
    [("power", power_bald), ("softmax", softmax_bald), ("softrank", softrank_bald)],
)
def test_the_pickers_perturb_bald_with_their_beta(kind: Any, picker: Any) -> None:
    draws = distributions(generator(8), 60, 4, 3)
    for beta in (0.5, 3.0):
        keys = perturbed(bald(draws), generator(9), kind=kind, beta=beta, floor=0.0)
        picks = picker(draws, 20, generator(9), beta=beta)
        np.testing.assert_array_equal(picks.rows, np.argsort(-keys)[:20])
        np.testing.assert_array_equal(picks.scores, np.sort(keys)[::-1][:20])

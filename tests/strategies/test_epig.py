"""What the tables cannot say of `epig`, and what Baal says of it and of `bald`.

``fixtures/baal.json`` was written by ``fixtures/make_baal.py``.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from oracles import SEEDED
from pools import distributions
from scipy import stats

from alaas.strategies import Picks, run
from alaas.strategies.batchbald import batch_bald
from alaas.strategies.distances import BLOCK
from alaas.strategies.epig import epig

BAAL = json.loads((Path(__file__).parent / "fixtures" / "baal.json").read_text())


def pick(draws: Any, budget: int, *, seed: int = 0, targets: int = 100) -> Picks:
    return epig(draws, budget, np.random.default_rng(seed), target_rows=targets)


def in_pool_order(picks: Picks) -> list[float]:
    return list(picks.scores[np.argsort(picks.rows)])


@pytest.mark.parametrize("name", ["bald", "epig"])
def test_scores_are_those_of_baal(name: str) -> None:
    draws = np.array(BAAL["draws"])
    selection = run(name, {"draws": draws}, ids=[str(row) for row in range(8)], budget=8)
    scores = [score for _, score in sorted(zip(selection.ids, selection.scores, strict=True))]
    np.testing.assert_allclose(scores, BAAL[name], atol=1e-6)


@pytest.mark.parametrize("targets", [1, 7, 39, 40, 41])
def test_targets_are_random_rows_or_the_whole_pool(targets: int) -> None:
    draws = distributions(np.random.default_rng(1), 40, 4, 3)
    expected = SEEDED["epig"]({"draws": draws}, 40, np.random.default_rng(0), targets)  # type: ignore[call-arg]
    picked = pick(draws, 40, targets=targets)
    assert picked.rows.tolist() == expected[0]
    np.testing.assert_allclose(picked.scores, expected[1], rtol=1e-4, atol=1e-7)


def test_many_classes_are_taken_a_few_targets_at_a_time() -> None:
    classes = 700
    assert 2 < BLOCK / classes**2 < 3
    draws = distributions(np.random.default_rng(2), 5, 3, classes)
    expected = SEEDED["epig"]({"draws": draws}, 5, np.random.default_rng(0))
    picked = pick(draws, 5)
    assert picked.rows.tolist() == expected[0]
    np.testing.assert_allclose(picked.scores, expected[1], rtol=1e-4)


def test_weak_information_is_not_lost_in_rounding() -> None:
    draws = np.full((20, 6, 5), 0.2) + np.random.default_rng(3).normal(0, 1e-3, (20, 6, 5))
    draws /= draws.sum(axis=-1, keepdims=True)
    expected = SEEDED["epig"]({"draws": draws}, 20, np.random.default_rng(0))
    assert 0 < expected[1][0] < 1e-4
    np.testing.assert_allclose(pick(draws, 20).scores, expected[1], atol=1e-7)


def test_equal_rows_are_picked_from_the_lowest() -> None:
    row = distributions(np.random.default_rng(4), 1, 7, 3)
    draws = np.tile(row, (300, 1, 1)).astype(np.float32)
    assert pick(draws, 60).rows.tolist() == list(range(60))


def test_draws_that_agree_tell_nothing_and_never_less() -> None:
    draws = np.repeat(distributions(np.random.default_rng(3), 50, 1, 7), 49, axis=1)
    scores = pick(draws, 50).scores
    assert (scores >= 0).all()
    np.testing.assert_allclose(scores, 0, atol=1e-6)


def test_impossible_and_certain_classes_tell_nothing() -> None:
    draws = np.zeros((4, 3, 3))
    draws[:, :, 1] = 1.0
    draws[3] = np.eye(3)
    rows, scores = pick(draws, 4, targets=4)
    assert rows.tolist() == [3, 0, 1, 2]
    np.testing.assert_allclose(scores, [np.log(3) / 4, 0, 0, 0], atol=1e-7)


def test_what_only_an_odd_row_would_teach_does_not_count() -> None:
    # The draws differ most on the odd row, and not in step with any other.
    chance = np.array([[0.9, 0.9, 0.1, 0.1]] * 30 + [[1.0, 0.0, 1.0, 0.0]])
    draws = np.stack([chance, 1 - chance], axis=-1)
    assert batch_bald(draws, 1, np.random.default_rng(0)).rows.tolist() == [30]
    assert pick(draws, 31).rows.tolist() == list(range(31))


def test_a_hundred_targets_rank_rows_nearly_as_the_whole_pool_does() -> None:
    draws = distributions(np.random.default_rng(6), 1500, 8, 4)
    whole = in_pool_order(pick(draws, 1500, targets=1500))
    some = [in_pool_order(pick(draws, 1500, seed=seed)) for seed in range(3)]
    assert min(stats.spearmanr(whole, ranks).statistic for ranks in some) > 0.9

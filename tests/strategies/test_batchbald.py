"""What the tables cannot say of `batch_bald`.

``fixtures/batchbald_redux.json`` was written by ``fixtures/make_batchbald.py``.
"""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from oracles import SEEDED
from pools import distributions

from alaas.strategies import Picks
from alaas.strategies.batchbald import batch_bald

REDUX = json.loads((Path(__file__).parent / "fixtures" / "batchbald_redux.json").read_text())


def pick(draws: Any, budget: int, *, seed: int = 0, samples: int = 1000) -> Picks:
    return batch_bald(draws, budget, np.random.default_rng(seed), samples=samples)


@pytest.mark.parametrize("case", REDUX, ids=lambda case: str(np.shape(case["draws"])))
def test_four_picks_are_those_of_batchbald_redux(case: dict[str, Any]) -> None:
    rows, gains = pick(np.array(case["draws"]), 4)
    assert rows.tolist() == case["rows"]
    np.testing.assert_allclose(gains.cumsum(), case["joint_information"], rtol=1e-9)


def test_a_large_pool_is_picked_from_as_by_the_oracle() -> None:
    draws = distributions(np.random.default_rng(3), 400, 5, 4)
    rows, gains = SEEDED["batch_bald"]({"draws": draws}, 4, np.random.default_rng(0))
    picked = pick(draws.astype(np.float32), 4)
    assert picked.rows.tolist() == rows
    np.testing.assert_allclose(picked.scores, gains, rtol=1e-6)


def test_unlikely_answers_count() -> None:
    draws = distributions(np.random.default_rng(3), 20, 5, 4) ** 6
    draws /= draws.sum(axis=-1, keepdims=True)
    rows, gains = SEEDED["batch_bald"]({"draws": draws}, 4, np.random.default_rng(0))
    picked = pick(draws, 4)
    assert picked.rows.tolist() == rows
    np.testing.assert_allclose(picked.scores, gains, rtol=1e-9)


def test_gains_that_float32_cannot_tell_apart_are_told_apart() -> None:
    chance = 0.6 + 1e-10 * np.arange(30)
    assert len(set(chance.astype(np.float32))) == 1
    other = np.full(30, 0.9)  # the nearer to it, the less the draws differ
    draws = np.stack([np.stack([p, 1 - p], axis=-1) for p in (chance, other)], axis=1)
    assert pick(draws, 3).rows[0] == 0
    assert pick(draws[::-1], 3).rows[0] == 29


def test_sampled_answers_tell_what_all_answers_tell() -> None:
    draws = distributions(np.random.default_rng(1), 9, 6, 4) ** 2
    draws /= draws.sum(axis=-1, keepdims=True)
    every = pick(draws, 9, samples=4**8).scores
    sampled = pick(draws, 9, samples=4**8 - 1).scores
    # The joint information of all rows does not depend on the order in which they are picked.
    assert sampled.sum() == pytest.approx(every.sum(), rel=0.002)
    few = [pick(draws, 9, samples=600, seed=seed).scores.sum() for seed in range(30)]
    assert np.mean(few) == pytest.approx(every.sum(), rel=0.02)
    assert np.std(few) > 0


def test_all_answers_are_counted_while_they_are_few_enough() -> None:
    draws = distributions(np.random.default_rng(1), 12, 5, 3)
    assert pick(draws, 4, seed=0, samples=27).scores.tolist() == (
        pick(draws, 4, seed=1, samples=27).scores.tolist()
    )
    first, second = (pick(draws, 4, seed=seed, samples=26).scores for seed in (0, 1))
    assert first[:3].tolist() == second[:3].tolist()
    assert first[3] != second[3]


def test_impossible_answers_are_not_counted() -> None:
    # Ten rows tell the three bits of the number of the draw, again and again: 8 answers in all.
    bits = (np.arange(8) >> np.arange(3)[:, None]) & 1
    draws = np.eye(2)[np.concatenate([np.repeat(bits[:1], 8, axis=0), bits[1:]])]
    rows, gains = pick(draws, 10, samples=16)
    assert rows.tolist() == [0, 8, 9, 1, 2, 3, 4, 5, 6, 7]
    np.testing.assert_allclose(gains, [math.log(2)] * 3 + [0] * 7, atol=1e-12)


def test_a_copy_of_what_is_picked_brings_less_than_another_row() -> None:
    rng = np.random.default_rng(4)
    certain_of_different = np.eye(3)[rng.permuted(np.tile(np.arange(3), (2, 2)), axis=1)]
    doubtful = 0.8 * certain_of_different + 0.2 / 3
    draws = np.concatenate([doubtful[:1], doubtful[:1], 0.9 * doubtful[1:] + 0.1 / 3])
    rows, _ = pick(draws, 3)
    assert rows.tolist() == [0, 2, 1]


@pytest.mark.parametrize("samples", [1, 9, 1000])
def test_equal_rows_are_picked_from_the_lowest(samples: int) -> None:
    draws = np.tile(distributions(np.random.default_rng(5), 1, 7, 3), (300, 1, 1))
    rows, gains = pick(draws.astype(np.float32), 40, samples=samples)
    assert rows.tolist() == list(range(40))
    assert (gains >= 0).all()


def test_no_batch_tells_more_than_which_draw_is_right() -> None:
    draws = distributions(np.random.default_rng(6), 30, 4, 2)
    gains = pick(draws, 10, samples=2**10).scores
    assert (np.diff(gains) <= 1e-12).all()
    assert gains.sum() <= math.log(4)


def test_long_answers_do_not_underflow() -> None:
    draws = distributions(np.random.default_rng(7), 400, 3, 40)
    rows, gains = pick(draws, 400, samples=30)
    assert sorted(rows.tolist()) == list(range(400))
    assert np.isfinite(gains).all()
    assert gains.sum() == pytest.approx(math.log(3), abs=0.25)
    assert gains[-1] < 1e-9

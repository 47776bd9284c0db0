"""What core-sets promise beyond the laws and their oracles."""

from __future__ import annotations

import numpy as np
import pytest
from oracles.coresets import radius

from alaas.core.errors import PoolTooLarge
from alaas.strategies import Sizes, check_params, coresets, get, run
from alaas.strategies.coresets import core_set, lightweight_coreset
from alaas.strategies.geometry import k_center_greedy

NONE = np.empty((0, 2))


def plane(n: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).normal(size=(n, 2))


@pytest.mark.parametrize("seed", range(4))
def test_the_radius_is_below_that_of_greedy_picking(seed: int) -> None:
    pool = plane(150, seed)
    found = radius(pool, NONE, tuple(core_set(pool, 6).rows), 0)
    greedy = radius(pool, NONE, tuple(k_center_greedy(pool, 6).rows), 0)
    assert greedy / 2 <= found < 0.95 * greedy


def test_labelled_rows_cover_their_surroundings() -> None:
    pool = np.array([[0.0], [1.0], [2.0], [7.0], [8.0], [9.0]])
    assert core_set(pool, 1, np.array([[1.0]])).rows.tolist() == [4]
    assert core_set(pool, 1, np.array([[8.0]])).rows.tolist() == [1]


def test_an_outlier_is_left_out_if_the_share_allows_it() -> None:
    pool = np.array([[0.0], [1.0], [2.0], [7.0], [8.0], [9.0], [1000.0]])
    assert core_set(pool, 2, outliers=0.13).rows.tolist() != [1, 4]  # 0.91 of a row is none
    assert sorted(core_set(pool, 2, outliers=0.15).rows.tolist()) == [1, 4]


def test_outliers_may_be_all() -> None:
    assert len(core_set(plane(9), 3, outliers=1.0).rows) == 3


def test_a_wider_gap_takes_fewer_radii(monkeypatch: pytest.MonkeyPatch) -> None:
    pool, tried = plane(60), []
    solve = coresets._cover

    def counted(*given: object) -> object:
        tried.append(given)
        return solve(*given)

    monkeypatch.setattr(coresets, "_cover", counted)
    radii = {}
    for gap in (0.3, 1e-6):
        tried.clear()
        radii[gap] = radius(pool, NONE, tuple(core_set(pool, 5, gap=gap).rows), 0), len(tried)
    (loose, few), (tight, many) = radii[0.3], radii[1e-6]
    assert few < many
    assert tight <= loose <= 1.3 * tight


def test_a_radius_with_too_many_pairs_counts_as_too_small(monkeypatch: pytest.MonkeyPatch) -> None:
    pool = plane(80)
    seen: list[int] = []
    solve = coresets._cover

    def counted(within: object, *rest: object) -> object:
        seen.append(within.nnz)
        return solve(within, *rest)

    monkeypatch.setattr(coresets, "_cover", counted)
    found = radius(pool, NONE, tuple(core_set(pool, 5, gap=0.001).rows), 0)
    first, most = seen[0], max(seen)
    assert first < most
    seen.clear()
    held = radius(pool, NONE, tuple(core_set(pool, 5, gap=0.001, pairs=first).rows), 0)
    assert max(seen) <= first
    assert held >= found


def test_a_pool_whose_first_radius_has_too_many_pairs_is_refused() -> None:
    with pytest.raises(PoolTooLarge, match=r"more than 99 pairs of 80 rows .*max_pool=N") as caught:
        core_set(plane(80), 5, pairs=99)
    assert caught.value.errors[0].pointer == "/parameters/strategy"


def test_max_pool_chooses_from_a_part_of_a_pool_that_is_too_large() -> None:
    pool, ids = plane(80), [str(row) for row in range(80)]
    params = {"pairs": 600, "max_pool": 20}
    assert len(run("core_set", {"embeddings": pool}, ids=ids, budget=5, params=params).ids) == 5


def test_one_branch_still_gives_a_set() -> None:
    pool = plane(60)
    picks = core_set(pool, 6, nodes=1)
    assert len(set(picks.rows.tolist())) == 6
    assert radius(pool, NONE, tuple(picks.rows), 0) <= radius(
        pool, NONE, tuple(k_center_greedy(pool, 6).rows), 0
    )


def test_the_order_of_the_set_is_that_of_greedy_picking() -> None:
    pool, known = plane(60), plane(3, seed=1)
    rows, scores = core_set(pool, 6, known)
    again = k_center_greedy(pool[rows], 6, known)
    assert again.rows.tolist() == list(range(6))
    np.testing.assert_allclose(scores, again.scores, rtol=1e-9)


def test_far_from_the_origin_it_chooses_the_same() -> None:
    pool = plane(40)
    assert core_set(pool + 1e6, 4).rows.tolist() == core_set(pool, 4).rows.tolist()


def test_the_estimate_grows_with_the_pairs_up_to_their_limit() -> None:
    strategy = get("core_set")
    params = check_params(strategy, None)

    def memory(rows: int, **given: int) -> float:
        return strategy.work(Sizes(N=rows, K=9, D=2), {**params, **given}).memory

    assert memory(900) - memory(100) > 1000 * (900**2 - 100**2)
    assert memory(10_000) == pytest.approx(memory(10_000, pairs=10**7) - 1400 * 9e6)


def test_equal_rows_are_equally_likely() -> None:
    picks = lightweight_coreset(np.full((7, 3), 0.1), 7, np.random.default_rng(0))
    np.testing.assert_allclose(picks.scores, 1 / 7)
    assert sorted(picks.rows.tolist()) == list(range(7))


@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64])
def test_chances_sum_to_one_far_from_the_origin(dtype: type[np.floating]) -> None:
    pool = (1000 + np.arange(12).reshape(6, 2) ** 2).astype(dtype)
    picks = lightweight_coreset(pool, 6, np.random.default_rng(1))
    assert picks.scores.sum() == pytest.approx(1)
    assert picks.scores.min() >= 1 / 12
    assert picks.scores.argmax() == picks.rows.tolist().index(5)

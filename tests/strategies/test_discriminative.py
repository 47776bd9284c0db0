"""What discriminative active learning promises beyond the laws and its oracle."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from alaas.strategies import Sizes, check_params, get
from alaas.strategies import discriminative as module
from alaas.strategies.discriminative import discriminative

Array = NDArray[Any]


def rng() -> np.random.Generator:
    return np.random.default_rng(0)


def cloud(n: int, *, dims: int = 5, seed: int = 0) -> Array:
    return np.random.default_rng(seed).normal(size=(n, dims))


def test_a_region_without_labels_comes_first() -> None:
    pool = np.concatenate([cloud(60), 6 + cloud(20, seed=1)])
    rows = discriminative(pool, cloud(15, seed=2), 10, rng(), sub_batches=1).rows
    assert (rows >= 60).all()


def test_more_parts_take_the_picks_from_more_places() -> None:
    far = [[9.0, 0.0], [0.0, 8.0], [-7.0, -7.0]]
    places = np.repeat(far, 10, axis=0)
    pool = np.concatenate([cloud(90, dims=2), places + 0.1 * cloud(30, dims=2, seed=1)])
    labelled = cloud(30, dims=2, seed=2)

    def seen(sub_batches: int) -> int:
        rows = discriminative(pool, labelled, 9, rng(), sub_batches=sub_batches).rows
        return len({(row - 90) // 10 for row in rows if row >= 90})

    assert seen(9) == 3 > seen(1)


def test_probabilities_fall_within_a_part() -> None:
    scores = discriminative(cloud(50), cloud(8, seed=1), 20, rng(), sub_batches=2).scores
    assert (np.diff(scores[:10]) <= 0).all()
    assert (np.diff(scores[10:]) <= 0).all()
    assert ((scores > 0) & (scores < 1)).all()


def test_scale_and_place_of_a_dimension_do_not_matter() -> None:
    pool, labelled = cloud(50), cloud(8, seed=1)
    expected = discriminative(pool, labelled, 12, rng()).rows
    for scale in (np.array([1e-3, 1, 50, 1, 1]), np.array([1, 1, 1, 1e4, 1])):
        moved = discriminative(pool * scale + 7, labelled * scale + 7, 12, rng()).rows
        assert moved.tolist() == expected.tolist()


def test_a_dimension_that_never_varies_changes_nothing() -> None:
    pool, labelled = cloud(50), cloud(8, seed=1)
    widened = (np.column_stack([side, np.full(len(side), 0.1)]) for side in (pool, labelled))
    rows = discriminative(*widened, 12, rng()).rows
    assert rows.tolist() == discriminative(pool, labelled, 12, rng()).rows.tolist()


def test_of_equal_rows_the_lowest_comes_first() -> None:
    pool = np.repeat(cloud(4, dims=33), 9, axis=0)
    rows = discriminative(pool, cloud(3, dims=33, seed=1), 36, rng(), sub_batches=1).rows
    assert (np.diff(rows.reshape(4, 9), axis=1) == 1).all()


def test_a_fit_looks_at_no_more_rows_than_it_may(monkeypatch: pytest.MonkeyPatch) -> None:
    sides: list[tuple[int, int]] = []
    fit = module._fit

    def counted(known: Array, unknown: Array) -> Any:
        sides.append((len(known), len(unknown)))
        return fit(known, unknown)

    monkeypatch.setattr(module, "_fit", counted)
    discriminative(cloud(50), cloud(8, seed=1), 12, rng(), sub_batches=3, fit_rows=10)
    assert sides == [(8, 10), (10, 10), (10, 10)]
    sides.clear()
    discriminative(cloud(50), cloud(8, seed=1), 12, rng(), sub_batches=3)
    assert sides == [(8, 50), (12, 46), (16, 42)]


def test_a_sample_finds_what_the_whole_finds() -> None:
    pool = np.concatenate([cloud(600), 5 + cloud(200, seed=1)])
    rows = discriminative(pool, cloud(50, seed=2), 20, rng(), sub_batches=1, fit_rows=100).rows
    assert (rows >= 600).all()


def test_another_seed_draws_another_sample() -> None:
    pool, labelled = cloud(200), cloud(8, seed=1)
    first, second = (
        discriminative(pool, labelled, 12, np.random.default_rng(seed), fit_rows=10).rows
        for seed in (0, 1)
    )
    assert first.tolist() != second.tolist()


def test_it_agrees_with_scikit_activeml() -> None:
    from skactiveml.classifier import SklearnClassifier
    from skactiveml.pool import DiscriminativeAL
    from sklearn.linear_model import LogisticRegression

    pool = cloud(40)
    pool = (pool - pool.mean(axis=0)) / pool.std(axis=0)
    labelled = 0.5 + cloud(9, seed=1)
    model = LogisticRegression(class_weight="balanced", tol=1e-8, max_iter=1000)
    theirs = DiscriminativeAL(greedy_selection=False, random_state=0).query(
        np.concatenate([labelled, pool]),
        np.array([0.0] * len(labelled) + [np.nan] * len(pool)),
        discriminator=SklearnClassifier(model, classes=[0, 1], random_state=0),
        batch_size=6,
    )
    ours = discriminative(pool, labelled, 6, rng(), sub_batches=6)
    assert ours.rows.tolist() == (theirs - len(labelled)).tolist()


def test_the_estimate_grows_with_the_sample() -> None:
    strategy = get("discriminative")
    params = check_params(strategy, None)
    sizes = Sizes(N=10**6, K=100, M=10**5, D=512)
    small, large = (strategy.work(sizes, {**params, "fit_rows": rows}) for rows in (1_000, 20_000))
    assert large.memory - small.memory == pytest.approx(38_000 * 512 * 40)
    assert large.flops > 2 * small.flops

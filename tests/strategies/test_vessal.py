"""What VeSSAL promises beyond the laws and its oracles."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray
from oracles.badge import gradients
from oracles.vessal import share
from oracles.vessal import vessal as dense_vessal
from pools import distributions

from alaas.core.errors import ModelOutputInvalid, ValidationFailed
from alaas.strategies.vessal import Stream, _Sampler, vessal

Views = dict[str, NDArray[np.floating]]


def pool(n: int, classes: int = 3, dims: int = 4, *, seed: int = 0) -> Views:
    rng = np.random.default_rng(seed)
    return {
        "probs": distributions(rng, n, classes),
        "embeddings": rng.standard_t(4, size=(n, dims)),
    }


def cut(views: Views, part: slice | NDArray[np.int64]) -> Views:
    return {name: view[part] for name, view in views.items()}


def taken(views: Views, size: int, **stream: float) -> list[bool]:
    """What a stream takes that comes in micro-batches of one size."""
    source = Stream(seed=3, **stream)  # type: ignore[arg-type]
    rows = len(views["probs"])
    return np.concatenate(
        [source.take(**cut(views, slice(at, at + size))) for at in range(0, rows, size)]
    ).tolist()


@pytest.mark.parametrize(("n", "budget"), [(400, 30), (200, 190)])
def test_many_rows_are_picked_as_by_dense_inverses(n: int, budget: int) -> None:
    views = pool(n)
    rows, scores = dense_vessal(views, budget, np.random.default_rng(1))
    picks = vessal(**views, budget=budget, rng=np.random.default_rng(1))
    assert picks.rows.tolist() == rows
    np.testing.assert_allclose(picks.scores, scores, rtol=1e-7)


def test_a_shuffled_pass_is_a_pass_over_the_shuffled_pool() -> None:
    views, rng = pool(60), np.random.default_rng(2)
    order = rng.permutation(60)
    rows, scores = dense_vessal(cut(views, order), 9, rng)
    picks = vessal(**views, budget=9, rng=np.random.default_rng(2), shuffle=True)
    assert picks.rows.tolist() == order[rows].tolist()
    np.testing.assert_allclose(picks.scores, scores, rtol=1e-7)


def test_what_the_pass_leaves_open_goes_to_the_highest_share() -> None:
    views = pool(12)
    views["probs"][2:] = [1.0, 0.0, 0.0]
    for seed in range(10):
        picks = vessal(**views, budget=6, rng=np.random.default_rng(seed))
        assert {0, 1} <= set(picks.rows.tolist())
        assert (picks.scores[2:] == 0).all()


def test_directions_that_are_rare_are_picked_above_their_share() -> None:
    rng = np.random.default_rng(4)
    number = rng.choice(3, p=[0.95, 0.04, 0.01], size=1500)
    points = 5 * np.eye(40)[number] + 0.1 * rng.normal(size=(1500, 40))
    probs = np.full((1500, 30), 1 / 30)
    counts = np.zeros(3)
    for _ in range(30):  # 1,200 numbers are a gradient, 128 stand for them
        picks = vessal(probs, points, 30, rng, dimensions=128)
        counts += np.bincount(number[picks.rows], minlength=3)
    expected = 900 * np.bincount(number) / 1500
    assert (counts[1:] > [1.4, 2.5] * expected[1:]).all()


def test_where_no_row_has_a_gradient_all_are_equally_likely() -> None:
    probs, points = np.tile([0.0, 1.0], (5, 1)), np.ones((5, 2))
    counts = np.zeros(5)
    for seed in range(500):
        picks = vessal(probs, points, 2, np.random.default_rng(seed))
        assert picks.scores.tolist() == [1.0, 1.0]
        counts[picks.rows] += 1
    assert abs(counts - 200).max() < 4 * np.sqrt(200 * 0.6)


@pytest.mark.parametrize("dimensions", [5, 256])
def test_a_stream_may_be_cut_anywhere(dimensions: int) -> None:
    views = pool(800)
    whole = taken(views, 800, rate=0.1, dimensions=dimensions)
    assert 0 < sum(whole) < 800
    for size in (1, 7, 256, 300):
        assert taken(views, size, rate=0.1, dimensions=dimensions) == whole


def test_a_stream_follows_dense_inverses() -> None:
    views, rate = pool(400), 0.15
    dense, rows = gradients(views), list[int]()
    for row, draw in enumerate(np.random.default_rng(3).random(400)):
        z = rate * (1 + (rate * row - len(rows)) / 100)
        if draw < z * share(dense[row], dense[: row + 1], dense[rows], 0.5):
            rows.append(row)
    assert np.flatnonzero(taken(views, 50, rate=rate, lamb=0.5)).tolist() == rows


@pytest.mark.parametrize("rate", [0.01, 0.1, 0.5])
@pytest.mark.parametrize("dims", [2, 60])
def test_a_stream_takes_its_rate_in_the_long_run(rate: float, dims: int) -> None:
    rows = 10_000
    count = sum(taken(pool(rows, dims=dims, seed=5), 500, rate=rate, dimensions=64))
    assert abs(count - rate * rows) < 3 * np.sqrt(rate * rows) + 0.02 * rate * rows


def test_a_stream_follows_its_seed() -> None:
    views = pool(300)
    first, again, other = (
        Stream(0.2, seed=seed).take(**views).tolist() for seed in (1, 1, 2)
    )  # fmt: skip
    assert first == again != other


def test_an_empty_micro_batch_takes_nothing() -> None:
    views, stream = pool(40), Stream(0.5, seed=3)
    assert stream.take(**cut(views, slice(0))).shape == (0,)
    assert stream.take(**views).tolist() == taken(views, 40, rate=0.5)


@pytest.mark.parametrize("rate", [0.0, -0.1, 1.5, float("nan")])
def test_a_rate_is_a_share(rate: float) -> None:
    with pytest.raises(ValidationFailed, match="rate must be above 0 and at most 1, got"):
        Stream(rate)


def test_a_stream_refuses_what_it_cannot_use() -> None:
    with pytest.raises(ValidationFailed, match="lamb must be a finite number"):
        Stream(0.1, lamb=0.0)
    stream = Stream(0.1)
    stream.take(**pool(5))
    with pytest.raises(ModelOutputInvalid, match=r"began with C, D = \(3, 4\), got .* \(3, 7\)"):
        stream.take(**pool(5, dims=7))
    with pytest.raises(ModelOutputInvalid, match="must be finite"):
        stream.take(pool(2)["probs"], np.full((2, 4), np.nan))


def test_gradients_stand_by_class_however_they_are_ranked() -> None:
    sampler = _Sampler(3, 2, 6, 1.0, np.random.default_rng(0))
    probs, points = np.array([[0.1, 0.7, 0.2]]), np.array([[3.0, 5.0]])
    residual = np.array([0.1, -0.3, 0.2])
    np.testing.assert_allclose(
        sampler._gradients(probs, points)[0], np.outer(residual, points[0]).ravel()
    )


def test_signs_keep_inner_products_on_average() -> None:
    views = pool(4, classes=5, dims=6)
    dense = gradients(views)
    exact = dense @ dense.T
    lengths = np.sqrt(np.diag(exact))
    products = []
    for seed in range(400):
        sketched = _Sampler(5, 6, 16, 1.0, np.random.default_rng(seed))._gradients(**views)
        assert sketched.shape == (4, 16)
        products.append((sketched @ sketched.T - exact) / np.outer(lengths, lengths))
    errors = np.array(products)
    assert (errors.std(axis=0) < np.sqrt(8 / 16)).all()
    assert (np.abs(errors.mean(axis=0)) < 4 * errors.std(axis=0) / np.sqrt(400)).all()

"""What expected gradient length and DeepFool promise beyond the laws and their oracles."""

from __future__ import annotations

import numpy as np
from pools import pool

from alaas.strategies import run
from alaas.strategies.model_change import deep_fool, expected_gradient_length


def test_expected_gradient_length_is_that_of_the_last_layer() -> None:
    """The gradient of -ln p(y) by weights and biases is (p - e_y) (h, 1)^T."""
    views = pool(20, classes=4)
    inputs = np.column_stack([views["embeddings"], np.ones(20)])
    expected, grads = np.zeros(20), np.zeros((20, 4))
    for row, (p, x) in enumerate(zip(views["probs"], inputs, strict=True)):
        for y in range(4):
            gradient = np.outer(p - np.eye(4)[y], x)
            grads[row, y] = np.linalg.norm(p - np.eye(4)[y]) * np.linalg.norm(x)
            expected[row] += p[y] * np.sqrt(np.square(gradient).sum())
    np.testing.assert_allclose(expected_gradient_length(views["probs"], grads), expected)


def test_a_certain_row_expects_no_change_and_a_long_one_more() -> None:
    probs = np.array([[1.0, 0.0], [0.5, 0.5], [0.5, 0.5]])
    grads = np.array([[0.0, 9.0], [1.0, 1.0], [2.0, 2.0]])
    assert expected_gradient_length(probs, grads).tolist() == [0.0, 1.0, 2.0]


def test_deep_fool_takes_the_rows_nearest_to_a_linear_border_first() -> None:
    weights, points = np.array([3.0, 4.0]), np.random.default_rng(0).normal(size=(40, 2))
    steps = -(points @ weights)[:, None] * weights / 25
    np.testing.assert_allclose((points + steps) @ weights, 0, atol=1e-12)
    margins = np.linalg.norm(steps, axis=1)
    ids = [str(row) for row in range(40)]
    selection = run("DFAL", {"margins": margins}, ids=ids, budget=40)
    order = np.argsort(np.abs(points @ weights))
    assert selection.ids == tuple(ids[row] for row in order)
    np.testing.assert_allclose(selection.scores, -np.abs(points @ weights)[order] / 5)


def test_a_row_on_the_border_has_no_negative_zero() -> None:
    assert not np.signbit(deep_fool(np.array([0.0], np.float16))).any()

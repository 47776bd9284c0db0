"""Scaling of probabilities: against closed forms, slow loops, and numbers of a real network."""

from __future__ import annotations

import math
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from numpy.typing import NDArray
from scipy.optimize import minimize, minimize_scalar

from alaas.calibration import (
    Dirichlet,
    Temperature,
    classwise,
    fit,
    nll,
    plot,
    reliability,
    unfit,
)
from alaas.calibration.reliability import binned
from alaas.calibration.scaling import FOLDS, STRENGTHS
from alaas.core.errors import MissingExtra


def softmax(logits: NDArray[Any]) -> NDArray[np.float64]:
    powers = np.exp(logits - logits.max(axis=-1, keepdims=True))
    shares: NDArray[np.float64] = powers / powers.sum(axis=-1, keepdims=True)
    return shares


def drawn(
    M: int, C: int = 3, *, sharper: float = 1.0, seed: int = 0
) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
    """Predictions whose logits are `sharper` times those that their labels are drawn from."""
    rng = np.random.default_rng(seed)
    logits = rng.normal(0, 1.5, (M, C))
    shares = softmax(logits).cumsum(axis=1)
    labels = (rng.random((M, 1)) > shares[:, :-1]).sum(axis=1)
    return softmax(sharper * logits), labels


def likelihood(probs: Sequence[Sequence[float]], labels: Sequence[int]) -> float:
    return -sum(math.log(row[label]) for row, label in zip(probs, labels, strict=True)) / len(probs)


@pytest.mark.parametrize(("right", "of", "said"), [(8, 10, 0.9), (15, 20, 0.95), (19, 20, 0.7)])
def test_temperature_of_equal_predictions_has_a_closed_form(
    right: int, of: int, said: float
) -> None:
    """With two classes, all predicted alike, the scaled probability is the share that is right."""
    probs = np.tile([said, 1 - said], (of, 1))
    fitted = fit("temperature", probs, [0] * right + [1] * (of - right))
    share = right / of
    expected = math.log(said / (1 - said)) / math.log(share / (1 - share))
    assert isinstance(fitted, Temperature)
    assert_allclose(fitted.temperature, expected, rtol=1e-4)
    assert_allclose(fitted(probs)[0, 0], share, rtol=1e-5)


@pytest.mark.parametrize("sharper", [0.3, 1.0, 4.0])
@pytest.mark.parametrize("C", [2, 3, 10])
def test_temperature_is_the_likeliest(C: int, sharper: float) -> None:
    probs, labels = drawn(300, C, sharper=sharper)

    def loss(log: float) -> float:
        return likelihood(softmax(np.log(probs) / math.exp(log)).tolist(), labels.tolist())

    found = minimize_scalar(loss, bounds=(-4, 4), method="bounded", options={"xatol": 1e-8})
    fitted = fit("temperature", probs, labels)
    assert isinstance(fitted, Temperature)
    assert_allclose(math.log(fitted.temperature), found.x, atol=1e-4)


def test_temperature_is_found_again() -> None:
    probs, labels = drawn(20_000, 5, sharper=2.5)
    fitted = fit("temperature", probs, labels)
    assert isinstance(fitted, Temperature)
    assert_allclose(fitted.temperature, 2.5, rtol=0.05)
    assert reliability(probs, labels).error > 0.1
    assert reliability(fitted(probs), labels).error < 0.02


def test_temperature_of_logits_and_of_their_softmax_are_one() -> None:
    logits = np.random.default_rng(3).normal(0, 4, (6, 4)) + 50
    scaled = Temperature(1.7)(softmax(logits))
    assert_allclose(scaled, softmax(logits / 1.7), rtol=1e-10)


def odir(
    logs: NDArray[np.float64], labels: NDArray[np.int64], strength: float
) -> tuple[NDArray[np.float64], NDArray[np.float64], float]:
    """The regularised fit, written down once more and minimised without its gradient."""
    C = logs.shape[1]

    def loss(point: NDArray[np.float64]) -> float:
        weights, bias = point[: C * C].reshape(C, C), point[C * C :]
        total = 0.0
        for row, label in zip(logs, labels, strict=True):
            scores = [sum(weights[c] * row) + bias[c] for c in range(C)]
            total += math.log(sum(math.exp(score) for score in scores)) - scores[label]
        aside = sum(weights[i, j] ** 2 for i in range(C) for j in range(C) if i != j)
        return float(
            total / len(logs) + strength * (aside / (C * (C - 1)) + sum(b * b for b in bias) / C)
        )

    start = np.concatenate([np.eye(C).ravel(), np.zeros(C)])
    found = minimize(loss, start, method="BFGS", options={"gtol": 1e-7})
    return found.x[: C * C].reshape(C, C), found.x[C * C :], float(found.fun)


def twisted(M: int, C: int = 3) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
    """Predictions that are off in a way that no temperature mends: one class is favoured."""
    probs, labels = drawn(M, C, sharper=2.0, seed=7)
    moved = softmax(np.log(probs) + np.arange(C) * 1.5)
    return moved, labels


def test_dirichlet_is_the_likeliest_with_its_regularisation() -> None:
    probs, labels = twisted(90)
    fitted = fit("dirichlet", probs, labels)
    assert isinstance(fitted, Dirichlet)
    assert fitted.strength in STRENGTHS
    weights, bias, _ = odir(np.log(probs), labels, fitted.strength)
    assert_allclose(fitted.weights, weights, atol=2e-3)
    assert_allclose(fitted.bias, bias, atol=2e-3)


def test_dirichlet_takes_the_strength_that_held_out_items_like_best() -> None:
    probs, labels = twisted(60)
    logs, folds = np.log(probs), np.empty(60, int)
    for label in range(3):
        folds[labels == label] = np.arange((labels == label).sum()) % FOLDS

    def held(strength: float) -> float:
        total = 0.0
        for fold in range(FOLDS):
            weights, bias, _ = odir(logs[folds != fold], labels[folds != fold], strength)
            there = folds == fold
            scaled = softmax(logs[there] @ weights.T + bias)
            total += likelihood(scaled.tolist(), labels[there].tolist()) * int(there.sum())
        return total / 60

    fitted = fit("dirichlet", probs, labels)
    assert isinstance(fitted, Dirichlet)
    losses = {strength: held(strength) for strength in STRENGTHS}
    assert fitted.strength == min(losses, key=losses.__getitem__)
    assert losses[fitted.strength] < nll(probs, labels)


def test_dirichlet_mends_what_temperature_cannot() -> None:
    probs, labels = twisted(2_000)
    cut = 1_000
    errors = {}
    for method in ("temperature", "dirichlet"):
        scaled = fit(method, probs[:cut], labels[:cut])(probs[cut:])  # type: ignore[arg-type]
        errors[method] = nll(scaled, labels[cut:]), classwise(scaled, labels[cut:]).mean()
    assert errors["dirichlet"][0] < errors["temperature"][0] - 0.05
    assert errors["dirichlet"][1] < 0.5 * errors["temperature"][1]
    true, same = drawn(2_000, sharper=1.0, seed=7)
    assert_array_equal(same, labels)
    assert errors["dirichlet"][0] < nll(true[cut:], labels[cut:]) + 0.02


def test_dirichlet_stays_away_where_it_does_not_help() -> None:
    """Ten labels drawn from the predictions themselves tell nothing that would hold."""
    kept = 0
    for seed in range(10):
        probs, labels = drawn(12, 3, seed=seed)
        if unfit("dirichlet", labels, 3):
            continue
        fitted = fit("dirichlet", probs, labels)
        if not fitted.changes:
            kept += 1
            assert_allclose(fitted(probs), probs, rtol=1e-10)
    assert kept >= 3


@pytest.mark.parametrize("method", ["temperature", "dirichlet"])
@pytest.mark.parametrize("seed", range(5))
def test_no_fit_is_less_likely_than_none_on_its_own_items(method: Any, seed: int) -> None:
    probs, labels = drawn(40, 4, sharper=0.5 + seed, seed=seed)
    assert nll(fit(method, probs, labels)(probs), labels) <= nll(probs, labels) + 1e-12


@pytest.mark.parametrize("method", ["temperature", "dirichlet"])
def test_the_same_items_give_the_same_fit(method: Any) -> None:
    probs, labels = twisted(50)
    first, second = (fit(method, probs, labels)(probs) for _ in range(2))
    assert first.tobytes() == second.tobytes()


@pytest.mark.parametrize("fitted", [Temperature(0.3), Dirichlet(np.eye(3)[::-1] * 2, np.ones(3))])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_what_is_scaled_keeps_its_shape_and_sums_to_one(fitted: Any, dtype: Any) -> None:
    draws = softmax(np.random.default_rng(0).normal(0, 3, (5, 4, 3))).astype(dtype)
    scaled = fitted(draws)
    assert (scaled.shape, scaled.dtype) == (draws.shape, dtype)
    assert_allclose(scaled.sum(axis=-1), 1, rtol=1e-6)
    for row in range(5):  # each draw by itself
        assert_allclose(scaled[row], fitted(draws[row]), rtol=1e-6)
    assert fitted(draws[:0]).shape == (0, 4, 3)


def test_blocks_change_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    probs, _ = drawn(50)
    whole = Temperature(2.0)(probs)
    monkeypatch.setattr("alaas.calibration.scaling._BLOCK", 7)
    assert_allclose(Temperature(2.0)(probs), whole, rtol=1e-12)


def test_certainty_stays_finite() -> None:
    probs = np.repeat(np.eye(2), 30, axis=0).astype(np.float32)
    labels = np.array([0] * 27 + [1] * 30 + [0] * 3)
    for method in ("temperature", "dirichlet"):
        fitted = fit(method, probs, labels)  # type: ignore[arg-type]
        scaled = fitted(probs)
        assert np.isfinite(scaled).all()
        assert nll(scaled, labels) < 0.4 < nll(probs, labels)
    assert_allclose(fit("temperature", probs, labels)(probs)[0, 0], 0.9, atol=0.01)


def test_predictions_that_are_always_right_get_as_sure_as_there_is() -> None:
    probs = np.repeat([[0.6, 0.4], [0.4, 0.6]], 10, axis=0)
    fitted = fit("temperature", probs, [0] * 10 + [1] * 10)
    assert isinstance(fitted, Temperature)
    assert 0.01 <= fitted.temperature < 0.05
    assert fitted(probs)[0, 0] > 0.999


@pytest.mark.parametrize(
    ("method", "labels", "classes", "said"),
    [
        ("temperature", [0, 1] * 4, 2, "at least 10 labelled items, got 8"),
        ("dirichlet", [], 2, "at least 10 labelled items, got 0"),
        ("temperature", [1] * 30, 2, "two classes or more, got only 1"),
        ("dirichlet", [0, 2] * 10, 3, "each of the 3 classes, got none of class 1"),
        ("dirichlet", [0, 1] * 10, 1000, "would fit 1,001,000 numbers, and takes up to 200"),
    ],
)
def test_what_nothing_can_be_fitted_to(
    method: Any, labels: list[int], classes: int, said: str
) -> None:
    assert said in unfit(method, labels, classes)
    with pytest.raises(ValueError, match="^" + unfit(method, labels, classes)[:30]):
        fit(method, np.full((len(labels), classes), 1 / classes), labels)


EVEN = np.full((20, 2), 0.5)


@pytest.mark.parametrize(
    ("probs", "labels", "said"),
    [
        (np.where(np.eye(20, 2), np.nan, EVEN), [0, 1] * 10, "must be from 0 to 1, got nan"),
        (EVEN * 8 - 3, [0, 1] * 10, "must sum to 1, got 2 in row 0"),
        (EVEN * [[-2, 4]], [0, 1] * 10, "must be from 0 to 1, got -1"),
        (EVEN * [[0.2, 0.2]], [0, 1] * 10, r"must sum to 1, got 0\.2 in row 0"),
        (EVEN[0], [0, 1], r"must be \(M, C\) with C > 0, got the shape \(2,\)"),
        (EVEN[:, :0], [0, 1] * 10, r"C > 0, got the shape \(20, 0\)"),
        (EVEN, [0, 1] * 9, "20 rows of probabilities have 18 labels"),
        (EVEN, [[0, 1]] * 10, r"labels must be \(M,\), got the shape \(10, 2\)"),
        (EVEN, [0, 2] * 10, "labels must be class numbers from 0 to 1, got 2"),
        (EVEN, [0, -1] * 10, "class numbers from 0 to 1, got -1"),
        (EVEN, [0, 0.5] * 10, r"class numbers from 0 to 1, got 0\.5"),
        (EVEN, [0, math.nan] * 10, "class numbers from 0 to 1, got nan"),
        (EVEN, ["cat", "dog"] * 10, "cat"),
    ],
)
@pytest.mark.parametrize(
    "ask",
    [
        lambda probs, labels: fit("temperature", probs, labels),
        lambda probs, labels: fit("dirichlet", probs, labels),
        nll,
        reliability,
        classwise,
    ],
)
def test_what_is_no_prediction(ask: Any, probs: Any, labels: Any, said: str) -> None:
    with pytest.raises(ValueError, match=said):
        ask(probs, labels)


def test_half_precision_is_near_enough() -> None:
    probs, labels = drawn(200, 50)
    halves = probs.astype(np.float16)
    assert_allclose(nll(halves, labels), nll(probs, labels), rtol=1e-2)
    assert_allclose(reliability(halves, labels).error, reliability(probs, labels).error, atol=0.02)


def test_labels_that_are_no_classes_say_why() -> None:
    assert unfit("temperature", [0, 3] * 5, 3) == (
        "labels must be class numbers from 0 to 2, got 3"
    )


@pytest.mark.parametrize("ask", [unfit, lambda *given: fit(given[0], EVEN, given[1])])
def test_a_way_that_there_is_not(ask: Any) -> None:
    with pytest.raises(ValueError, match="must be temperature or dirichlet, got 'platt'"):
        ask("platt", [0, 1] * 10, 2)


@pytest.mark.parametrize("temperature", [0.0, -1.0, math.nan, math.inf])
def test_what_is_no_temperature(temperature: float) -> None:
    with pytest.raises(ValueError, match="above 0 and finite"):
        Temperature(temperature)


def test_the_likelihood_of_nothing() -> None:
    with pytest.raises(ValueError, match="of no labels"):
        nll(EVEN[:0], [])


@pytest.mark.parametrize(
    ("confidence", "right", "bins", "said"),
    [
        ([0.5], [True], 0, "bins must be 1 or more, got 0"),
        ([0.5, 0.5], [True], 5, r"\(2,\) and \(1,\)"),
        ([1.5], [True], 5, r"from 0 to 1, got 1\.5"),
        ([math.nan], [True], 5, "from 0 to 1, got nan"),
    ],
)
def test_what_cannot_be_put_into_bins(confidence: Any, right: Any, bins: int, said: str) -> None:
    with pytest.raises(ValueError, match=said):
        binned(confidence, right, bins=bins)


def error_by_hand(confidence: list[float], right: list[bool], bins: int) -> float:
    total = 0.0
    for b in range(bins):
        low, high = b / bins, (b + 1) / bins
        rows = [
            row for row, one in enumerate(confidence)
            if low < one <= high or (b == 0 and one == 0)
        ]  # fmt: skip
        if rows:
            accuracy = sum(right[row] for row in rows) / len(rows)
            mean = sum(confidence[row] for row in rows) / len(rows)
            total += len(rows) / len(confidence) * abs(accuracy - mean)
    return total


@pytest.mark.parametrize("bins", [1, 4, 15])
def test_calibration_error_against_a_slow_loop(bins: int) -> None:
    probs, labels = drawn(200, 4, sharper=3.0)
    right = (probs.argmax(axis=1) == labels).tolist()
    expected = error_by_hand(probs.max(axis=1).tolist(), right, bins)
    assert_allclose(reliability(probs, labels, bins=bins).error, expected, rtol=1e-12)
    each = [error_by_hand(probs[:, c].tolist(), (labels == c).tolist(), bins) for c in range(4)]
    assert_allclose(classwise(probs, labels, bins=bins), each, rtol=1e-12)


def test_bins_hold_their_upper_edge() -> None:
    found = binned([0.0, 0.25, 0.250001, 0.5, 1.0], [True] * 5, bins=4)
    assert found.counts.tolist() == [2, 2, 0, 1]
    assert np.isnan(found.accuracy[2])
    # Bins of 0 and 0.25, of 0.250001 and 0.5, and of 1, all of them right.
    expected = 2 / 5 * (1 - 0.125) + 2 / 5 * (1 - 0.3750005) + 0
    assert found.error == pytest.approx(expected)


def test_perfect_predictions_have_no_error() -> None:
    assert reliability(np.eye(3), [0, 1, 2]).error == 0
    assert reliability(np.eye(3), [1, 2, 0]).error == 1
    assert classwise(np.eye(3), [0, 1, 2]).tolist() == [0, 0, 0]


def test_a_diagram_is_drawn(tmp_path: Path) -> None:
    probs, labels = drawn(200, sharper=3.0)
    figure = plot(reliability(probs, labels), tmp_path / "r.png", title="sharp")
    assert (tmp_path / "r.png").read_bytes().startswith(b"\x89PNG")
    above, below = figure.axes
    error = 100 * reliability(probs, labels).error
    assert above.get_title() == f"sharp: calibration error {error:.1f} %"
    heights = [bar.get_height() for bar in above.patches]
    assert_allclose(heights, np.nan_to_num(reliability(probs, labels).accuracy))
    assert sum(bar.get_height() for bar in below.patches) == 200


def test_a_diagram_without_matplotlib(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "matplotlib.figure", None)
    with pytest.raises(MissingExtra, match="pip install matplotlib"):
        plot(reliability(np.eye(2), [0, 1]))

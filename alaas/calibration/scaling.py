"""Scaling of class probabilities, fitted by maximum likelihood on what is labelled.

Both ways start from ``ln p``, so that they need no logits: a softmax forgets what the two
differ by. Both can leave probabilities as they are, so a fit is never less likely than that.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal, TypeAlias, get_args

import numpy as np
from numpy.typing import ArrayLike, NDArray

from alaas.calibration.predictions import class_numbers, predictions

Method: TypeAlias = Literal["temperature", "dirichlet"]
METHODS: tuple[Method, ...] = get_args(Method)
"""The ways to scale."""

TINY = float(np.finfo(np.float32).tiny)
"""What stands for a probability that was rounded to 0: its logarithm is finite."""

LEAST = 10
"""Labelled items below which nothing is fitted."""

MOST_CLASSES = 200
"""Classes up to which Dirichlet scaling is fitted, of which it has C (C + 1) numbers."""

HOTTEST = 100.0
"""The largest temperature, and one over the smallest: beyond it is certainty, or none."""

STRENGTHS = tuple(10.0**power for power in range(3, -4, -1))
"""What Dirichlet scaling chooses its regularisation from, strongest first."""

FOLDS = 3
"""Parts that the labelled items are cut into for that choice."""

_BLOCK = 1 << 18
"""Probabilities that are scaled at a time."""


@dataclass(frozen=True)
class Temperature:
    """``softmax(ln p / T)``: all classes alike are made less sure, or surer.

    The predicted class stays the same. Guo et al. 2017, arXiv:1706.04599.

    Attributes:
        temperature: T, > 0; above 1 it makes less sure.

    Raises:
        ValueError: It is no such number.
    """

    temperature: float = 1.0

    def __post_init__(self) -> None:
        if not 0 < self.temperature < float("inf"):
            raise ValueError(f"a temperature must be above 0 and finite, got {self.temperature}")

    def __call__(self, probs: NDArray[np.floating]) -> NDArray[np.floating]:
        """The scaled probabilities, (..., C), in their own precision."""
        return _scaled(probs, lambda logs: logs / self.temperature)

    @property
    def changes(self) -> bool:
        """Whether it changes anything."""
        return self.temperature != 1


@dataclass(frozen=True)
class Dirichlet:
    """``softmax(W ln p + b)``: each class by how the others do.

    The predicted class may change. Kull et al. 2019, arXiv:1910.12656.

    Attributes:
        weights: W, (C, C).
        bias: b, (C,).
        strength: The regularisation that it was fitted with.
    """

    weights: NDArray[np.float64]
    bias: NDArray[np.float64]
    strength: float = 0.0

    def __call__(self, probs: NDArray[np.floating]) -> NDArray[np.floating]:
        """The scaled probabilities, (..., C), in their own precision."""
        return _scaled(probs, lambda logs: logs @ self.weights.T + self.bias)

    @property
    def changes(self) -> bool:
        """Whether it changes anything."""
        same = np.array_equal(self.weights, np.eye(len(self.bias)))
        return not same or bool(self.bias.any())


Calibration: TypeAlias = Temperature | Dirichlet


def fit(method: Method, probs: ArrayLike, labels: ArrayLike) -> Calibration:
    """Fit a scaling; the same items in the same order give the same one.

    Dirichlet scaling is regularised off the diagonal and in its bias (ODIR): to the mean
    negative log-likelihood are added ``s / (C (C - 1)) sum_(i != j) w_ij^2`` and ``s / C
    sum_j b_j^2``. The strength s is the one of `STRENGTHS` that makes held-out items most
    likely in three-fold cross-validation; where none makes them likelier than the
    probabilities as they were, these stay as they were.

    Args:
        method: ``temperature`` or ``dirichlet``.
        probs: (M, C) class probabilities of labelled items.
        labels: (M,) their classes, 0 to C - 1.

    Raises:
        ValueError: There is no such method; they are no probabilities or not as many as
            labels; or nothing can be fitted to these items, and the message is that of `unfit`.

    Example:
        >>> probs = np.array([[0.9, 0.1]] * 10)
        >>> fit("temperature", probs, [0] * 8 + [1] * 2).temperature.__round__(3)
        1.585
    """
    rows, classes = predictions(probs, labels)
    if why := unfit(method, classes, rows.shape[1]):
        raise ValueError(why)
    logs = _logs(rows)
    return _temperature(logs, classes) if method == "temperature" else _dirichlet(logs, classes)


def unfit(method: Method, labels: ArrayLike, classes: int) -> str:
    """Why nothing can be fitted to items of these labels, or an empty string.

    Args:
        method: ``temperature`` or ``dirichlet``.
        labels: (M,) class numbers.
        classes: The classes that the model knows, C.

    Raises:
        ValueError: There is no such method.

    Example:
        >>> unfit("temperature", [0, 1], 3)
        'temperature scaling needs at least 10 labelled items, got 2'
    """
    if method not in METHODS:
        raise ValueError(f"the method must be {' or '.join(METHODS)}, got {method!r}")
    try:
        given = class_numbers(labels, classes)
    except ValueError as error:
        return str(error)
    found = np.unique(given)
    if method == "dirichlet" and classes > MOST_CLASSES:
        return (
            f"dirichlet scaling of {classes} classes would fit {classes * (classes + 1):,} "
            f"numbers, and takes up to {MOST_CLASSES} classes; temperature scaling takes any"
        )
    if len(given) < LEAST:
        return f"{method} scaling needs at least {LEAST} labelled items, got {len(given)}"
    if len(found) < 2:
        return f"{method} scaling needs labels of two classes or more, got only {found[0]}"
    if method == "dirichlet" and len(found) < classes:
        # The likelihood alone would make a class that it never saw impossible.
        missing = int(np.setdiff1d(np.arange(classes), found)[0])
        return (
            f"dirichlet scaling needs a labelled item of each of the {classes} classes, got none "
            f"of class {missing}; temperature scaling needs two classes"
        )
    return ""


def nll(probs: ArrayLike, labels: ArrayLike) -> float:
    """The mean negative log-likelihood of labels, in nats.

    Args:
        probs: (M, C) class probabilities.
        labels: (M,) class numbers.

    Raises:
        ValueError: They are no probabilities or class numbers, of the same items, or of none.
    """
    rows, classes = predictions(probs, labels)
    if not len(rows):
        raise ValueError("the mean likelihood of no labels is not known")
    chosen = rows[np.arange(len(rows)), classes]
    return float(-np.log(np.maximum(chosen, TINY)).mean())


def _temperature(logs: NDArray[np.float64], labels: NDArray[np.int64]) -> Temperature:
    rows = np.arange(len(logs))

    def loss(point: NDArray[np.float64]) -> tuple[float, NDArray[np.float64]]:
        scale = float(np.exp(-point[0]))
        scores = logs * scale
        norms = _logsumexp(scores)
        chosen = logs[rows, labels]
        mean = (np.exp(scores - norms[:, None]) * logs).sum(axis=1)
        # With b = 1/T: d/db = E_p[ln p] - ln p_y, and d b / d ln T = -b.
        slope = -scale * float((mean - chosen).mean())
        return float((norms - scale * chosen).mean()), np.array([slope])

    limit = float(np.log(HOTTEST))
    point, reached = _minimum(loss, np.zeros(1), bounds=[(-limit, limit)])
    start, _ = loss(np.zeros(1))
    return Temperature(float(np.exp(point[0]))) if reached < start else Temperature()


def _dirichlet(logs: NDArray[np.float64], labels: NDArray[np.int64]) -> Dirichlet:
    rows = np.arange(len(labels))
    folds = np.empty(len(labels), np.int64)
    for label in np.unique(labels):  # each class is spread over the folds
        (own,) = np.nonzero(labels == label)
        folds[own] = np.arange(len(own)) % FOLDS
    best, chosen = float((_logsumexp(logs) - logs[rows, labels]).mean()), None
    for strength in STRENGTHS:
        held = 0.0
        for fold in range(FOLDS):
            train, test = folds != fold, folds == fold
            if not test.any():
                continue
            fitted = _odir(logs[train], labels[train], strength)
            scores = logs[test] @ fitted.weights.T + fitted.bias
            own = scores[np.arange(len(scores)), labels[test]]
            held += float((_logsumexp(scores) - own).sum())
        if held / len(labels) < best:
            best, chosen = held / len(labels), strength
    if chosen is None:
        return Dirichlet(np.eye(logs.shape[1]), np.zeros(logs.shape[1]))
    return _odir(logs, labels, chosen)


def _odir(
    logs: NDArray[np.float64], labels: NDArray[np.int64], strength: float
) -> Dirichlet:  # fmt: skip
    """The fit of one strength, from the scaling that changes nothing."""
    M, C = logs.shape
    rows, aside = np.arange(M), 1 - np.eye(C)
    pairs = max(1, C * (C - 1))

    def loss(point: NDArray[np.float64]) -> tuple[float, NDArray[np.float64]]:
        weights, bias = point[: C * C].reshape(C, C), point[C * C :]
        scores = logs @ weights.T + bias
        norms = _logsumexp(scores)
        errors = np.exp(scores - norms[:, None])
        errors[rows, labels] -= 1
        beside = weights * aside
        penalty = strength * ((beside**2).sum() / pairs + (bias**2).sum() / C)
        by_weights = errors.T @ logs / M + 2 * strength / pairs * beside
        by_bias = errors.mean(axis=0) + 2 * strength / C * bias
        value = float((norms - scores[rows, labels]).mean() + penalty)
        return value, np.concatenate([by_weights.ravel(), by_bias])

    start = np.concatenate([np.eye(C).ravel(), np.zeros(C)])
    point, _ = _minimum(loss, start)
    return Dirichlet(point[: C * C].reshape(C, C), point[C * C :], strength)


def _minimum(
    loss: Callable[[NDArray[np.float64]], tuple[float, NDArray[np.float64]]],
    start: NDArray[np.float64],
    **rest: Any,
) -> tuple[NDArray[np.float64], float]:
    from scipy.optimize import minimize

    options = {"maxiter": 1000, "ftol": 1e-12, "gtol": 1e-9}
    found = minimize(loss, start, jac=True, method="L-BFGS-B", options=options, **rest)
    return found.x, float(found.fun)


def _scaled(
    probs: NDArray[np.floating], change: Callable[[NDArray[np.float64]], NDArray[np.float64]]
) -> NDArray[np.floating]:
    rows = probs.reshape(-1, probs.shape[-1])
    made = np.empty_like(rows)
    size = max(1, _BLOCK // max(1, rows.shape[1]))
    for start in range(0, len(rows), size):
        part = slice(start, start + size)
        scores = change(_logs(rows[part]))
        made[part] = np.exp(scores - _logsumexp(scores)[:, None])
    return made.reshape(probs.shape)


def _logs(probs: NDArray[np.floating]) -> NDArray[np.float64]:
    return np.log(np.maximum(probs.astype(np.float64), TINY))


def _logsumexp(scores: NDArray[np.float64]) -> NDArray[np.float64]:
    top = scores.max(axis=1)
    total: NDArray[np.float64] = top + np.log(np.exp(scores - top[:, None]).sum(axis=1))
    return total

"""What a model gave, checked before a strategy sees it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from alaas.core.errors import FieldError, ModelOutputInvalid, ValidationFailed
from alaas.strategies.declaration import LABELLED, VIEWS, Strategy

DISTRIBUTIONS = ("probs", "draws", "labelled_probs")
"""The views whose last axis holds class probabilities."""

TOLERANCE = 1e-2
"""How far a row of probabilities may be from summing to 1.

Rounding 1,000 classes to float16 moves a sum by less than 0.001, and 100,000 classes by
up to 0.003; logits and independent sigmoids are further off.
"""


def check_views(
    strategy: Strategy, views: Mapping[str, Any], *, rows: int | None = None
) -> dict[str, NDArray[Any]]:
    """The views that the strategy takes, as read-only arrays.

    Args:
        strategy: The strategy that will be given them.
        views: View name to its rows; those that it does not take are left out.
        rows: Rows that each of the pool must have. None: as many as the first.

    Raises:
        ValidationFailed: A view that it needs is missing, or a label is no class number.
        ModelOutputInvalid: A view has a wrong type or shape, is not finite, or holds
            rows of class probabilities that are none.
    """
    sizes: dict[str, int] = {} if rows is None else {"N": rows}
    checked: dict[str, NDArray[Any]] = {}
    for name in (*strategy.needs, *strategy.labelled, *strategy.optional):
        given = views.get(name)
        if name in LABELLED and (given is None or not len(given)):
            if name in strategy.labelled:
                raise missing_labels(strategy)
            continue
        if given is None:
            message = (
                f"{strategy.name} needs the view {name!r}, got {', '.join(views) or 'no views'}"
            )
            raise ValidationFailed(message, errors=[FieldError("/parameters/strategy", message)])
        checked[name] = array = np.asarray(given).view()
        array.flags.writeable = False
        _check_shape(name, array.shape, sizes)
        _check_values(name, array)
    return checked


def softmax(logits: Any) -> NDArray[np.floating]:
    """Class probabilities of logits, over the last axis, in their own precision.

    Example:
        >>> softmax(np.array([[1000.0, 1000.0], [0.0, -np.inf]]))
        array([[0.5, 0.5],
               [1. , 0. ]])
    """
    raised = np.asarray(logits)
    powers = np.exp(raised - raised.max(axis=-1, keepdims=True))
    shares: NDArray[np.floating] = powers / powers.sum(axis=-1, keepdims=True)
    return shares


def missing_labels(strategy: Strategy) -> ValidationFailed:
    """The error of a strategy that learns from what is labelled, where nothing is."""
    message = f"{strategy.name} needs labelled items: send labelled: [{{uri, label}}, ...]"
    return ValidationFailed(message, errors=[FieldError("/parameters/labelled", message)])


def _check_shape(name: str, shape: tuple[int, ...], sizes: dict[str, int]) -> None:
    """Compare a shape with the letters of its axes, and with the sizes that they had before."""
    axes = VIEWS[name]
    if len(shape) != len(axes) or (shape[0] and 0 in shape):
        raise ModelOutputInvalid(
            f"the view {name!r} must have the axes ({', '.join(axes)}), got shape {shape}"
        )
    for at, (axis, size) in enumerate(zip(axes, shape, strict=True)):
        letter, plus = axis[0], int(axis[1:].strip(" +") or 0)
        if size - plus != sizes.setdefault(letter, size - plus):
            what = f"{size} rows" if at == 0 else f"rows of shape {shape[1:]}"
            raise ModelOutputInvalid(
                f"the view {name!r} has {what}, expected {letter} = {sizes[letter]}"
            )


def _check_values(name: str, array: NDArray[Any]) -> None:
    if name == "labels":
        if not np.issubdtype(array.dtype, np.integer) or (array < 0).any():
            message = "labels must be class numbers, whole and >= 0"
            raise ValidationFailed(message, errors=[FieldError("/parameters/labelled", message)])
    elif not np.issubdtype(array.dtype, np.floating):
        raise ModelOutputInvalid(f"the view {name!r} must hold floats, got {array.dtype}")
    elif array.size:
        (_check_distributions if name in DISTRIBUTIONS else _check_finite)(name, array)


def _check_distributions(name: str, array: NDArray[np.floating]) -> None:
    # NaN fails both comparisons and infinity the second: no separate pass looks for them.
    with np.errstate(invalid="ignore"):
        least = array.min(axis=-1)
        total = array.sum(axis=-1, dtype=np.float64)
        good = (least >= 0) & (np.abs(total - 1) <= TOLERANCE)
    if not good.all():
        at = tuple(np.argwhere(~good)[0].tolist())
        raise ModelOutputInvalid(
            f"the view {name!r} must hold class probabilities: row {at[0]} has the least value "
            f"{least[at]:.6g} and the sum {total[at]:.6g}, allowed are values in [0, 1] that sum "
            f"to 1 within {TOLERANCE}; {_count(good)} rows are wrong"
        )


def _check_finite(name: str, array: NDArray[np.floating]) -> None:
    # The sum of a row is finite only if all of it is, and needs no temporary of its size.
    with np.errstate(invalid="ignore", over="ignore"):
        good = np.isfinite(array.sum(axis=tuple(range(1, array.ndim)), dtype=np.float64))
    if not good.all():
        raise ModelOutputInvalid(
            f"the view {name!r} must be finite: row {int(np.argmin(good))} is not; "
            f"{_count(good)} of {len(array)} rows are wrong"
        )


def _count(good: NDArray[np.bool_]) -> int:
    return int(good.size - np.count_nonzero(good))

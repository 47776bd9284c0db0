"""What a model gave, checked before a strategy sees it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from alaas.core.errors import FieldError, ModelOutputInvalid, ValidationFailed
from alaas.strategies.declaration import AXES, LABELLED, Strategy

DISTRIBUTIONS = ("probs", "draws")
"""The views whose last axis holds class probabilities."""

TOLERANCE = 1e-2
"""How far a row of probabilities may be from summing to 1.

Rounding 1,000 classes to float16 moves a sum by less than 0.001, and 100,000 classes by
up to 0.003; logits and independent sigmoids are further off.
"""


def check_views(
    strategy: Strategy, views: Mapping[str, Any], *, rows: int | None = None
) -> dict[str, NDArray[np.floating]]:
    """The views that the strategy takes, as read-only arrays.

    Args:
        strategy: The strategy that will be given them.
        views: View name to its rows; those that it does not take are left out.
        rows: Rows that each must have. None: as many as the first.

    Raises:
        ValidationFailed: A view that it needs is missing.
        ModelOutputInvalid: A view has a wrong type or shape, is not finite, or holds
            rows of class probabilities that are none.
    """
    checked: dict[str, NDArray[np.floating]] = {}
    for name in strategy.needs:
        if views.get(name) is None:
            message = (
                f"{strategy.name} needs the view {name!r}, got {', '.join(views) or 'no views'}"
            )
            raise ValidationFailed(message, errors=[FieldError("/parameters/strategy", message)])
        checked[name] = _checked(name, views[name], AXES[name])
        rows = len(checked[name]) if rows is None else rows
        if len(checked[name]) != rows:
            raise ModelOutputInvalid(
                f"the view {name!r} has {len(checked[name])} rows, expected {rows}"
            )
    for name in strategy.optional:
        if views.get(name) is not None:
            checked[name] = _checked(name, views[name], LABELLED[name])
            _check_alike(name, checked)
    return checked


def _checked(name: str, given: Any, axes: tuple[str, ...]) -> NDArray[np.floating]:
    array = np.asarray(given).view()
    array.flags.writeable = False
    if not np.issubdtype(array.dtype, np.floating):
        raise ModelOutputInvalid(f"the view {name!r} must hold floats, got {array.dtype}")
    if array.ndim != len(axes) or (len(array) and 0 in array.shape):
        raise ModelOutputInvalid(
            f"the view {name!r} must have the axes ({', '.join(axes)}), got shape {array.shape}"
        )
    if len(array):
        (_check_distributions if name in DISTRIBUTIONS else _check_finite)(name, array)
    return array


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


def _check_alike(name: str, checked: Mapping[str, NDArray[np.floating]]) -> None:
    """Rows of what is labelled must be comparable with those of the pool."""
    pool = checked.get(name.removeprefix("labelled_"))
    if pool is not None and checked[name].shape[1:] != pool.shape[1:]:
        raise ModelOutputInvalid(
            f"the view {name!r} has rows of shape {checked[name].shape[1:]}, "
            f"those of the pool have {pool.shape[1:]}"
        )

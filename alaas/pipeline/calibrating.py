"""Class probabilities of a query, scaled by what is labelled before a strategy reads them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, cast

import numpy as np
from numpy.typing import NDArray

from alaas.calibration import Calibration, fit, nll, reliability, unfit
from alaas.calibration.scaling import Method
from alaas.core.errors import FieldError, ValidationFailed
from alaas.core.types import Calibrated
from alaas.models.card import ModelCard

SCALED = ("probs", "draws", "labelled_probs")
"""The views that hold class probabilities; of draws each is scaled by itself."""


def chosen(
    method: str | None, needs: Sequence[str], *, labelled: bool, card: ModelCard | None
) -> str:
    """The scaling that a query runs: none where its strategy reads no class probabilities.

    Args:
        method: What is asked for.
        needs: Views that the query reads of the pool.
        labelled: Whether anything is labelled.
        card: The model that will run, where it is known already.

    Raises:
        ValidationFailed: There is nothing to fit it to, or the model has no classes of
            which an item has one.
    """
    if method is None:
        return ""
    if card is not None and card.output not in {"softmax", "embedding"}:
        message = f"is for models of one class an item, and {card.name} has output {card.output}"
        raise _refused("calibrate", message)
    if not {*SCALED}.intersection(needs):
        return ""
    if not labelled:
        raise _refused("labelled", f"{method} scaling needs labelled items: send {{uri, label}}")
    return method


def check_labels(method: str, labels: Sequence[float], classes: int) -> None:
    """Refuse to fit a scaling to labels of which none can come.

    Raises:
        ValidationFailed: They are too few, or of too few classes.
    """
    if method and (why := unfit(cast("Method", method), labels, classes)):
        raise _refused("labelled", why)


def fitted(
    method: str, probs: NDArray[np.floating], labels: Sequence[float]
) -> tuple[Calibration, Calibrated]:
    """Fit a scaling to labelled items, and say what it does to them.

    Args:
        method: ``temperature`` or ``dirichlet``.
        probs: (M, C) the model's probabilities of them.
        labels: (M,) their classes.

    Raises:
        ValidationFailed: Items were lost, and those that are left are too few.
    """
    check_labels(method, labels, probs.shape[1])
    classes = np.array(labels, np.int64)
    calibration = fit(cast("Method", method), probs, classes)
    figures = {}
    if method == "temperature":
        figures["temperature"] = float(getattr(calibration, "temperature", 1.0))
    for when, rows in (("before", probs), ("after", calibration(probs))):
        figures[f"nll_{when}"] = nll(rows, classes)
        figures[f"ece_{when}"] = reliability(rows, classes).error
    return calibration, Calibrated(method, len(classes), calibration.changes, figures)


def scaled(
    views: Mapping[str, NDArray[Any]], calibration: Calibration | None
) -> dict[str, NDArray[Any]]:
    """The views with their class probabilities scaled."""
    if calibration is None:
        return dict(views)
    return {
        name: calibration(view) if name in SCALED else view for name, view in views.items()
    }  # fmt: skip


def _refused(key: str, message: str) -> ValidationFailed:
    pointer = f"/parameters/{key}"
    return ValidationFailed(f"{key} {message}" if key == "calibrate" else message,
                            errors=[FieldError(pointer, message)])  # fmt: skip

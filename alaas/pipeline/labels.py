"""What a caller says is labelled already, as the strategies know it."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from alaas.config import QueryParameters
from alaas.core.errors import FieldError, ValidationFailed
from alaas.core.wire import Failure, Item, Label, Labelled, labelled_from_json
from alaas.models.card import ModelCard
from alaas.pipeline.calibrating import check_labels
from alaas.strategies import Strategy
from alaas.strategies.wrappers import Wrappers

VIEWS = {"labelled_embeddings": "embeddings", "labelled_probs": "probs"}
"""The view of an item that stands behind each view of what is labelled."""

POINTER = "/parameters/labelled"


@dataclass(frozen=True, slots=True)
class Known:
    """What is labelled, as far as the strategy of a query uses it.

    Attributes:
        items: The labelled items.
        failures: Those that are lost already.
        labels: Id of an item to its class number, or to its value in regression.
        needs: Views of the items that the model must compute.
    """

    items: Sequence[Item] = ()
    failures: Sequence[Failure] = ()
    labels: Mapping[str, float] = field(default_factory=dict)
    needs: tuple[str, ...] = ()


def read(
    parameters: QueryParameters,
    strategy: Strategy,
    params: Mapping[str, Any],
    card: ModelCard,
    *,
    calibrate: str = "",
) -> Known:
    """Read the labelled items of a query.

    Args:
        parameters: What was asked.
        strategy: The strategy that runs.
        params: Its hyper-parameters.
        card: The model.
        calibrate: The scaling that is fitted to them, if any.

    Raises:
        ValidationFailed: One is of no known form, its id came before, or its label is
            missing, or is none that the model or the strategy knows; or they are too few
            for the scaling.
    """
    wrappers = Wrappers.of(params)
    reads = {*strategy.labelled, *strategy.optional}
    reads |= {"labelled_embeddings"} if wrappers.min_distance else set()
    reads |= {"labels"} if wrappers.balance else set()
    reads |= {"labels", "labelled_probs"} if calibrate else set()
    if not reads:
        return Known()
    found = [labelled_from_json(one, row) for row, one in enumerate(parameters.labelled)]
    _check_unique(found)
    labels = {}
    if reads & {"labels", "targets"}:
        for row, one in enumerate(found):
            if isinstance(one, Labelled):
                number = _number(one.label, row, card)
                if "labels" in reads:
                    _check_class(number, row, card)
                labels[one.item.id] = number
    check_labels(calibrate, [*labels.values()], card.classes)
    return Known(
        items=[one.item for one in found if isinstance(one, Labelled)],
        failures=[one for one in found if isinstance(one, Failure)],
        labels=labels,
        needs=tuple(sorted({VIEWS[name] for name in reads if name in VIEWS})),
    )


def _check_unique(found: Sequence[Labelled | Failure]) -> None:
    first: dict[str, int] = {}
    for row, one in enumerate(found):
        name = one.item.id if isinstance(one, Labelled) else one.id
        if first.setdefault(name, row) != row:
            raise _wrong(row, "id", f"ids must be unique; {name!r} came before, at {first[name]}")


def _number(label: Label | None, row: int, card: ModelCard) -> float:
    if isinstance(label, str):
        if label in card.categories:
            return float(card.categories.index(label))
        known = ", ".join(card.categories[:5]) + (", ..." if len(card.categories) > 5 else "")
        says = f"the model knows {known}" if known else "the model knows its classes by number"
        raise _wrong(row, "label", f"is unknown: {label!r}; {says}")
    if label is None:
        raise _wrong(row, "label", "is missing")
    if not math.isfinite(label):
        raise _wrong(row, "label", f"must be a finite number, got {label!r}")
    return float(label)


def _check_class(number: float, row: int, card: ModelCard) -> None:
    if not number.is_integer() or not 0 <= number < card.classes:
        raise _wrong(
            row, "label", f"must be a class number from 0 to {card.classes - 1}, got {number:g}"
        )


def _wrong(row: int, key: str, message: str) -> ValidationFailed:
    pointer = f"{POINTER}/{row}/{key}"
    return ValidationFailed(f"{pointer}: {message}", errors=[FieldError(pointer, message)])

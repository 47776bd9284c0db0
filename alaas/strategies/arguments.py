"""What a caller may ask of a strategy: its hyper-parameters, a budget and a seed."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from difflib import get_close_matches
from typing import Any

from alaas.core.errors import FieldError, ValidationFailed
from alaas.strategies.declaration import Strategy
from alaas.strategies.parameters import whole
from alaas.strategies.wrappers import COMMON


def check_params(strategy: Strategy, params: Mapping[str, Any] | None) -> dict[str, Any]:
    """The hyper-parameters that the strategy runs with, defaults filled in.

    Those that every strategy has are there only where they ask for something.

    Raises:
        ValidationFailed: A name is unknown, or a value has a wrong type or is out of range.
            All faults are reported together.
    """
    if not isinstance(params, Mapping | None):
        raise refused([("/parameters/params", f"must be an object, got {params!r}")])
    given = dict(params or {})
    values: dict[str, Any] = {}
    faults: list[tuple[str, str]] = []
    for param in strategy.params:
        try:
            values[param.name] = param.read(given.pop(param.name, param.default))
        except ValueError as error:
            faults.append((f"/parameters/params/{param.name}", str(error)))
    for param in COMMON:
        try:
            value = param.read(given.pop(param.name, param.default))
        except ValueError as error:
            faults.append((f"/parameters/params/{param.name}", str(error)))
        else:
            values.update({} if value == param.default else {param.name: value})
    if wish := values.get("sampling"):
        faults += _misfits(strategy, str(wish))
    known = [param.name for param in (*strategy.params, *COMMON)]
    for name in map(str, given):
        near = "".join(f"; did you mean {n!r}?" for n in get_close_matches(name, known, 1))
        valid = f"{strategy.name} has {', '.join(known)}"
        pointer = "/parameters/params/" + name.replace("~", "~0").replace("/", "~1")
        faults.append((pointer, f"is unknown{near or f': {valid}'}"))
    if faults:
        raise refused(faults)
    return values


def _misfits(strategy: Strategy, sampling: str) -> list[tuple[str, str]]:
    """Why a strategy's rows cannot be drawn at random in favour of high scores."""
    pointer = "/parameters/params/sampling"
    if strategy.kind == "picker":
        return [
            (pointer, f"must be 'off': {strategy.name} chooses a set, it scores no single item")
        ]
    if sampling == "power" and strategy.floor is None:
        return [
            (pointer, f"must be 'softmax' or 'softrank': the scores of {strategy.name} have "
                      "no least value, so they have no powers")
        ]  # fmt: skip
    return []


def check_budget(budget: Any) -> int:
    """The number of items asked for.

    Raises:
        ValidationFailed: It is not a whole number >= 1.
    """
    return _check_whole("budget", budget, least=1)


def check_seed(seed: Any) -> int:
    """The seed of a strategy's random generator.

    Raises:
        ValidationFailed: It is not a whole number >= 0.
    """
    return _check_whole("seed", seed, least=0)


def _check_whole(name: str, value: Any, *, least: int) -> int:
    number = whole(value)
    if number is None or number < least:
        message = f"must be a whole number >= {least}, got {value!r}"
        raise refused([(f"/parameters/{name}", message)])
    return number


def refused(faults: Sequence[tuple[str, str]]) -> ValidationFailed:
    """The error that reports faults, each a JSON pointer and what is wrong there."""
    detail = "; ".join(f"{pointer} {message}" for pointer, message in faults)
    return ValidationFailed(detail, errors=[FieldError(*fault) for fault in faults])

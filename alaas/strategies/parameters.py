"""One hyper-parameter of a strategy: its type, its range, and how a value is read."""

from __future__ import annotations

import math
from dataclasses import dataclass
from numbers import Integral, Real
from typing import Annotated, Any, Literal, TypeAlias, get_args, get_origin

Value: TypeAlias = bool | int | float | str
"""What a hyper-parameter can hold; all of it can be written as JSON."""


@dataclass(frozen=True, slots=True)
class Range:
    """The values that a number may have, both ends included; None leaves an end open.

    Example:
        >>> Temperature = Annotated[float, Range(0, None), "Higher is closer to uniform."]
    """

    minimum: float | None = None
    maximum: float | None = None


@dataclass(frozen=True, slots=True)
class Param:
    """One hyper-parameter, read from a keyword-only parameter of a strategy.

    Attributes:
        name: The parameter's name.
        type: ``bool``, ``int``, ``float`` or ``str``.
        default: The value that it has when none is given.
        minimum: The smallest number allowed, or None.
        maximum: The largest number allowed, or None.
        choices: The strings allowed, or None where any is.
        help: One line for a person, or an empty string.
    """

    name: str
    type: type[Value]
    default: Value
    minimum: float | None = None
    maximum: float | None = None
    choices: tuple[str, ...] | None = None
    help: str = ""

    @property
    def allowed(self) -> str:
        """The values that it takes, in words.

        Example:
            >>> Param("beta", float, 1.0, minimum=0).allowed
            'a finite number >= 0'
        """
        if self.choices is not None:
            return "one of " + ", ".join(map(repr, self.choices))
        kinds = {bool: "true or false", int: "a whole number", float: "a finite number"}
        ends = [
            f"{sign} {end}"
            for sign, end in ((">=", self.minimum), ("<=", self.maximum))
            if end is not None
        ]
        return " ".join([kinds.get(self.type, "a string"), " and ".join(ends)]).strip()

    def to_json(self) -> dict[str, Any]:
        """The hyper-parameter as it stands in the catalogue.

        Example:
            >>> Param("beta", float, 1.0, minimum=0).to_json()
            {'type': 'number', 'default': 1.0, 'minimum': 0}
        """
        kinds = {bool: "boolean", int: "integer", float: "number", str: "string"}
        shown = {
            "type": kinds[self.type],
            "default": self.default,
            "minimum": self.minimum,
            "maximum": self.maximum,
            "choices": None if self.choices is None else list(self.choices),
            "help": self.help or None,
        }
        return {key: value for key, value in shown.items() if value is not None}

    def read(self, value: Any) -> Value:
        """The value as the strategy takes it.

        Raises:
            ValueError: It has another type or is out of range; the text says what is allowed.

        Example:
            >>> Param("rounds", int, 1, minimum=1).read(3.0)
            3
        """
        read: Value | None = self._cast(value)
        if read is None or not self._admits(read):
            raise ValueError(f"must be {self.allowed}, got {value!r}")
        return read

    def _admits(self, value: Any) -> bool:
        if self.choices is not None:
            return value in self.choices
        low = self.minimum is not None and value < self.minimum
        high = self.maximum is not None and value > self.maximum
        return not (low or high)

    def _cast(self, value: Any) -> Any:
        if self.type is int:
            return whole(value)
        if self.type is float:
            return _finite(value)
        return value if isinstance(value, self.type) else None


def whole(value: Any) -> int | None:
    """The value as an int, or None where it is no whole number; a bool is none.

    Example:
        >>> whole(3.0), whole(3.5), whole(True), whole("3")
        (3, None, None, None)
    """
    if isinstance(value, Integral) and not isinstance(value, bool):
        return int(value)
    number = _finite(value)
    return int(number) if number is not None and number.is_integer() else None


def _finite(value: Any) -> float | None:
    if isinstance(value, bool) or not isinstance(value, Real):
        return None
    try:
        number = float(value)
    except OverflowError:
        return None
    return number if math.isfinite(number) else None


def read_annotation(name: str, annotation: Any, default: Any) -> Param:
    """Read a hyper-parameter from its annotation and its default.

    Args:
        name: The parameter's name.
        annotation: ``bool``, ``int``, ``float``, ``str`` or a ``Literal`` of strings,
            or one of these in ``Annotated`` with a `Range` and a line of help.
        default: Its default.

    Raises:
        TypeError: The annotation is none of these.
        ValueError: The default is not a value that the annotation allows.
    """
    kind, *notes = (
        get_args(annotation) if get_origin(annotation) is Annotated else (annotation,)
    )  # fmt: skip
    choices = None
    if get_origin(kind) is Literal:
        kind, choices = str, get_args(kind)
    if kind not in (bool, int, float, str) or not all(isinstance(c, str) for c in choices or ()):
        raise TypeError(
            f"{name} must be a bool, int, float, str or a Literal of strings, got {annotation!r}"
        )
    bounds = Range()
    text = ""
    for note in notes:
        if isinstance(note, str):
            text = note
        elif isinstance(note, Range) and kind in (int, float):
            bounds = note
        else:
            raise TypeError(f"{name}: {note!r} does not apply to a {kind.__name__}")
    param = Param(name, kind, default, bounds.minimum, bounds.maximum, choices, text)
    param.read(default)
    return param

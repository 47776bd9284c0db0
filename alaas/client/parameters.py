"""The parameters of a request as every transport can carry them."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from alaas.core.errors import ValidationFailed


def as_json(parameters: Mapping[str, Any]) -> dict[str, Any]:
    """The parameters that were given, as plain JSON values on every transport alike.

    Args:
        parameters: By name; None stands for one that was not given.

    Raises:
        ValidationFailed: One is no JSON value, nor a number or an array of a numerical library.
    """
    given = {key: value for key, value in parameters.items() if value is not None}
    try:
        plain: dict[str, Any] = json.loads(json.dumps(given, default=_plain, allow_nan=False))
    except (TypeError, ValueError) as error:
        raise ValidationFailed(f"/parameters: not a JSON value: {error}") from error
    return plain


def _plain(value: Any) -> Any:
    """A scalar or an array of a numerical library, or a mapping, as JSON has it."""
    if isinstance(value, Mapping):
        return dict(value)
    if hasattr(value, "tolist"):
        return value.tolist()
    raise TypeError(f"{value!r} is a {type(value).__name__}")

"""The configuration described: for editors, for the documentation, for `alaas config`."""

from __future__ import annotations

import json
from typing import Any, NamedTuple

from pydantic.fields import FieldInfo
from pydantic_core import to_jsonable_python

from alaas.config.phrases import allowed
from alaas.config.problems import dotted, fields, settable
from alaas.config.tree import Settings


class Knob(NamedTuple):
    """One key of the configuration.

    Attributes:
        key: Its dotted key.
        type: What its value may be, in words.
        default: Its default as it would stand in YAML, or ``required``.
        help: One line: meaning, unit, range.
    """

    key: str
    type: str
    default: str
    help: str


def json_schema() -> dict[str, Any]:
    """The JSON Schema of a configuration file, by which editors complete and check it."""
    dialect = "https://json-schema.org/draft/2020-12/schema"
    return {"$schema": dialect, **Settings.model_json_schema(mode="validation")}


def describe() -> list[Knob]:
    """Every key that can be set, in the order of declaration.

    Example:
        >>> print(describe()[0].key, describe()[0].default)
        name default_app
    """
    return [
        Knob(
            dotted(path),
            allowed(field.annotation, field.metadata),
            _default(field),
            field.description or "",
        )
        for path, field in fields(Settings)
        if settable(field)
    ]


def _default(field: FieldInfo) -> str:
    if field.is_required():
        return "required"
    value = to_jsonable_python(field.get_default(call_default_factory=True, validated_data={}))
    return value if isinstance(value, str) else json.dumps(value)

"""The kinds of value that a knob can have."""

from __future__ import annotations

from dataclasses import dataclass
from ipaddress import IPv4Network, IPv6Network
from pathlib import Path
from typing import Annotated, Any, Literal, TypeAlias

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    GetCoreSchemaHandler,
    GetJsonSchemaHandler,
    model_validator,
)
from pydantic.json_schema import JsonSchemaValue
from pydantic_core import CoreSchema, PydanticCustomError, core_schema


class Section(BaseModel):
    """Keys that belong together. Frozen; a key that it does not declare is an error."""

    model_config = ConfigDict(
        frozen=True,
        extra="forbid",
        validate_default=True,
        coerce_numbers_to_str=True,
        use_attribute_docstrings=True,
    )

    @model_validator(mode="before")
    @classmethod
    def _null_is_empty(cls, given: Any) -> Any:
        """In YAML, a section whose keys are all commented out is null."""
        return {} if given is None else given


@dataclass(frozen=True)
class Phrase:
    """What a value may be, in words, where its type does not say it well."""

    text: str


def refuse(key: str, message: str) -> PydanticCustomError:
    """The error to raise where the value of `key` does not fit those beside it."""
    return PydanticCustomError("misfit", "{message}", {"key": key, "message": message})


@dataclass(frozen=True)
class OneOrMany:
    """Lets a tuple be written as one value, a list, or null for none."""

    def __get_pydantic_core_schema__(
        self, source: Any, handler: GetCoreSchemaHandler
    ) -> CoreSchema:
        """Validate the value after it was made a tuple."""
        return core_schema.no_info_before_validator_function(_as_tuple, handler(source))

    def __get_pydantic_json_schema__(
        self, schema: CoreSchema, handler: GetJsonSchemaHandler
    ) -> JsonSchemaValue:
        """Show editors both forms."""
        many = handler(schema)
        return {"anyOf": [many["items"], many]}


def _as_tuple(given: Any) -> Any:
    if given is None:
        return ()
    return tuple(given) if isinstance(given, list | tuple) else (given,)


def _refuse_bool(given: Any) -> Any:
    if isinstance(given, bool):
        raise PydanticCustomError("kind", "another kind of value")
    return given


def _refuse_number(given: Any) -> Any:
    # `ipaddress` would read 10 as the address 0.0.0.10.
    if isinstance(given, int | float):
        raise PydanticCustomError("kind", "another kind of value")
    return given


def _expand(path: Path) -> Path:
    try:
        return path.expanduser()
    except RuntimeError as error:
        raise PydanticCustomError("kind", "another kind of value") from error


def none_is_empty(given: Any) -> Any:
    """In YAML, a mapping whose keys are all commented out is null."""
    return {} if given is None else given


LARGEST = 2**63 - 1
"""The largest whole number that every protocol can carry."""

Whole: TypeAlias = Annotated[int, BeforeValidator(_refuse_bool)]
Positive: TypeAlias = Annotated[Whole, Field(gt=0)]
PositiveOrAuto: TypeAlias = Positive | Literal["auto"]
Count: TypeAlias = Annotated[Whole, Field(ge=0)]
Port: TypeAlias = Annotated[Whole, Field(ge=1, le=65535)]
Number: TypeAlias = Annotated[
    float, BeforeValidator(_refuse_bool), Field(allow_inf_nan=False), Phrase("a finite number")
]
Seconds: TypeAlias = Annotated[
    float, BeforeValidator(_refuse_bool), Field(gt=0, le=604_800, allow_inf_nan=False)
]
Text: TypeAlias = Annotated[str, Field(min_length=1), Phrase("text that is not empty")]
Folder: TypeAlias = Annotated[Path, AfterValidator(_expand), Phrase("a path")]
Network: TypeAlias = Annotated[
    IPv4Network | IPv6Network,
    BeforeValidator(_refuse_number),
    Phrase("a network without host bits, such as 10.0.0.0/8"),
]
Device: TypeAlias = Annotated[
    str,
    Field(pattern=r"^(auto|cpu|mps|cuda(:\d{1,3})?)$"),
    Phrase("auto, cpu, mps, cuda or cuda:N"),
]
Params: TypeAlias = Annotated[
    dict[str, Any], BeforeValidator(none_is_empty), Phrase("a mapping of names to values")
]

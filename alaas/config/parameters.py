"""What a query may ask for."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError
from pydantic.alias_generators import to_camel

from alaas.config.phrases import shown
from alaas.config.problems import problems
from alaas.config.values import LARGEST, Params, Phrase, Seconds, Whole
from alaas.core.errors import FieldError, ValidationFailed


class QueryParameters(BaseModel):
    """The parameters of a query. Other keys are ignored; nDrop is n_drop, and so on.

    Example:
        >>> QueryParameters(budget=3).on_item_error
        'skip'
    """

    model_config = ConfigDict(
        frozen=True,
        extra="ignore",
        alias_generator=to_camel,
        validate_by_name=True,
        validate_by_alias=True,
        validate_default=True,
        use_attribute_docstrings=True,
    )

    budget: Annotated[Whole, Field(ge=1, le=LARGEST)]
    """Items to choose, >= 1; one larger than the pool chooses all of it."""

    strategy: str | None = None
    """Any name or alias that the service lists; null takes the configured one."""

    params: Params = Field(default_factory=dict)
    """Hyper-parameters of the strategy, by name."""

    seed: Annotated[Whole, Field(ge=0, le=LARGEST)] = 0
    """Seed of the random generator, >= 0: the same seed makes the same choice."""

    n_drop: Annotated[Whole, Field(ge=1, le=1000)] | None = None
    """Stochastic passes of the model, 1 to 1000, for a strategy that reads several."""

    labelled: Annotated[
        tuple[dict[str, Any], ...], Phrase("a list of {uri, text or blob, label}")
    ] = ()
    """Items that are labelled already: {uri, text or blob, label}, for strategies that use them."""

    on_item_error: Literal["skip", "fail"] = "skip"
    """What one bad item does: skip reports it and goes on, fail ends the query."""

    timeout_s: Seconds | None = None
    """Seconds that the query may take, > 0; null takes the configured limit."""

    model: str | None = None
    """Digest of a receipt's model: a warning tells where another model is served."""


def parse(given: Mapping[str, Any] | None) -> QueryParameters:
    """Read the parameters of a query as a request carries them.

    Args:
        given: The request's `parameters`. A null value is as good as none.

    Raises:
        ValidationFailed: A value is missing or not allowed; ``errors`` points at each.

    Example:
        >>> parse({"budget": 3.0, "nDrop": None}).budget
        3
    """
    if given is not None and not isinstance(given, Mapping):
        raise _failed([FieldError("/parameters", f"must be an object, got {shown(given)}")])
    named = {str(key): value for key, value in (given or {}).items() if value is not None}
    try:
        return QueryParameters.model_validate(named)
    except ValidationError as error:
        found = problems(error, QueryParameters)
    raise _failed([FieldError(f"/parameters/{one.path[0]}", one.message) for one in found])


def _failed(errors: list[FieldError]) -> ValidationFailed:
    return ValidationFailed("; ".join(f"{e.pointer}: {e.message}" for e in errors), errors=errors)

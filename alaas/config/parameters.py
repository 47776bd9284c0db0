"""What a query may ask for."""

from __future__ import annotations

import unicodedata
from collections.abc import Mapping
from typing import Annotated, Any, Literal, TypeAlias, TypeVar

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, StrictBool, ValidationError
from pydantic.alias_generators import to_camel

from alaas.config.phrases import shown
from alaas.config.problems import problems
from alaas.config.values import LARGEST, Params, Phrase, Seconds, Whole
from alaas.core.errors import FieldError, ValidationFailed

P = TypeVar("P", bound=BaseModel)


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

    calibrate: Literal["temperature", "dirichlet"] | None = None
    """How class probabilities are scaled, by the labelled items, before the strategy reads them."""

    on_item_error: Literal["skip", "fail"] = "skip"
    """What one bad item does: skip reports it and goes on, fail ends the query."""

    timeout_s: Seconds | None = None
    """Seconds that the query may take, > 0; null takes the configured limit."""

    cache: StrictBool = True
    """Whether views of items that were seen before may be taken from the store, and kept in it."""

    pool: str | None = None
    """Name of a pushed pool to choose from, in place of items in the request."""

    model: str | None = None
    """Name of a model that the service lists, or the digest of one; null for the default one."""


def _pool_name(given: str) -> str:
    if any(unicodedata.category(char) in ("Cc", "Cs") for char in given):
        raise ValueError(f"must have no control characters, got {given!r}")
    return given


PoolName: TypeAlias = Annotated[
    str,
    Field(min_length=1, max_length=128),
    AfterValidator(_pool_name),
    Phrase("1 to 128 characters, control characters excepted"),
]


class PushParameters(BaseModel):
    """The parameters of a push. Other keys are ignored.

    Example:
        >>> PushParameters(pool="street").ttl_s is None
        True
    """

    model_config = QueryParameters.model_config

    pool: PoolName
    """Name under which the items are stored; a pool of that name is replaced."""

    ttl_s: Seconds | None = None
    """Seconds after which the pool is deleted, > 0; null keeps it until somebody does."""

    strategy: str | None = None
    """A strategy that will choose from it, where it reads more than probs and embeddings."""

    model: str | None = None
    """Name or digest of the model whose views are stored; null for the default one."""

    seed: Annotated[Whole, Field(ge=0, le=LARGEST)] = 0
    """Seed of the stochastic passes, >= 0, where the strategy reads them."""

    n_drop: Annotated[Whole, Field(ge=1, le=1000)] | None = None
    """Stochastic passes of the model to store as well, 1 to 1000."""

    on_item_error: Literal["skip", "fail"] = "skip"
    """What one bad item does: skip reports it and goes on, fail ends the push."""

    timeout_s: Seconds | None = None
    """Seconds that the push may take, > 0; null takes the configured limit."""

    cache: StrictBool = True
    """Whether views of items that were seen before may be taken from the store, and kept in it."""


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
    return _read(QueryParameters, given)


def parse_push(given: Mapping[str, Any] | None) -> PushParameters:
    """Read the parameters of a push, as `parse` reads those of a query."""
    return _read(PushParameters, given)


def _read(kind: type[P], given: Mapping[str, Any] | None) -> P:
    if given is not None and not isinstance(given, Mapping):
        raise _failed([FieldError("/parameters", f"must be an object, got {shown(given)}")])
    named = {str(key): value for key, value in (given or {}).items() if value is not None}
    try:
        return kind.model_validate(named)
    except ValidationError as error:
        found = problems(error, kind)
    raise _failed([FieldError(f"/parameters/{one.path[0]}", one.message) for one in found])


def _failed(errors: list[FieldError]) -> ValidationFailed:
    return ValidationFailed("; ".join(f"{e.pointer}: {e.message}" for e in errors), errors=errors)

"""The bodies of the HTTP API: requests are checked by these, answers are described by them."""

from __future__ import annotations

import json
import math
import sys
from collections.abc import Sequence
from typing import Any, NoReturn

from pydantic import BaseModel, ConfigDict, Field

from alaas.config import LimitsSettings, PushParameters, QueryParameters
from alaas.core import wire
from alaas.core.errors import FieldError, MalformedJSON, NotFound, ValidationFailed
from alaas.core.wire import Failure, Item, item_from_json
from alaas.server.limits import check_document, check_inline

ENDPOINTS = {"/": "query", "/query": "query", "/push": "push"}
"""What the `execEndpoint` of an old request may name, and what is meant."""


class Document(BaseModel):
    """One item: exactly one of `uri`, `text` and `blob`. Other keys are ignored."""

    id: str | None = Field(None, description="Unique in the pool; its row number where missing.")
    uri: str | None = Field(None, description="Where the item can be read.")
    text: str | None = Field(None, description="The item itself, when it is text.")
    blob: str | None = Field(None, description="The bytes of an image, in base64.")


class Documents(BaseModel):
    """A pool in an envelope, as some clients of earlier releases send it."""

    docs: list[Document | str]


class QueryBody(BaseModel):
    """A query. Keys are taken in camelCase and in snake_case; unknown ones are ignored."""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [
                {
                    "data": [
                        {"uri": "https://example.com/a.png"},
                        {"uri": "https://example.com/b.png"},
                    ],
                    "parameters": {"budget": 1},
                }
            ]
        }
    )

    data: list[Document | str] | Documents = Field(
        default_factory=list, description="The pool; empty where `parameters.pool` names one."
    )
    parameters: QueryParameters
    exec_endpoint: str | None = Field(
        None,
        alias="execEndpoint",
        description="Of `POST /post` only: `/query` or `/push`, as clients of the Jina gateway "
        "send it.",
    )


class PushBody(BaseModel):
    """A pool to store under a name. Keys are taken in camelCase and in snake_case."""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [
                {
                    "data": [{"uri": "https://example.com/a.png"}],
                    "parameters": {"pool": "street"},
                }
            ]
        }
    )

    data: list[Document | str] | Documents = Field(description="The pool.")
    parameters: PushParameters


class Header(BaseModel):
    """What clients of the Jina gateway read of a request's fate."""

    requestId: str  # noqa: N815  # their spelling
    status: dict[str, Any]
    execEndpoint: str  # noqa: N815
    targetExecutor: str  # noqa: N815


class Chosen(BaseModel):
    """One chosen item, as it was sent, with its rank and score."""

    id: str
    uri: str | None = None
    text: str | None = None
    blob: str | None = Field(None, description="In base64.")
    rank: int = Field(description="0 for the most wanted.")
    score: float = Field(description="The strategy's score; higher is more wanted.")


class Answer(BaseModel):
    """The answer to a query."""

    header: Header
    parameters: dict[str, Any]
    routes: list[Any]
    data: list[Chosen] = Field(description="The chosen items, best first.")
    failures: list[wire.Failure] = Field(description="The items that could not be ranked.")
    timings: wire.Timings
    receipt: wire.Receipt
    warnings: list[wire.Warn]


class StoredPool(BaseModel):
    """A stored pool."""

    name: str
    items: int
    views: dict[str, list[int]] = Field(description="View to the shape of one row.")
    space: str = Field(description="Where the numbers of its views are comparable.")
    model: str = Field(description="Digest of the model that made them.")
    created: float = Field(description="Seconds since 1970.")
    expires: float | None = Field(description="When it will be deleted, in seconds since 1970.")
    bytes: int = Field(description="What it takes in the store.")


class StoredPools(BaseModel):
    """The stored pools, by name."""

    pools: list[StoredPool]


class PushAnswer(BaseModel):
    """The answer to a push."""

    pool: StoredPool
    failures: list[wire.Failure] = Field(description="The items that are not in it.")
    timings: wire.Timings
    warnings: list[wire.Warn]
    requestId: str  # noqa: N815  # as in the header of the answer to a query


class Info(BaseModel):
    """What runs, how it can be asked, and what it takes."""

    name: str = Field(description="Name of the service, as it is configured.")
    version: str = Field(description="Version of the software.")
    protocols: list[str]
    models: list[dict[str, str]] = Field(description="Name and digest of each model.")
    limits: dict[str, float | None] = Field(
        description="What one item, one query and one caller may cost; null is without a limit."
    )


class Fault(BaseModel):
    """One field at fault."""

    pointer: str = Field(description="JSON pointer of the field.")
    message: str


class Problem(BaseModel):
    """An error, after RFC 9457."""

    type: str
    title: str
    status: int
    detail: str
    instance: str
    code: str = Field(description="Stable; the Python client raises the class of this code.")
    retryable: bool
    errors: list[Fault]


def read_json(body: bytes | bytearray, *, depth: int) -> Any:
    """Parse a body.

    Args:
        body: The bytes.
        depth: Arrays and objects that may be inside each other.

    Raises:
        MalformedJSON: It is not JSON, or a number in it has thousands of digits.
        ValidationFailed: It is nested too deeply, or holds NaN or an infinity, which JSON does
            not know.
    """
    try:
        document = json.loads(body, parse_constant=_refuse, parse_float=_finite)
    except RecursionError:
        raise MalformedJSON(_too_deep(depth)) from None
    except (json.JSONDecodeError, UnicodeDecodeError) as error:
        raise MalformedJSON(f"the body is not JSON: {error}") from None
    except ValueError:  # Python converts no integer of more digits
        most = sys.get_int_max_str_digits()
        raise MalformedJSON(f"a number in the body has more than {most} digits") from None
    _check_depth(document, depth)
    return document


def _refuse(constant: str) -> NoReturn:
    raise ValidationFailed(
        f"{constant} is not a JSON number", errors=[FieldError("", f"{constant} is not allowed")]
    )


def _finite(digits: str) -> float:
    value = float(digits)
    if math.isinf(value):
        raise ValidationFailed(f"the number {digits[:20]} is too large")
    return value


def _check_depth(document: Any, depth: int) -> None:
    """Look at all arrays and objects, level by level: what calls itself would end too early."""
    level = [document] if isinstance(document, dict | list) else []
    for _ in range(depth):
        level = [
            child
            for one in level
            for child in (one.values() if isinstance(one, dict) else one)
            if isinstance(child, dict | list)
        ]
    if level:
        raise ValidationFailed(_too_deep(depth), errors=[FieldError("", _too_deep(depth))])


def _too_deep(depth: int) -> str:
    return f"the body is nested more than {depth} levels deep (limits.depth)"


def read_query(
    document: Any, limits: LimitsSettings | None = None
) -> tuple[dict[str, Any], list[Item | Failure]]:
    """Take a request apart into its parameters and its pool.

    Args:
        document: The request.
        limits: How many items a document may have; None where it is a part of a stream.

    Raises:
        ValidationFailed: A part is missing or of another type; the error names it.
        TooManyItems: It has more items than it may.
    """
    parameters = read_parameters(document)
    data = document.get("data")
    if isinstance(data, dict):
        data = data.get("docs")
    if data is None:
        data = []
    if not isinstance(data, list):
        raise _invalid("/data", f"must be a list, got {type(data).__name__}")
    if limits is None:
        return parameters, read_items(data)
    check_document(len(data), limits)
    items = read_items(data)
    check_inline(sum(isinstance(one, Item) and one.blob is not None for one in items), limits)
    return parameters, items


def read_parameters(document: Any) -> dict[str, Any]:
    """The parameters of a request, not checked yet.

    Raises:
        ValidationFailed: The request is no object, or they are none.
    """
    if not isinstance(document, dict):
        raise _invalid("", f"the body must be an object, got {type(document).__name__}")
    parameters = document.get("parameters")
    if parameters is None:
        return {}
    if not isinstance(parameters, dict):
        raise _invalid("/parameters", f"must be an object, got {type(parameters).__name__}")
    return parameters


def read_items(data: Sequence[Any], start: int = 0) -> list[Item | Failure]:
    """Read documents; `start` is the row of the first of them in the pool."""
    return [item_from_json(one, row) for row, one in enumerate(data, start)]


def read_endpoint(document: Any) -> str:
    """What the `execEndpoint` of an old request asks for: ``query`` or ``push``.

    Raises:
        NotFound: It names something else.
        ValidationFailed: It is no name.
    """
    if not isinstance(document, dict):
        return "query"
    given = document.get("execEndpoint", document.get("exec_endpoint")) or "/"
    if not isinstance(given, str):
        raise _invalid("/execEndpoint", "must be text, such as /query, or null")
    if given not in ENDPOINTS:
        raise NotFound(f"there is no endpoint {given!r}; there are /query and /push")
    return ENDPOINTS[given]


def _invalid(pointer: str, message: str) -> ValidationFailed:
    return ValidationFailed(
        f"{pointer or 'body'}: {message}", errors=[FieldError(pointer, message)]
    )

"""What a server's answer, or the lack of one, means to the caller."""

from __future__ import annotations

import json
from typing import Any

from alaas.client.address import Address
from alaas.core.errors import (
    AlaasError,
    ConnectionFailed,
    DeadlineExceeded,
    NotFound,
    Unavailable,
    from_problem,
)
from alaas.core.wire import QueryResponse

_CODES = {404: NotFound.code, 502: Unavailable.code, 504: DeadlineExceeded.code}


def read_response(document: Any, address: Address) -> QueryResponse:
    """Read the answer to a query from its JSON.

    Raises:
        ConnectionFailed: It is no such answer.
    """
    try:
        return QueryResponse.from_json(document)
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        raise unlike_ours(address, error) from error


def refusal(status: int, body: bytes, address: Address) -> AlaasError:
    """The error that an HTTP status other than 200 stands for.

    Args:
        status: The HTTP status.
        body: A problem document; or anything, where a proxy answered in its place.
        address: Who was asked.
    """
    try:
        problem = json.loads(body)
    except ValueError:
        problem = None
    if isinstance(problem, dict) and "code" in problem:
        return from_problem(problem)
    detail = f"{address} answered with HTTP status {status} and no reason"
    return from_problem({"status": status, "code": _CODES.get(status), "detail": detail})


def unlike_ours(address: Address, error: Exception) -> ConnectionFailed:
    """The error for an answer that this client cannot read."""
    return ConnectionFailed(
        f"what answers at {address} is not this service, or one of another version "
        f"({type(error).__name__}: {error})"
    )


def lost(address: Address, why: object) -> ConnectionFailed:
    """The error for a server that cannot be reached, or not any longer."""
    return ConnectionFailed(f"no connection to {address}: {why}")

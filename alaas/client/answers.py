"""What a server's answer, or the lack of one, means to the caller."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any, TypeVar

from alaas.client.address import Address
from alaas.core.errors import (
    AlaasError,
    ConnectionFailed,
    DeadlineExceeded,
    Forbidden,
    NotFound,
    Unauthenticated,
    Unavailable,
    from_problem,
)
from alaas.core.wire import PoolInfo, PushResponse, QueryResponse

T = TypeVar("T")

_CODES = {
    401: Unauthenticated.code,
    403: Forbidden.code,
    404: NotFound.code,
    502: Unavailable.code,
    504: DeadlineExceeded.code,
}


def read_response(document: Any, address: Address) -> QueryResponse:
    """Read the answer to a query from its JSON.

    Raises:
        ConnectionFailed: It is no such answer.
    """
    return _read(QueryResponse.from_json, document, address)


def read_push(document: Any, address: Address) -> PushResponse:
    """Read the answer to a push, as `read_response` that to a query."""
    return _read(PushResponse.from_json, document, address)


def read_pools(document: Any, address: Address) -> list[PoolInfo]:
    """Read a list of pools, as `read_response` the answer to a query."""
    return _read(
        lambda found: [PoolInfo.from_json(one) for one in found["pools"]], document, address
    )


def _read(read: Callable[[Any], T], document: Any, address: Address) -> T:
    try:
        return read(document)
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        raise unlike_ours(address, error) from error


def refusal(status: int, body: bytes, address: Address) -> AlaasError:
    """The error that an HTTP status beyond 2xx stands for.

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

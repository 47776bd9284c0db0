"""The only place where errors become answers: HTTP problems, WebSocket events, gRPC status."""

from __future__ import annotations

import json
from typing import Any

import grpc

from alaas.core.errors import AlaasError, Overloaded

PROBLEM_JSON = "application/problem+json"

_GRPC = {
    400: grpc.StatusCode.INVALID_ARGUMENT,
    401: grpc.StatusCode.UNAUTHENTICATED,
    403: grpc.StatusCode.PERMISSION_DENIED,
    404: grpc.StatusCode.NOT_FOUND,
    405: grpc.StatusCode.UNIMPLEMENTED,
    408: grpc.StatusCode.DEADLINE_EXCEEDED,
    409: grpc.StatusCode.FAILED_PRECONDITION,
    413: grpc.StatusCode.RESOURCE_EXHAUSTED,
    415: grpc.StatusCode.INVALID_ARGUMENT,
    422: grpc.StatusCode.INVALID_ARGUMENT,
    429: grpc.StatusCode.RESOURCE_EXHAUSTED,
    502: grpc.StatusCode.FAILED_PRECONDITION,
    503: grpc.StatusCode.UNAVAILABLE,
    504: grpc.StatusCode.DEADLINE_EXCEEDED,
}


def problem(error: AlaasError, request_id: str) -> dict[str, Any]:
    """The problem document of one request."""
    return {**error.problem(), "instance": f"urn:alaas:request:{request_id}"}


def grpc_status(error: AlaasError) -> grpc.StatusCode:
    """The gRPC status that says the same as the error's HTTP status."""
    if isinstance(error, Overloaded):
        return grpc.StatusCode.RESOURCE_EXHAUSTED
    return _GRPC.get(error.status, grpc.StatusCode.INTERNAL)


def grpc_details(error: AlaasError) -> str:
    """The status message of an error, short enough for a header."""
    return _cut(error.detail, 300)


def grpc_trailers(error: AlaasError, request_id: str) -> tuple[tuple[str, str | bytes], ...]:
    """The trailing metadata of an error: its stable code, and the problem in JSON.

    gRPC refuses more than 8 KiB of metadata, and a caller's own words may be in the text.
    """
    document = problem(error, request_id)
    document["detail"] = _cut(document["detail"], 1000)
    document["errors"] = [
        {"pointer": _cut(one["pointer"], 100), "message": _cut(one["message"], 200)}
        for one in document["errors"][:5]
    ]
    encoded = json.dumps(document, ensure_ascii=False).encode(errors="replace")
    return (("alaas-code", error.code), ("alaas-problem-bin", encoded))


def _cut(text: str, most: int) -> str:
    return text if len(text) <= most else f"{text[: most - 3]}..."

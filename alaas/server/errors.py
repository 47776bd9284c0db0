"""The only place where errors become answers: HTTP problems, WebSocket events, gRPC status."""

from __future__ import annotations

import json
from typing import Any

import grpc

from alaas.core.errors import AlaasError

PROBLEM_JSON = "application/problem+json"

_GRPC = {
    400: grpc.StatusCode.INVALID_ARGUMENT,
    404: grpc.StatusCode.NOT_FOUND,
    415: grpc.StatusCode.INVALID_ARGUMENT,
    422: grpc.StatusCode.INVALID_ARGUMENT,
    502: grpc.StatusCode.FAILED_PRECONDITION,
    503: grpc.StatusCode.UNAVAILABLE,
    504: grpc.StatusCode.DEADLINE_EXCEEDED,
}


def problem(error: AlaasError, request_id: str) -> dict[str, Any]:
    """The problem document of one request."""
    return {**error.problem(), "instance": f"urn:alaas:request:{request_id}"}


def grpc_status(error: AlaasError) -> grpc.StatusCode:
    """The gRPC status that says the same as the error's HTTP status."""
    return _GRPC.get(error.status, grpc.StatusCode.INTERNAL)


def grpc_trailers(error: AlaasError, request_id: str) -> tuple[tuple[str, str | bytes], ...]:
    """The trailing metadata of an error: its stable code, and the whole problem in JSON."""
    document = json.dumps(problem(error, request_id)).encode()
    return (("alaas-code", error.code), ("alaas-problem-bin", document))

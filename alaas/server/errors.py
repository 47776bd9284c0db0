"""The only place where errors become answers: HTTP problems, WebSocket events, gRPC status."""

from __future__ import annotations

import json
import math
from typing import Any

import grpc

from alaas.core.errors import AlaasError, Overloaded
from alaas.server.redaction import redact

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
    """The problem document of one request. What it quotes of a caller loses its secrets."""
    document = error.problem()
    return {
        **document,
        "detail": redact(document["detail"]),
        "errors": [{key: redact(text) for key, text in one.items()} for one in document["errors"]],
        "instance": f"urn:alaas:request:{request_id}",
    }


def retry_after(error: AlaasError) -> str | None:
    """Whole seconds after which it is worth trying again; None where nothing is known of that."""
    if error.retry_after_s is not None:
        return str(max(1, math.ceil(error.retry_after_s)))
    return "1" if error.status == 503 else None


def event(error: AlaasError, request_id: str) -> dict[str, Any]:
    """The last message of a WebSocket that an error ends."""
    said = {"type": "error", "problem": problem(error, request_id)}
    seconds = retry_after(error)
    return said if seconds is None else {**said, "retry_after_s": int(seconds)}


def grpc_status(error: AlaasError) -> grpc.StatusCode:
    """The gRPC status that says the same as the error's HTTP status."""
    if isinstance(error, Overloaded):
        return grpc.StatusCode.RESOURCE_EXHAUSTED
    return _GRPC.get(error.status, grpc.StatusCode.INTERNAL)


def grpc_details(error: AlaasError) -> str:
    """The status message of an error, short enough for a header."""
    return _cut(redact(error.detail), 300)


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
    said = (("alaas-code", error.code), ("alaas-problem-bin", encoded))
    seconds = retry_after(error)
    return said if seconds is None else (*said, ("retry-after-s", seconds))


def _cut(text: str, most: int) -> str:
    return text if len(text) <= most else f"{text[: most - 3]}..."

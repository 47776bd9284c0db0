"""Every error that a user can meet, as one tree.

    AlaasError
    ├── InvalidRequest            the caller can mend it
    │   ├── MalformedJSON             400 malformed_json
    │   ├── ValidationFailed          422 validation
    │   ├── EmptyInput                422 empty_input
    │   ├── UnknownStrategy           404 unknown_strategy
    │   ├── UnknownModel              404 unknown_model
    │   ├── UnknownPool               404 unknown_pool
    │   ├── NotFound                  404 not_found
    │   ├── MethodNotAllowed          405 method_not_allowed
    │   ├── UnsupportedMediaType      415 unsupported_media_type
    │   ├── ItemFailed                422 item_failed       on_item_error=fail
    │   ├── ViewUnavailable           422 view_unavailable
    │   ├── BudgetUnfillable          422 budget_unfillable
    │   ├── PoolTooLarge              422 pool_too_large
    │   ├── BodyTooLarge              413 body_too_large
    │   ├── TooManyItems              413 too_many_items
    │   ├── RequestTimeout            408 request_timeout   the caller fell silent
    │   ├── HostRefused               400 host_refused
    │   ├── Unauthenticated           401 unauthenticated
    │   ├── Forbidden                 403 forbidden
    │   ├── QuotaExceeded             429 quota
    │   ├── UnknownJob                404 unknown_job
    │   ├── JobUnfinished             409 job_unfinished
    │   ├── JobCancelled              409 job_cancelled
    │   ├── IdempotencyConflict       409 idempotency_conflict
    │   ├── IdempotencyMismatch       422 idempotency_mismatch
    │   └── StoreDisabled             409 store_disabled
    ├── AllItemsFailed                422 or 502 all_items_failed
    ├── ModelOutputInvalid            500 model_output_invalid
    ├── PoolCorrupt                   500 pool_corrupt
    ├── Unavailable               the caller can try again
    │   ├── NotReady                  503 not_ready
    │   ├── NoReplica                 503 no_replica
    │   │   └── BooksLost             503 books_lost
    │   ├── Overloaded                503 overloaded
    │   ├── StorageBusy               503 storage_busy
    │   └── ConnectionFailed          503 connection_failed  raised by the client
    ├── DeadlineExceeded              504 deadline
    ├── Internal                      500 internal
    └── SetupError                the operator can mend it; the process ends
        ├── ConfigError               config
        ├── ModelUnavailable          model_unavailable
        ├── PortInUse                 port_in_use
        ├── StorageUnusable           storage_unusable  exit status 3
        └── MissingExtra              missing_extra

`code` is stable and means the same over HTTP, gRPC, WebSocket and in Python: the
client raises the class whose code the server sent. Standard library only, because
the thin client imports this module.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar


@dataclass(frozen=True, slots=True)
class FieldError:
    """One invalid field of a request.

    Attributes:
        pointer: JSON pointer of the field, such as ``/parameters/budget``.
        message: What was got and what is allowed.
    """

    pointer: str
    message: str


class AlaasError(Exception):
    """Base of every error of this project.

    Args:
        detail: One sentence: what was wrong, the value got, what is allowed.
        errors: The fields at fault, where there are any.
    """

    code: ClassVar[str] = "internal"
    status: int = 500
    title: ClassVar[str] = "Internal error"
    retryable: ClassVar[bool] = False
    retry_after_s: float | None = None
    """Seconds after which it is worth trying again, where the server said so."""

    def __init__(self, detail: str, *, errors: Sequence[FieldError] = ()) -> None:
        super().__init__(detail)
        self.detail = detail
        self.errors = tuple(errors)

    def problem(self) -> dict[str, Any]:
        """The error as an RFC 9457 problem document, without its ``instance``."""
        return {
            "type": f"urn:alaas:problem:{self.code}",
            "title": self.title,
            "status": self.status,
            "detail": self.detail,
            "code": self.code,
            "retryable": self.retryable,
            "errors": [{"pointer": e.pointer, "message": e.message} for e in self.errors],
        }


class InvalidRequest(AlaasError):
    """The request cannot be served as it stands."""

    code, status, title = "invalid_request", 400, "Invalid request"


class MalformedJSON(InvalidRequest):
    """The body is not JSON."""

    code, status, title = "malformed_json", 400, "Malformed JSON"


class ValidationFailed(InvalidRequest):
    """A field has a value that is not allowed; ``errors`` names it."""

    code, status, title = "validation", 422, "Validation failed"


class EmptyInput(InvalidRequest):
    """The pool has no items."""

    code, status, title = "empty_input", 422, "Empty pool"


class UnknownStrategy(InvalidRequest):
    """No strategy has that name or alias."""

    code, status, title = "unknown_strategy", 404, "Unknown strategy"


class UnknownModel(InvalidRequest):
    """The service has no model of that name, or several of that digest."""

    code, status, title = "unknown_model", 404, "Unknown model"


class UnknownPool(InvalidRequest):
    """No pool is stored under that name."""

    code, status, title = "unknown_pool", 404, "Unknown pool"


class NotFound(InvalidRequest):
    """There is nothing at that address."""

    code, status, title = "not_found", 404, "Not found"


class MethodNotAllowed(InvalidRequest):
    """The address takes other HTTP methods only."""

    code, status, title = "method_not_allowed", 405, "Method not allowed"


class UnsupportedMediaType(InvalidRequest):
    """The body is not ``application/json``."""

    code, status, title = "unsupported_media_type", 415, "Unsupported media type"


class ItemFailed(InvalidRequest):
    """An item failed, and the query asked for ``on_item_error: fail``."""

    code, status, title = "item_failed", 422, "An item failed"


class ViewUnavailable(InvalidRequest):
    """The strategy reads something that the model cannot compute."""

    code, status, title = "view_unavailable", 422, "View unavailable"


class BudgetUnfillable(InvalidRequest):
    """Quotas or a radius leave fewer items to pick than the budget asks for."""

    code, status, title = "budget_unfillable", 422, "Budget cannot be filled"


class PoolTooLarge(InvalidRequest):
    """The strategy would take more memory or time than there is for this pool."""

    code, status, title = "pool_too_large", 422, "Pool too large for the strategy"


class BodyTooLarge(InvalidRequest):
    """The body, or a line or message of a stream, is larger than the limit."""

    code, status, title = "body_too_large", 413, "Body too large"


class TooManyItems(InvalidRequest):
    """The pool has more items than the limit."""

    code, status, title = "too_many_items", 413, "Too many items"


class RequestTimeout(InvalidRequest):
    """The caller fell silent before the request was complete."""

    code, status, title, retryable = "request_timeout", 408, "Request timeout", True


class HostRefused(InvalidRequest):
    """The request names a host that this service does not answer for."""

    code, status, title = "host_refused", 400, "Host refused"


class Unauthenticated(InvalidRequest):
    """The call carries no API key that this service knows."""

    code, status, title = "unauthenticated", 401, "Unauthenticated"


class Forbidden(InvalidRequest):
    """The API key does not open this."""

    code, status, title = "forbidden", 403, "Forbidden"


class QuotaExceeded(InvalidRequest):
    """The API key has as much under way as it may."""

    code, status, title, retryable = "quota", 429, "Quota exceeded", True


class UnknownJob(InvalidRequest):
    """There is no job of that id, or it is another caller's."""

    code, status, title = "unknown_job", 404, "Unknown job"


class JobUnfinished(InvalidRequest):
    """The job has no result yet."""

    code, status, title, retryable = "job_unfinished", 409, "Job not finished", True


class JobCancelled(InvalidRequest):
    """The job was cancelled and will have no result."""

    code, status, title = "job_cancelled", 409, "Job cancelled"


class IdempotencyConflict(InvalidRequest):
    """A request with the same ``Idempotency-Key`` is still being answered."""

    code, status, title, retryable = "idempotency_conflict", 409, "Idempotency conflict", True


class IdempotencyMismatch(InvalidRequest):
    """Another request was sent with the same ``Idempotency-Key``."""

    code, status, title = "idempotency_mismatch", 422, "Idempotency mismatch"


class AllItemsFailed(AlaasError):
    """No item of the pool could be fetched, decoded and predicted.

    Args:
        detail: What happened to the first of them.
        upstream: Whether the servers that hold the items are to blame, and not the caller.
    """

    code, status, title = "all_items_failed", 422, "All items failed"

    def __init__(
        self, detail: str, *, errors: Sequence[FieldError] = (), upstream: bool = False
    ) -> None:
        super().__init__(detail, errors=errors)
        if upstream:
            self.status = 502


class ModelOutputInvalid(AlaasError):
    """The model returned values that no strategy can rank, such as NaN."""

    code, status, title = "model_output_invalid", 500, "Invalid model output"


class PoolCorrupt(AlaasError):
    """A stored pool is damaged; pushing it again makes it new."""

    code, status, title = "pool_corrupt", 500, "Damaged pool"


class StoreDisabled(InvalidRequest):
    """The service stores nothing, so that it has no pools."""

    code, status, title = "store_disabled", 409, "Nothing is stored"


class Unavailable(AlaasError):
    """The service cannot answer now; the same request may succeed later."""

    code, status, title, retryable = "unavailable", 503, "Unavailable", True


class NotReady(Unavailable):
    """The service is starting or stopping."""

    code, title = "not_ready", "Not ready"


class NoReplica(Unavailable):
    """A stage has no living replica."""

    code, title = "no_replica", "No replica"


class BooksLost(NoReplica):
    """The process that chooses was replaced while the query ran."""

    code, title = "books_lost", "Books lost"


class Overloaded(Unavailable):
    """The service has as much under way as it may."""

    code, title = "overloaded", "Overloaded"


class StorageBusy(Unavailable):
    """The database of the jobs does not answer now."""

    code, title = "storage_busy", "Storage busy"


class ConnectionFailed(Unavailable):
    """The client could not reach the server, or lost it."""

    code, title = "connection_failed", "Connection failed"


class DeadlineExceeded(AlaasError):
    """The query did not finish within its ``timeout_s``."""

    code, status, title, retryable = "deadline", 504, "Deadline exceeded", True


class Internal(AlaasError):
    """A defect of ours. The log has the cause under the request's id."""


class SetupError(AlaasError):
    """The process cannot start as it is configured."""

    code, title = "setup", "Cannot start"


class ConfigError(SetupError):
    """The configuration has an unknown key, a wrong type or a wrong value."""

    code = "config"


class ModelUnavailable(SetupError):
    """The model or its weights cannot be loaded."""

    code = "model_unavailable"


class PortInUse(SetupError):
    """Another process listens on a port that the configuration names."""

    code = "port_in_use"


class StorageUnusable(SetupError):
    """The database of the jobs is damaged, of a later version, or cannot be reached."""

    code = "storage_unusable"


class MissingExtra(SetupError, ImportError):
    """A part of the project is used whose dependencies are not installed."""

    code = "missing_extra"


def _tree(root: type[AlaasError]) -> Iterator[type[AlaasError]]:
    yield root
    for child in root.__subclasses__():
        yield from _tree(child)


def from_problem(problem: Mapping[str, Any]) -> AlaasError:
    """The exception that a problem document stands for.

    Args:
        problem: A document as `AlaasError.problem` writes it. An unknown code gives
            the nearest class by status, so that an old client understands a newer server.

    Example:
        >>> from_problem({"code": "empty_input", "detail": "the pool is empty"})
        EmptyInput('the pool is empty')
    """
    by_code = {error.code: error for error in _tree(AlaasError)}
    try:
        status = int(problem.get("status") or 500)
    except (TypeError, ValueError):
        status = 500
    fallback = InvalidRequest if 400 <= status < 500 else Unavailable if status == 503 else Internal
    kind = by_code.get(str(problem.get("code")), fallback)
    given = problem.get("errors")
    errors = [
        FieldError(str(one.get("pointer", "")), str(one.get("message", "")))
        for one in (given if isinstance(given, list) else ())
        if isinstance(one, Mapping)
    ]
    detail = str(problem.get("detail") or problem.get("title") or f"HTTP status {status}")
    error = kind(detail, errors=errors)
    if "status" in problem:
        error.status = status
    return error

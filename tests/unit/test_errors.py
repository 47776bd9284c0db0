"""The tree of errors: its picture, its codes, and its ways to a caller and back."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from typing import Any

import grpc
import pytest

from alaas.core import errors
from alaas.core.errors import (
    AlaasError,
    AllItemsFailed,
    FieldError,
    Internal,
    InvalidRequest,
    MissingExtra,
    SetupError,
    Unavailable,
    ValidationFailed,
    from_problem,
)
from alaas.server.errors import grpc_status, grpc_trailers, problem


def tree(root: type[AlaasError] = AlaasError) -> Iterator[type[AlaasError]]:
    yield root
    for child in root.__subclasses__():
        if child.__module__ == errors.__name__:
            yield from tree(child)


CLASSES = list(tree())
BRANCH = re.compile(r"^    (?P<depth>[│ ]*)[├└]── (?P<name>\w+) *(?P<said>.*)$", re.MULTILINE)
LEAF = re.compile(r"^(?:(?P<status>\d{3})(?: or \d{3})? )?(?P<code>[a-z_]+)(?:  .*)?$")


def drawn() -> dict[str, tuple[str, str]]:
    """Name of each class of the picture to the name of its parent and what stands beside it."""
    above = ["AlaasError"]
    found = {}
    for branch in BRANCH.finditer(errors.__doc__ or ""):
        depth = len(branch["depth"]) // 4 + 1
        del above[depth:]
        found[branch["name"]] = (above[-1], branch["said"])
        above.append(branch["name"])
    return found


def test_the_picture_has_every_class_below_its_parent() -> None:
    parents = {name: parent for name, (parent, _) in drawn().items()}
    assert parents == {kind.__name__: kind.__bases__[0].__name__ for kind in CLASSES[1:]}


def test_the_picture_names_status_and_code() -> None:
    seen = 0
    for name, (_, said) in drawn().items():
        kind = getattr(errors, name)
        if kind.__subclasses__():
            continue
        leaf = LEAF.match(said)
        assert leaf is not None, said
        assert leaf["code"] == kind.code
        assert leaf["status"] == (None if issubclass(kind, SetupError) else str(kind.status))
        seen += 1
    assert seen >= 15


def test_codes_are_unique() -> None:
    codes = [kind.code for kind in CLASSES if kind is not AlaasError]
    assert len(set(codes)) == len(codes)
    assert AlaasError.code == Internal.code  # what is not said more exactly is a defect of ours


def make(kind: type[AlaasError]) -> AlaasError:
    return kind("größe: 3", errors=[FieldError("/a/0", "must be 2"), FieldError("", "and more")])


@pytest.mark.parametrize("kind", CLASSES)
def test_every_class_survives_its_problem(kind: type[AlaasError]) -> None:
    error = make(kind)
    document = json.loads(json.dumps(error.problem()))
    again = from_problem(document)
    assert type(again) is (Internal if kind is AlaasError else kind)
    assert (again.detail, again.errors, again.status) == (error.detail, error.errors, error.status)
    assert str(again) == "größe: 3"
    assert again.retryable is kind.retryable


@pytest.mark.parametrize("kind", CLASSES)
def test_a_problem_is_that_of_the_rfc(kind: type[AlaasError]) -> None:
    assert make(kind).problem() == {
        "type": f"urn:alaas:problem:{kind.code}",
        "title": kind.title,
        "status": kind.status,
        "detail": "größe: 3",
        "code": kind.code,
        "retryable": kind.retryable,
        "errors": [
            {"pointer": "/a/0", "message": "must be 2"},
            {"pointer": "", "message": "and more"},
        ],
    }


@pytest.mark.parametrize(
    ("status", "kind"),
    [
        (400, InvalidRequest), (404, InvalidRequest), (422, InvalidRequest),
        (499, InvalidRequest), (500, Internal), (502, Internal), (503, Unavailable),
        (504, Internal), (None, Internal), (302, Internal),
    ],
)  # fmt: skip
def test_an_unknown_code_goes_by_its_status(status: int | None, kind: type[AlaasError]) -> None:
    error = from_problem({"code": "of_next_year", "status": status, "title": "News"})
    assert type(error) is kind
    assert (error.detail, error.errors) == ("News", ())


@pytest.mark.parametrize("document", [{}, {"errors": None}, {"status": 500, "detail": ""}])
def test_an_empty_problem_says_its_status(document: dict[str, Any]) -> None:
    error = from_problem(document)
    assert (type(error), error.detail) == (Internal, "HTTP status 500")


def test_who_can_mend_it() -> None:
    again = {kind for kind in CLASSES if kind.retryable}
    assert {kind for kind in CLASSES if issubclass(kind, Unavailable)} < again
    others = {kind.code for kind in again if not issubclass(kind, Unavailable)}
    assert others == {
        "deadline", "request_timeout", "quota", "job_unfinished", "idempotency_conflict",
    }  # fmt: skip
    for kind in CLASSES:
        if issubclass(kind, InvalidRequest):
            assert 400 <= kind.status < 500
    assert issubclass(MissingExtra, ImportError)


def test_all_failed_is_the_fault_of_one_side() -> None:
    assert AllItemsFailed("none").status == 422
    upstream = AllItemsFailed("none", upstream=True)
    assert (upstream.status, upstream.problem()["status"]) == (502, 502)
    assert AllItemsFailed.status == 422


class TestGrpc:
    @pytest.mark.parametrize("kind", CLASSES)
    def test_the_status_says_the_same(self, kind: type[AlaasError]) -> None:
        expected = {
            400: "INVALID_ARGUMENT", 401: "UNAUTHENTICATED", 403: "PERMISSION_DENIED",
            404: "NOT_FOUND", 405: "UNIMPLEMENTED", 408: "DEADLINE_EXCEEDED",
            409: "FAILED_PRECONDITION", 413: "RESOURCE_EXHAUSTED",
            415: "INVALID_ARGUMENT", 422: "INVALID_ARGUMENT", 429: "RESOURCE_EXHAUSTED",
            500: "INTERNAL", 503: "UNAVAILABLE", 504: "DEADLINE_EXCEEDED",
        }[kind.status]  # fmt: skip
        if kind is errors.Overloaded:
            expected = "RESOURCE_EXHAUSTED"
        assert grpc_status(make(kind)) is grpc.StatusCode[expected]

    def test_items_that_others_lost(self) -> None:
        error = AllItemsFailed("none", upstream=True)
        assert grpc_status(error) is grpc.StatusCode.FAILED_PRECONDITION

    def test_the_trailers_carry_the_whole_problem(self) -> None:
        error = make(ValidationFailed)
        trailers = dict(grpc_trailers(error, "r-1"))
        assert trailers["alaas-code"] == "validation"
        document = json.loads(trailers["alaas-problem-bin"])
        assert document == problem(error, "r-1")
        assert document["instance"] == "urn:alaas:request:r-1"
        assert from_problem(document).errors == error.errors

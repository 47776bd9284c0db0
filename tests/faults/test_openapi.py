"""Requests that a machine makes up from `openapi.json` are answered as it says."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import cycle
from pathlib import Path
from typing import Any

import pytest
import schemathesis
from faults import ROOT, WAIT_S, Running, running
from hypothesis import HealthCheck, settings
from schemathesis.specs.openapi import checks as openapi

MIB = 2**20
GROWTH = 64 * MIB
"""What the processes of a server may take more after thousands of requests."""

API = schemathesis.openapi.from_path(ROOT / "openapi.json")
MADE_UP = {"deadline": None, "derandomize": True, "suppress_health_check": list(HealthCheck)}


@schemathesis.serializer("application/x-ndjson")
def as_lines(_: Any, value: Any) -> bytes:
    return str(value).encode(errors="replace")


@schemathesis.check
def no_5xx_but_a_deadline(_: Any, response: Any, case: Any) -> None:
    # What is made up may ask for an answer within no time.
    late = response.status_code == 504 and response.json()["code"] == "deadline"
    assert response.status_code < 500 or late, case.as_curl_command()


CHECKS = (
    no_5xx_but_a_deadline,
    openapi.status_code_conformance,
    openapi.content_type_conformance,
    openapi.response_schema_conformance,
    openapi.response_headers_conformance,
    openapi.allow_header_conformance,
    openapi.unsupported_method,
)


@pytest.fixture(scope="module")
def closed(tmp_path_factory: pytest.TempPathFactory, pictures: Path) -> Iterator[Running]:
    """A server that reaches nobody, whatever it is asked to."""
    fetch = {"schemes": ["file"], "roots": [str(pictures)]}
    with running(tmp_path_factory.mktemp("closed"), fetch=fetch) as one:
        yield one
        assert one.stop() == 0


def ask(server: Running, case: Any, paths: list[str]) -> None:
    """Send a case, every second address of which leads to a picture, and judge the answer."""
    body = case.body if isinstance(case.body, dict) else {}
    data = body.get("data")
    documents = data.get("docs") if isinstance(data, dict) else data
    listed = documents if isinstance(documents, list) else ()
    for item, path, real in zip(listed, cycle(paths), cycle((True, False)), strict=False):
        if real and isinstance(item, dict) and "uri" in item:
            item["uri"] = path
    case.call_and_validate(base_url=server.url, checks=CHECKS, timeout=WAIT_S)


@API.parametrize()
@settings(max_examples=20, **MADE_UP)
def test_row80_made_up_requests_are_answered_as_documented(
    case: Any, closed: Running, paths: list[str]
) -> None:
    ask(closed, case, paths)


@pytest.fixture(scope="module")
def thrifty(closed: Running, paths: list[str]) -> Iterator[Running]:
    """The same server, whose memory must not have grown in the end."""
    body = {"data": [{"uri": path} for path in paths], "parameters": {"budget": 1}}
    assert closed.post("/query", body).status_code == 200
    before = memory(closed)
    yield closed
    assert memory(closed) - before < GROWTH


def memory(server: Running) -> int:
    """Bytes that its processes have for themselves."""
    return sum(process.memory_full_info().uss for process in server.family())


@pytest.mark.slow
@API.parametrize()
@settings(max_examples=2_000, **MADE_UP)
def test_row80_thousands_of_made_up_requests_leave_no_memory_behind(
    case: Any, thrifty: Running, paths: list[str]
) -> None:
    ask(thrifty, case, paths)

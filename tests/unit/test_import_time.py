"""What an import loads, asked of a fresh interpreter."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest

HEAVY = {"numpy", "torch", "jina", "docarray"}


def loaded_by(statement: str) -> set[str]:
    """The top-level modules that are loaded once the statement has run."""
    program = f"import json, sys\n{statement}\nprint(json.dumps(sorted(sys.modules)))"
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True
    )
    return {name.partition(".")[0] for name in json.loads(done.stdout)}


@pytest.mark.parametrize(
    ("statement", "forbidden"),
    [
        ("import alaas", HEAVY | {"grpc", "requests", "websockets", "pydantic", "pandas"}),
        (
            "from alaas.client import Client",
            HEAVY | {"grpc", "requests", "websockets", "google", "tqdm", "pydantic", "pandas"},
        ),
        ("import alaas; alaas.Client('http://a')", HEAVY | {"grpc", "websockets", "pydantic"}),
        ("import alaas; alaas.Client('ws://a')", HEAVY | {"grpc", "requests", "pydantic"}),
        ("import alaas; alaas.Client('grpc://a')", HEAVY | {"requests", "websockets", "pydantic"}),
    ],
)
def test_import_is_light(statement: str, forbidden: set[str]) -> None:
    loaded = loaded_by(statement)
    assert "alaas" in loaded
    assert loaded & forbidden == set()


def test_the_question_can_be_answered_with_yes() -> None:
    assert "grpc" in loaded_by("import alaas; alaas.Client('grpc://a')")

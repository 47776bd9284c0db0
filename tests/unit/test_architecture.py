"""The borders of the house, held by a machine."""

from __future__ import annotations

import ast
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

import alaas

HOUSE = Path(alaas.__file__).parent
ROOT = HOUSE.parent
GENERATED = HOUSE / "proto" / "alaas"
MODULES = [path for path in sorted(HOUSE.rglob("*.py")) if GENERATED not in path.parents]


def place(path: Path) -> str:
    return path.relative_to(HOUSE).as_posix()


def parsed(path: Path) -> ast.Module:
    return ast.parse(path.read_text(encoding="utf-8"))


def imported(tree: ast.AST) -> Iterator[str]:
    """Top-level packages that a module imports, anywhere in it."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name.partition(".")[0] for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            yield node.module.partition(".")[0]


def test_the_contracts_hold() -> None:
    # In a process of its own: it switches off the loggers of this one.
    command = "from importlinter import cli; raise SystemExit(cli.lint_imports(no_cache=True))"
    done = subprocess.run(
        [sys.executable, "-c", command], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout


def test_three_files_know_jina() -> None:
    known = {place(path) for path in MODULES if {"jina", "docarray"} & set(imported(parsed(path)))}
    assert known == {"server/executors.py", "server/flow.py", "server/gateway.py"}


@pytest.mark.parametrize("module", ["core/wire.py", "core/errors.py"])
def test_what_the_client_shares_is_standard_library(module: str) -> None:
    import sys

    foreign = set(imported(parsed(HOUSE / module))) - {"alaas"}
    assert foreign <= sys.stdlib_module_names


def test_every_module_says_what_it_is() -> None:
    silent = [place(path) for path in MODULES if not ast.get_docstring(parsed(path))]
    assert silent == []


def test_only_what_talks_to_people_prints() -> None:
    printing = {
        place(path)
        for path in MODULES
        for node in ast.walk(parsed(path))
        if isinstance(node, ast.Call)
        and isinstance(node.func, ast.Name)
        and node.func.id == "print"
    }
    allowed = ("cli/", "demo/", "models/describe.py", "__main__.py", "server/__main__.py")
    assert [path for path in sorted(printing) if not path.startswith(allowed)] == []
    assert "models/describe.py" in printing  # the question can be answered with yes


SECRETS = re.compile(
    r"\b(AKIA|ASIA)[0-9A-Z]{16}\b"
    r"|-----BEGIN [A-Z ]*PRIVATE KEY-----"
    r"|\bgh[pousr]_[0-9A-Za-z]{36}\b"
    r"|\bhf_[0-9A-Za-z]{30,}\b"
    r"|\bxox[abpr]-[0-9A-Za-z-]{10,}"
)
OURS = ("alaas", "benchmarks", "configs", "docker", "docs", "examples", "tests", ".ci", ".github")
BUILT = (".envs", ".figures", "__pycache__")


def texts() -> Iterator[Path]:
    """The files of the repository that are text, without environments that were built in it."""
    yield from (path for path in ROOT.iterdir() if path.is_file())
    for folder in OURS:
        for here, below, names in os.walk(ROOT / folder):
            below[:] = [name for name in below if name not in BUILT]
            yield from (Path(here, name) for name in names if not name.endswith(".pyc"))


def test_no_file_holds_a_secret() -> None:
    paths = list(texts())
    holding = [path for path in paths if SECRETS.search(path.read_text("utf-8", errors="replace"))]
    assert holding == []
    assert Path(__file__) in paths


@pytest.mark.parametrize(
    "secret", ["AKIA" + "A1" * 8, "-----BEGIN " + "RSA PRIVATE KEY-----", "ghp_" + "a" * 36]
)
def test_a_secret_would_be_found(secret: str) -> None:
    assert SECRETS.search(f'key = "{secret}"')

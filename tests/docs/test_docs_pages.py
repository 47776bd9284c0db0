"""What the pages name is there, and what the code knows better is as the code has it."""

from __future__ import annotations

import importlib.util
import os
import re
import shlex
import subprocess
import sys
import tomllib
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import typer
import yaml
from fences import PAGES, ROOT, Block, blocks, prose

from alaas.cli.app import app

PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
_CALL = re.compile(r"\s*([A-Z_]+=\S+ )*alaas (?P<rest>.*)")
COMMANDS: Any = typer.main.get_command(app)


def page_id(page: Path) -> str:
    return str(page.relative_to(ROOT))


def _generator() -> ModuleType:
    spec = importlib.util.spec_from_file_location("docs_generate", ROOT / "docs" / "generate.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


GENERATED: dict[Path, str] = _generator().pages()


@pytest.mark.parametrize("page", GENERATED, ids=page_id)
def test_generated_parts_are_current(page: Path) -> None:
    assert page.read_text() == GENERATED[page], "run `python docs/generate.py`"


def test_what_is_generated() -> None:
    names = {page_id(page) for page in GENERATED}
    pages = (
        "cli", "configuration", "faults", "http", "observability",
        "strategies/choosing", "strategies/costs", "strategies/index",
    )  # fmt: skip
    assert names == {"README.md", "openapi.json", *(f"docs/{page}.md" for page in pages)}


@pytest.mark.parametrize("page", PAGES, ids=page_id)
def test_links_lead_somewhere(page: Path) -> None:
    for target in re.findall(r"\]\(([^)]+)\)", prose(page)):
        if re.match(r"[a-z]+:", target):
            continue
        name, _, anchor = target.partition("#")
        file = (page.parent / name) if name else page
        assert file.is_file(), target
        assert not anchor or anchor in _anchors(file), target


def _anchors(page: Path) -> set[str]:
    headings = re.findall(r"^#+ (.+)$", prose(page), re.MULTILINE)
    return {re.sub(r"[^\w -]", "", one).lower().replace(" ", "-") for one in headings}


@pytest.mark.parametrize("page", PAGES, ids=page_id)
def test_files_that_are_named_exist(page: Path) -> None:
    named = re.findall(r"`((?:alaas|configs|docker|docs|examples|tests)/[\w./-]+)`", prose(page))
    assert [one for one in named if not (ROOT / one).exists()] == []


@pytest.mark.parametrize("page", PAGES, ids=page_id)
def test_commands_in_the_text_exist(page: Path) -> None:
    named = re.findall(r"`alaas ([a-z]+)[^`]*`", prose(page))
    assert set(named) <= set(COMMANDS.commands)


def _calls(block: Block) -> list[list[str]]:
    """What follows `alaas` where it stands as a command."""
    lines = block.text.replace("\\\n", " ").splitlines()
    found = [_CALL.match(part) for line in lines for part in re.split(r"\||&&", line)]
    return [shlex.split(one["rest"], comments=True) for one in found if one]


CALLS = [(str(block), call) for block in blocks("bash") for call in _calls(block)]


@pytest.mark.parametrize(("where", "call"), CALLS, ids=[f"{a}-{b[0]}" for a, b in CALLS])
def test_commands_take_the_options_shown(where: str, call: list[str]) -> None:
    command = COMMANDS
    # A group may be a command of its own, as `alaas models` is.
    while call and call[0] in getattr(command, "commands", {}):
        command, call = command.commands[call[0]], call[1:]
    known = {name for parameter in command.params for name in parameter.opts}
    assert {word for word in call if word.startswith("--")} <= known, where


def test_every_command_is_shown() -> None:
    assert {call[0] for _, call in CALLS} | {"demo"} == set(COMMANDS.commands)


def test_targets_of_make_exist() -> None:
    text = "".join(page.read_text() for page in PAGES)
    shown = re.findall(r"`make ([a-z]+)`", text) + re.findall(
        r"^make ([a-z]+)$", text, re.MULTILINE
    )
    targets = re.findall(r"^([a-z]+):", (ROOT / "Makefile").read_text(), re.MULTILINE)
    assert set(shown) <= set(targets)
    assert {"demo", "test"} <= set(shown)


def test_extras_exist() -> None:
    text = "".join(page.read_text() for page in PAGES)
    shown = set(re.findall(r"(?:alaas|\.)\[(\w+)\]", text))
    assert {"local", "server"} <= shown <= set(PROJECT["optional-dependencies"])


def test_the_changelog_knows_this_version() -> None:
    assert f"## {PROJECT['version']}\n" in (ROOT / "CHANGELOG.md").read_text()


def test_hooks_call_the_tools_of_the_dev_extra() -> None:
    document = yaml.safe_load((ROOT / ".pre-commit-config.yaml").read_text())
    assert [one["repo"] for one in document["repos"]] == ["local"]
    hooks = document["repos"][0]["hooks"]
    assert {one["language"] for one in hooks} == {"system"}
    tools = {one["entry"].split()[0] for one in hooks}
    makefile = (ROOT / "Makefile").read_text().replace("$(BIN)", ".venv/bin")
    assert [tool for tool in tools if tool not in makefile] == []


def test_the_site_builds(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "mkdocs", "build", "--strict", "--site-dir", str(tmp_path)],
        cwd=ROOT,
        env={**os.environ, "NO_MKDOCS_2_WARNING": "1"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    pages = {page.relative_to(ROOT / "docs") for page in (ROOT / "docs").rglob("*.md")}
    folders = {page.parent if page.stem == "index" else page.with_suffix("") for page in pages}
    assert {found.parent.relative_to(tmp_path) for found in tmp_path.rglob("index.html")} == folders
    assert not list(tmp_path.rglob("*.py"))

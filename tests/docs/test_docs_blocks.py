"""Every block of the documentation does what it says."""

from __future__ import annotations

import json
import shutil
import subprocess
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest
import requests
from fences import PAGES, Block, blocks

from alaas.config import load
from alaas.strategies import registry

Located = Callable[[Block], str]


@pytest.mark.parametrize("block", [one for one in blocks("python") if one.runs], ids=str)
def test_python_runs(
    block: Block,
    located: Located,
    place: Path,
    torch_home: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(place)
    monkeypatch.setenv("TORCH_HOME", str(torch_home))
    code = compile(located(block), str(block), "exec")
    exec(code, {"__name__": "__main__"})


@pytest.mark.parametrize("block", [one for one in blocks("bash") if one.runs], ids=str)
def test_bash_runs(
    block: Block, located: Located, place: Path, environment: Mapping[str, str]
) -> None:
    if "curl " in block.text and shutil.which("curl") is None:
        pytest.skip("curl is not installed")
    done = subprocess.run(
        ["bash", "-euo", "pipefail", "-c", located(block)],
        cwd=place,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr


def test_the_server_of_the_readme_can_be_told_apart() -> None:
    assert [block.page.name for block in blocks("bash") if block.note == "server"] == ["README.md"]


@pytest.mark.parametrize("block", [one for one in blocks("json") if one.runs], ids=str)
def test_answers_look_like_those_shown(block: Block, server: Mapping[str, str]) -> None:
    shown = json.loads(block.text)
    answer = requests.post(
        f"http://{server['localhost:8081']}/query",
        json={
            "data": [{"uri": f"photos/{name}.jpg"} for name in ("000", "001", "gone")],
            "parameters": {"budget": 1 if "data" in shown else 0},
        },
        timeout=60,
    ).json()
    assert shape(shown) == shape(answer)


def shape(document: Any) -> Any:
    """The keys of a document and the types of its values."""
    if isinstance(document, dict):
        return {key: shape(value) for key, value in document.items()}
    if isinstance(document, list):
        return [shape(one) for one in document]
    return type(document).__name__


@pytest.mark.parametrize("block", blocks("yaml"), ids=str)
def test_configurations_load(block: Block, tmp_path: Path) -> None:
    path = tmp_path / "shown.yml"
    path.write_text(block.text)
    choices = {"active_learning.strategy.type": registry.names()}
    load(path, environ={}, choices=choices)


def test_no_block_is_overlooked() -> None:
    fences = [line for page in PAGES for line in page.read_text().splitlines() if "```" in line]
    assert len(fences) == 2 * len(blocks())
    # A drawing has no language; what is `pycon` comes from docstrings, which are executed there.
    assert {one.language for one in blocks()} == {"python", "bash", "json", "yaml", "pycon", ""}

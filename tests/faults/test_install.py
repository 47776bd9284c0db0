"""What a newcomer gets who installs the wheel and nothing else, without a network."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import venv
from collections.abc import Iterator
from importlib.metadata import Distribution, distribution
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).parents[2]
HERMIT = """
import sys

def refuse(event, arguments):
    if event in ("socket.connect", "socket.getaddrinfo", "socket.bind"):
        raise RuntimeError(f"{event}: there is no network")

sys.addaudithook(refuse)
"""


# What is found here must not count as installed there.
APART = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}


def required(name: str) -> Iterator[Distribution]:
    """The distributions that one needs without its extras, and what those need."""
    waiting, seen = [name], {name}
    while waiting:
        for need in map(Requirement, distribution(waiting.pop()).requires or ()):
            wanted = need.marker is None or need.marker.evaluate({"extra": ""})
            if wanted and (one := canonicalize_name(need.name)) not in seen:
                seen.add(one)
                waiting.append(one)
                yield distribution(one)


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The wheel, built from a copy so that nothing is left in the source tree."""
    source = tmp_path_factory.mktemp("source")
    shutil.copytree(ROOT / "alaas", source / "alaas", ignore=shutil.ignore_patterns("__pycache__"))
    for name in ("pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, source)
    command = [sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "--no-build-isolation"]
    where = ["--wheel-dir", str(source), str(source)]
    subprocess.run([*command, *where], check=True, cwd=source, env=APART)
    (built,) = source.glob("alaas-*.whl")
    return built


@pytest.fixture(scope="module")
def place(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An environment with the wheel and what it requires, and without a network."""
    folder = tmp_path_factory.mktemp("empty")
    venv.create(folder, symlinks=True)
    (packages,) = folder.glob("lib/python3*/site-packages")
    command = [sys.executable, "-m", "pip", "--python", str(folder / "bin" / "python")]
    install = ["install", "--quiet", "--no-deps", "--no-index", str(wheel)]
    subprocess.run([*command, *install], check=True, cwd=folder, env=APART)
    for one in required("alaas"):
        for file in one.files or ():
            if ".." not in file.parts and "__pycache__" not in file.parts:
                target = packages / file
                target.parent.mkdir(parents=True, exist_ok=True)
                shutil.copyfile(one.locate_file(file), target)
    (packages / "sitecustomize.py").write_text(HERMIT)
    return folder


def run(place: Path, *command: str) -> subprocess.CompletedProcess[str]:
    """Run a command of that environment, away from the source tree."""
    return subprocess.run(
        [str(place / "bin" / command[0]), *command[1:]],
        cwd=place,
        env=APART,
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )


def test_row84_there_is_no_network_and_no_extra(place: Path) -> None:
    asked = "import socket; socket.create_connection(('127.0.0.1', 9))"
    assert "there is no network" in run(place, "python", "-c", asked).stderr
    for package in ("numpy", "torch", "jina", "PIL"):
        done = run(place, "python", "-c", f"import {package}")
        assert f"No module named '{package}'" in done.stderr


def test_row84_the_command_tells_its_version(place: Path, wheel: Path) -> None:
    done = run(place, "alaas", "--version")
    assert (done.returncode, done.stderr) == (0, "")
    assert wheel.name.split("-")[1] in done.stdout


@pytest.mark.parametrize("module", ["alaas", "alaas.client", "alaas.core.errors", "alaas.proto"])
def test_row84_what_the_wheel_has_imports_without_a_network(place: Path, module: str) -> None:
    done = run(place, "python", "-c", f"import {module}; print({module}.__file__)")
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith(str(place))


@pytest.mark.parametrize(
    ("command", "extra"),
    [
        (("strategies",), "local"),
        (("models",), "local"),
        (("query", "photos", "--budget", "1"), "local"),
        (("serve",), "server"),
        (("demo",), "server"),
    ],
)
def test_row84_a_missing_extra_is_one_line(
    place: Path, command: tuple[str, ...], extra: str
) -> None:
    done = run(place, "alaas", *command)
    assert (done.returncode, done.stdout) == (2, "")
    (line,) = done.stderr.splitlines()
    assert f"alaas[{extra}]" in line

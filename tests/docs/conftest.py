"""Where the documentation is executed: a folder with photos, and the server of the README."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack
from pathlib import Path

import pytest
from fences import ROOT, Block, blocks


@pytest.fixture(scope="session")
def free_ports() -> Callable[[int], list[int]]:
    """Finds ports that nobody listens on."""

    def find(count: int) -> list[int]:
        with ExitStack() as stack:
            probes = [stack.enter_context(socket.socket()) for _ in range(count)]
            for probe in probes:
                probe.bind(("127.0.0.1", 0))
            return [probe.getsockname()[1] for probe in probes]

    return find


@pytest.fixture(scope="session")
def torch_home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A cache in which the weights of ResNet-18 have been downloaded already: random ones."""
    import torch
    import torchvision

    home = tmp_path_factory.mktemp("torch")
    url = torchvision.models.get_model_weights("resnet18").DEFAULT.url
    path = home / "hub" / "checkpoints" / url.rpartition("/")[2]
    path.parent.mkdir(parents=True)
    with torch.random.fork_rng():
        torch.manual_seed(0)
        torch.save(torchvision.models.get_model("resnet18").state_dict(), path)
    return home


@pytest.fixture(scope="session")
def environment(tmp_path_factory: pytest.TempPathFactory, torch_home: Path) -> Mapping[str, str]:
    """Where `alaas` and `python` are those of these tests, and torch's cache is ours."""
    folder = tmp_path_factory.mktemp("bin")
    for name, arguments in (("alaas", "-m alaas"), ("python", "")):
        (folder / name).write_text(f'#!/bin/sh\nexec "{sys.executable}" {arguments} "$@"\n')
        (folder / name).chmod(0o755)
    return {
        **{name: value for name, value in os.environ.items() if not name.startswith("ALAAS_")},
        "PATH": f"{folder}{os.pathsep}{os.environ['PATH']}",
        "PYTHONPATH": os.pathsep.join(filter(None, [str(ROOT), os.environ.get("PYTHONPATH")])),
        "TORCH_HOME": str(torch_home),
    }


@pytest.fixture(scope="session")
def place(tmp_path_factory: pytest.TempPathFactory, environment: Mapping[str, str]) -> Path:
    """The working directory: the examples, and the pictures that one of them draws."""
    folder = tmp_path_factory.mktemp("place")
    (folder / "examples").symlink_to(ROOT / "examples")
    command = ["python", "examples/pictures.py", "photos"]
    subprocess.run(command, cwd=folder, env=environment, check=True, capture_output=True)
    return folder


@pytest.fixture(scope="session")
def server(
    place: Path, environment: Mapping[str, str], free_ports: Callable[[int], list[int]]
) -> Iterator[Mapping[str, str]]:
    """The server that the README starts. What it says is reached at, to where it is."""
    (block,) = [one for one in blocks("bash") if one.note == "server"]
    ports = free_ports(2)
    log = place / "server.log"
    with (
        log.open("w") as errors,
        subprocess.Popen(
            ["bash", "-c", f"exec {block.text}"],
            cwd=place,
            env={
                **environment,
                "ALAAS_ACTIVE_LEARNING__AL_WORKER__PORT": str(ports),
                "ALAAS_ACTIVE_LEARNING__AL_WORKER__HOST": "127.0.0.1",
            },
            stdout=subprocess.PIPE,
            stderr=errors,
            text=True,
        ) as process,
    ):
        assert process.stdout is not None
        first = process.stdout.readline()
        assert first.startswith("ready "), log.read_text()
        yield {f"localhost:{8081 + k}": f"127.0.0.1:{port}" for k, port in enumerate(ports)}
        process.send_signal(signal.SIGTERM)
    assert process.returncode == 0, log.read_text()


@pytest.fixture
def located(server: Mapping[str, str]) -> Callable[[Block], str]:
    """The text of a block with the server where it is, and not where the page has it."""

    def replace(block: Block) -> str:
        text = block.text
        for said, real in server.items():
            text = text.replace(said, real)
        return text

    return replace

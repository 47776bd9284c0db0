"""``alaas serve`` as its users run it: from a shell, to be stopped by a signal."""

from __future__ import annotations

import csv
import io
import json
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from urllib.parse import urlsplit
from uuid import uuid4

import numpy as np
import psutil
import pytest
from PIL import Image

ROOT = Path(__file__).parents[2]
MARK = "SERVE_UNDER_TEST"
MODEL = ("--model", "squeezenet1_0", "--weights", "none")
COUNT = 130
STOP_S = 60


@pytest.fixture(scope="module")
def pictures(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("pool")
    rng = np.random.default_rng(0)
    for row in range(COUNT):
        pixels = rng.integers(0, 256, (16, 16, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(folder / f"{row}.png")
    return folder


def environment(mark: str = "") -> dict[str, str]:
    """A mark is inherited by every process of a service, whoever its parent is."""
    return {**os.environ, "PYTHONPATH": str(ROOT), MARK: mark}


def marked(value: str) -> list[psutil.Process]:
    found = []
    for process in psutil.process_iter():
        try:
            if process.environ().get(MARK) == value:
                found.append(process)
        except psutil.Error:  # ended meanwhile, or somebody else's
            continue
    return found


def free_ports(count: int) -> list[int]:
    with ExitStack() as stack:
        # All are held until the last is known, or the system could give one twice.
        held = [stack.enter_context(socket.create_server(("127.0.0.1", 0))) for _ in range(count)]
        return [one.getsockname()[1] for one in held]


def is_open(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


class Service:
    """``alaas serve`` in a session of its own, ready.

    Attributes:
        process: The process that the user started.
        ready: The line that it printed.
        urls: Scheme to address.
        mark: What the environment of its processes says.
    """

    def __init__(self, root: Path) -> None:
        http, grpc = free_ports(2)
        self.mark = uuid4().hex
        self.process = subprocess.Popen(
            [
                *(sys.executable, "-m", "alaas", "serve", "--host", "127.0.0.1", *MODEL),
                *("--protocol", "http", "--port", str(http)),
                *("--protocol", "grpc", "--port", str(grpc)),
                *("--root", str(root), "--strategy", "ES", "--log-format", "json"),
            ],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,
            env=environment(self.mark),
        )
        assert self.process.stdout is not None
        self.ready = self.process.stdout.readline()
        self.urls = {urlsplit(url).scheme: url for url in self.ready.split()[1:]}
        self.ports = [http, grpc]

    def stop(self, number: signal.Signals) -> tuple[int, str, str]:
        """Send a signal; the exit status, and what there was on the two outputs since."""
        self.process.send_signal(number)
        out, err = self.process.communicate(timeout=STOP_S)
        return self.process.returncode, out, err


@pytest.fixture(scope="module")
def services(pictures: Path) -> Iterator[list[Service]]:
    """The one service of this module, in a list that the test of its end empties."""
    running = [Service(pictures)]
    left = list(running)
    yield running
    for one in left:
        if one.process.poll() is None:
            one.stop(signal.SIGTERM)


def alaas(*arguments: str, cwd: Path | None = None) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "alaas", *arguments],
        capture_output=True,
        text=True,
        check=False,
        cwd=cwd,
        env=environment(),
    )


def rows_of(text: str) -> list[tuple[str, float]]:
    return [(row["id"], float(row["score"])) for row in csv.DictReader(io.StringIO(text))]


def test_one_line_says_ready(services: list[Service]) -> None:
    http, grpc = services[0].ports
    assert services[0].ready == f"ready http://127.0.0.1:{http} grpc://127.0.0.1:{grpc}\n"


def test_its_first_process_has_no_torch(services: list[Service]) -> None:
    mapped = {Path(one.path).name for one in psutil.Process(services[0].process.pid).memory_maps()}
    assert any("python" in name for name in mapped)
    assert not any("torch" in name for name in mapped)


def test_a_query_chooses_the_same_here_and_there(services: list[Service], pictures: Path) -> None:
    asked = ("query", pictures.name, "--budget", "10%")
    answers = [
        alaas(*asked, "--server", services[0].urls["http"], cwd=pictures.parent),
        alaas(*asked, "--server", services[0].urls["grpc"], cwd=pictures.parent),
        alaas(*asked, "--server", services[0].urls["grpc"], "--by-uri", cwd=pictures.parent),
        alaas(*asked, "--strategy", "entropy", *MODEL, cwd=pictures.parent),
    ]
    assert [done.returncode for done in answers] == [0] * 4, [done.stderr for done in answers]
    first, *others = [rows_of(done.stdout) for done in answers]
    assert len(first) == 13
    assert {Path(name).parent.name for name, _ in first} == {pictures.name}
    for other in others:
        assert [name for name, _ in other] == [name for name, _ in first]
        assert [score for _, score in other] == pytest.approx([score for _, score in first])


def test_a_mistake_is_the_servers_answer(services: list[Service], pictures: Path) -> None:
    url = services[0].urls["http"]
    done = alaas("query", str(pictures), "-b", "1", "--strategy", "nope", "--server", url)
    assert (done.returncode, done.stdout) == (2, "")
    (line,) = done.stderr.splitlines()
    assert line.startswith("error: no strategy has the name 'nope'")
    assert line.endswith("[unknown_strategy]")


def test_its_port_is_taken(services: list[Service]) -> None:
    port = str(services[0].ports[0])
    done = alaas("serve", "--host", "127.0.0.1", "--port", port, *MODEL)
    assert (done.returncode, done.stdout) == (2, "")
    (line,) = done.stderr.splitlines()
    assert line.startswith(f"error: port {port} on 127.0.0.1 is in use")
    assert line.endswith("[port_in_use]")


def test_a_signal_ends_it_and_all_of_it(services: list[Service]) -> None:
    service = services.pop()
    assert len(marked(service.mark)) > 4
    assert all(map(is_open, service.ports))
    status, out, err = service.stop(signal.SIGTERM)
    assert (status, out) == (0, "")
    lines = err.splitlines()
    assert [line for line in lines if not line.startswith("{")] == []
    events = [json.loads(line)["event"] for line in lines]
    assert events[:2] == ["access", "loading model"]
    assert events[-2:] == ["stopping", "stopped"]
    _, alive = psutil.wait_procs(marked(service.mark), timeout=10)
    assert alive == []
    assert not any(map(is_open, service.ports))


@pytest.mark.parametrize(
    ("arguments", "said", "code"),
    [
        (("--model", "resnet19", "--weights", "none"), "no classifier 'resnet19'", "model"),
        (("--weights", "nowhere.safetensors"), "there is no weights file", "model"),
        (("--config", "nowhere.yml"), "nowhere.yml: cannot be read", "config"),
        (("--strategy", "entrpy"), "did you mean 'entropy'", "config"),
        (("--network", "10.0.0.1/8"), "must be a network without host bits", "config"),
    ],
)
def test_what_keeps_it_from_starting_is_one_line(
    arguments: tuple[str, ...], said: str, code: str
) -> None:
    (port,) = free_ports(1)
    quiet = ("--host", "127.0.0.1", "--port", str(port), "--log-level", "error")
    done = alaas("serve", *quiet, *arguments)
    assert (done.returncode, done.stdout) == (2, "")
    (line,) = done.stderr.splitlines()
    assert line.startswith("error: ")
    assert said in line
    assert line.rpartition(" [")[2].startswith(code)

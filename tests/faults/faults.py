"""A real server in a process group of its own, watched and harmed from outside."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any
from uuid import uuid4

import psutil
import requests

ROOT = Path(__file__).parents[2]
MARK = "ALAAS_FAULTS_MARK"
WAIT_S = 60.0
"""Seconds after which a test that waits has failed."""

MODEL: dict[str, Any] = {
    "hub": "python",
    "name": "faulty:tiny",
    "weights": "none",
    "runtime": "torch",
    "preprocess": {"size": 8, "resize": 8, "mean": [0.5, 0.5, 0.5], "std": [0.25, 0.25, 0.25]},
    "batch_size": 16,
}
"""Three numbers out of a picture, in no time."""


def free_ports(count: int) -> list[int]:
    """Ports that nobody listens on."""
    with ExitStack() as stack:
        # All are held until the last is known, or the system could give one twice.
        held = [stack.enter_context(socket.create_server(("127.0.0.1", 0))) for _ in range(count)]
        return [one.getsockname()[1] for one in held]


def is_open(port: int) -> bool:
    """Whether somebody accepts connections on that port of this machine."""
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


def until(holds: Callable[[], object], what: str, within_s: float = WAIT_S) -> None:
    """Look again and again until something holds.

    Raises:
        AssertionError: It does not come to hold.
    """
    deadline, pause = time.monotonic() + within_s, threading.Event()
    while not holds():
        assert time.monotonic() < deadline, f"not within {within_s:g} s: {what}"
        pause.wait(0.02)


def configuration(
    http: int, grpc: int | None = None, *, model: Mapping[str, Any] = {}, **sections: Any
) -> dict[str, Any]:
    """The configuration of a server with the tiny model on loopback.

    Args:
        http: Port of HTTP and WebSocket.
        grpc: Port of gRPC; None speaks none.
        model: Keys of the model that differ from `MODEL`.
        sections: Other sections; ``worker`` goes into ``al_worker``.
    """
    spoken = {"http": http, "ws": http} | ({} if grpc is None else {"grpc": grpc})
    worker = {
        "protocol": list(spoken),
        "port": list(spoken.values()),
        "host": "127.0.0.1",
        **sections.pop("worker", {}),
    }
    return {
        "active_learning": {"strategy": {"model": {**MODEL, **model}}, "al_worker": worker},
        "log": {"format": "json", "level": "info"},
        **sections,
    }


class Running:
    """`alaas serve` in a process group of its own.

    Every process that comes from it carries a mark in its environment, whoever its parent is:
    so nothing is left behind unseen.

    Args:
        tree: The configuration.
        folder: A folder of this server alone: its configuration, temporary files and data.
        environment: Variables that its processes get.

    Attributes:
        process: The process that was started, the supervisor.
        ports: The ports that the configuration names.
        url: Where it is asked over HTTP.
        addresses: Protocol to where it is asked.
        folder: As given.
    """

    def __init__(
        self, tree: Mapping[str, Any], folder: Path, environment: Mapping[str, str] | None = None
    ) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        config = folder / "config.yml"
        config.write_text(json.dumps(tree))  # JSON is YAML
        worker = tree["active_learning"]["al_worker"]
        self.ports = sorted(set(worker["port"]))
        self.url = f"http://127.0.0.1:{worker['port'][0]}"
        self.addresses = {
            scheme: f"{scheme}://127.0.0.1:{port}"
            for scheme, port in zip(worker["protocol"], worker["port"], strict=True)
        }
        self.folder = folder
        self._mark = uuid4().hex
        (folder / "tmp").mkdir(exist_ok=True)
        self._errors = (folder / "stderr").open("ab")
        self.process = subprocess.Popen(
            [sys.executable, "-m", "alaas", "serve", "--config", str(config)],
            stdout=subprocess.PIPE,
            stderr=self._errors,
            start_new_session=True,
            text=True,
            env={
                **os.environ,
                "PYTHONPATH": os.pathsep.join([str(ROOT), str(Path(__file__).parent)]),
                "XDG_DATA_HOME": str(folder / "data"),
                "TMPDIR": str(folder / "tmp"),
                MARK: self._mark,
                **(environment or {}),
            },
        )

    def wait_ready(self) -> Running:
        """Wait until `/readyz` says so, and the server has announced it."""
        assert self.process.stdout is not None
        line = self.process.stdout.readline()
        assert line.startswith("ready "), self.log()
        assert self.get("/readyz").status_code == 200
        return self

    def get(self, path: str, **more: Any) -> requests.Response:
        """GET a path."""
        return requests.get(self.url + path, timeout=WAIT_S, **more)

    def post(self, path: str, body: Any, **more: Any) -> requests.Response:
        """POST a JSON document to a path."""
        return requests.post(self.url + path, json=body, timeout=WAIT_S, **more)

    def status_of(self, path: str) -> int | None:
        """The status of a GET, or None while nobody answers."""
        try:
            return self.get(path).status_code
        except requests.ConnectionError:
            return None

    def log(self) -> str:
        """All that it has written to standard error."""
        return (self.folder / "stderr").read_text(errors="replace")

    def events(self) -> list[dict[str, Any]]:
        """The lines of its log, which must be JSON."""
        return [json.loads(line) for line in self.log().splitlines()]

    def family(self) -> list[psutil.Process]:
        """Every process of it that lives."""
        return [one for one in psutil.process_iter() if self._owns(one)]

    def _owns(self, process: psutil.Process) -> bool:
        try:
            if process.status() == psutil.STATUS_ZOMBIE:
                return False
            return process.environ().get(MARK) == self._mark
        except psutil.Error:  # ended meanwhile, or somebody else's
            return False

    def signal(self, number: signal.Signals) -> None:
        """Send a signal to the supervisor."""
        self.process.send_signal(number)

    def wait_end(self) -> int:
        """Wait for the supervisor's end; its exit status."""
        return self.process.wait(WAIT_S)

    def stop(self) -> int:
        """End it in good order, and make sure that nothing is left; its exit status."""
        if self.process.poll() is None:
            self.signal(signal.SIGTERM)
        status = self.wait_end()
        self.assert_gone()
        return status

    def assert_gone(self) -> None:
        """No process of it lives, and none of its ports is open."""
        until(lambda: not self.family(), "every process has ended")
        # A killed process closes its ports once its last thread is gone.
        until(lambda: not [port for port in self.ports if is_open(port)], "every port is closed")

    def close(self) -> None:
        """Kill what is left, whatever the test has done to it."""
        for process in self.family():
            process.kill()
        self.process.wait()
        if self.process.stdout is not None:
            self.process.stdout.close()
        self._errors.close()


@contextmanager
def running(
    folder: Path,
    *,
    grpc: bool = False,
    ready: bool = True,
    environment: Mapping[str, str] | None = None,
    **settings: Any,
) -> Iterator[Running]:
    """A server with the tiny model, killed at the end if it still runs.

    Args:
        folder: As of `Running`.
        grpc: Whether it speaks gRPC beside HTTP and WebSocket.
        ready: Whether to wait until it is ready.
        environment: As of `Running`.
        settings: As the keywords of `configuration`.
    """
    ports = free_ports(1 + grpc)
    server = Running(configuration(*ports, **settings), folder, environment)
    try:
        yield server.wait_ready() if ready else server
    finally:
        server.close()

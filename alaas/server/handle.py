"""`Server`: start the service from Python, as a script, a notebook or a test does."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from types import FrameType
from typing import Any

from alaas.config import Settings, load
from alaas.core.errors import SetupError, from_problem
from alaas.strategies import registry

STOP_S = 15.0
"""Seconds that a stopping server gets, beside those that the configuration gives its queries."""


class Server:
    """A server in a process of its own.

    The process keeps the caller's torch, threads and signal handlers out of the executors
    that it forks, and ends when the caller does.

    Args:
        settings: The configuration.
        config_path: A YAML file instead, as in ``Server(config_path="x.yml").start()``.

    Example:
        ::

            with Server(Settings()) as server:
                Client(server.urls["http"]).query_by_uri(uris, budget=3)
    """

    def __init__(
        self, settings: Settings | None = None, *, config_path: str | Path | None = None
    ) -> None:
        if config_path is not None:
            settings = _load(config_path)
        self.settings = settings or Settings()
        self.urls: Mapping[str, str] = {}
        self._process: subprocess.Popen[str] | None = None
        # `Server.start(...)` is the old entry point and takes a model; on an instance,
        # `start()` starts this one. Earlier releases had both.
        self.start = self._start_this  # type: ignore[assignment,method-assign]

    @staticmethod
    def start(  # noqa: PLR0917
        proto: str | Sequence[str] = "http",
        port: int | Sequence[int] = 8081,
        host: str = "0.0.0.0",  # noqa: S104  # the documented default of earlier releases
        job_name: str = "default_app",
        model_hub: str = "pytorch/vision:v0.10.0",
        model_name: str = "resnet18",
        device: str = "cpu",
        strategy: str = "LeastConfidence",
        batch_size: int | str = "auto",
        replica: int | str = 1,
        tokenizer: str | None = None,
        transformers_task: str | None = None,
        *,
        block: bool = True,
    ) -> Server:
        """Start a server.

        Args:
            proto: http, https, grpc, grpcs, ws, wss, or a list of them.
            port: The port, or a list, one a protocol.
            host: Address to listen on.
            job_name: Name of the service.
            model_hub: Any hub of the configuration; ``pytorch/vision:...`` means torchvision.
            model_name: Name of the model.
            device: cpu, cuda, cuda:0, mps or auto.
            strategy: Any name or alias of `alaas strategies`.
            batch_size: Items in a micro-batch, or ``auto``.
            replica: Copies of the model, or ``auto``.
            tokenizer: Tokenizer of a model of Transformers, which this makes of the model.
            transformers_task: Its task, such as ``text-classification``, likewise.
            block: Return only when the server has ended, on SIGINT or SIGTERM. With False,
                return as soon as it is ready; `stop` ends it.

        Raises:
            ConfigError: A value is not allowed.
            SetupError: The server cannot start.
        """
        overrides = {
            "name": job_name,
            "active_learning.strategy.type": strategy,
            "active_learning.strategy.model.hub": model_hub,
            "active_learning.strategy.model.name": model_name,
            "active_learning.strategy.model.device": device,
            "active_learning.strategy.model.batch_size": batch_size,
            "active_learning.strategy.model.tokenizer": tokenizer,
            "active_learning.strategy.model.task": transformers_task,
            "active_learning.al_worker.protocol": proto,
            "active_learning.al_worker.host": host,
            "active_learning.al_worker.port": port,
            "active_learning.al_worker.replicas": replica,
        }
        return Server(_load(None, overrides))._start_this(block=block)

    @staticmethod
    def start_by_config(config_path: str | Path, *, block: bool = True) -> Server:
        """Start a server from a YAML file.

        Args:
            config_path: The file.
            block: As in `start`.

        Raises:
            ConfigError: The file has an unknown key or a wrong value.
            SetupError: The server cannot start.
        """
        return Server(_load(config_path))._start_this(block=block)

    def _start_this(self, *, block: bool = True) -> Server:
        if not block:
            return self.__enter__()
        process = self._launch()
        with _signals_to(process):
            try:
                self._await_ready(process)
            except SetupError:
                # A signal before it was ready has ended it, in good order.
                if process.wait(self._patience_s) != 0:
                    raise
            process.wait()
        self.stop()
        return self

    def __enter__(self) -> Server:
        process = self._launch()
        try:
            self._await_ready(process)
        except BaseException:
            self.stop()
            raise
        return self

    def _launch(self) -> subprocess.Popen[str]:
        process = self._process = subprocess.Popen(
            [sys.executable, "-m", "alaas.server"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            # The caller's Ctrl-C reaches it through `stop`, once.
            start_new_session=True,
            env={**os.environ, "PYTHONPATH": os.pathsep.join(_import_path())},
        )
        assert process.stdin is not None
        with contextlib.suppress(BrokenPipeError):  # it ended at once; the answer says why
            # The pipe stays open: its end is how the server learns that the caller has died.
            process.stdin.write(self.settings.model_dump_json() + "\n")
            process.stdin.flush()
        return process

    def _await_ready(self, process: subprocess.Popen[str]) -> None:
        assert process.stdout is not None
        answer = json.loads(process.stdout.readline() or "{}")
        if problem := answer.get("problem"):
            raise from_problem(problem)
        if "ready" not in answer:
            raise SetupError("the server ended before it was ready; standard error says why")
        self.urls = answer["ready"]

    def __exit__(self, *_: Any) -> None:
        self.stop()

    @property
    def pid(self) -> int | None:
        """Process id of the server, while it runs."""
        return None if self._process is None else self._process.pid

    @property
    def _patience_s(self) -> float:
        shutdown = self.settings.shutdown
        return shutdown.grace_s + shutdown.timeout_s + STOP_S

    def stop(self) -> int | None:
        """Finish what is in flight and end the server.

        Returns:
            Its exit status, or None if it was not running.
        """
        process, self._process = self._process, None
        if process is None:
            return None
        process.terminate()
        try:
            return process.wait(self._patience_s)
        except subprocess.TimeoutExpired:
            process.kill()
            return process.wait()
        finally:
            for pipe in (process.stdin, process.stdout):
                if pipe is not None:
                    pipe.close()


@contextmanager
def _signals_to(process: subprocess.Popen[str]) -> Iterator[None]:
    """Pass SIGINT and SIGTERM on to a process, where the caller owns the signals."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return

    def pass_on(_: int, __: FrameType | None) -> None:
        process.terminate()

    before = {name: signal.signal(name, pass_on) for name in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield
    finally:
        for name, handler in before.items():
            signal.signal(name, handler)


def _load(path: str | Path | None, overrides: Mapping[str, Any] | None = None) -> Settings:
    choices = {"active_learning.strategy.type": registry.names()}
    return load(path, overrides=overrides, choices=choices).settings


def _import_path() -> list[str]:
    """Where the caller's own modules are: a model of hub ``python`` may be one of them."""
    given = [str(Path.cwd()) if entry == "" else entry for entry in sys.path]
    return [entry for entry in given if entry and "site-packages" not in entry]

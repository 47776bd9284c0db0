"""The life of a server: check, start, announce, wait for a signal, drain, end."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import tempfile
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Mapping, Sequence
from multiprocessing import connection
from pathlib import Path
from typing import TYPE_CHECKING, cast

import structlog

from alaas.config import Settings
from alaas.config.listeners import Listener
from alaas.core.errors import Internal, SetupError
from alaas.models.card import ModelCard, resolved
from alaas.models.describe import describe
from alaas.server import logs
from alaas.server.ports import check_free
from alaas.strategies import registry

if TYPE_CHECKING:
    from alaas.server.flow import Worker

log = structlog.get_logger()

READY_S = 120.0
"""Seconds that a started Flow gets until its first canary has come through."""

POLL_S = 0.2
"""Seconds between two looks at whether a signal has come."""

OnReady = Callable[[Mapping[str, str]], None]


def serve(settings: Settings, on_ready: OnReady) -> None:
    """Run the service until SIGINT or SIGTERM.

    Must be called on the main thread of a process that has not imported torch and that
    ends afterwards: the executors are forked from it, and its signals are taken over.

    Args:
        settings: The configuration.
        on_ready: Called once, with protocol → URL, when every stage has answered.

    Raises:
        SetupError: It cannot start: a port is taken, the model cannot be loaded, a
            hyper-parameter is wrong.
    """
    stop = threading.Event()
    for name in (signal.SIGINT, signal.SIGTERM):
        signal.signal(name, lambda *_: stop.set())
    logs.configure(settings.log)
    chosen = settings.active_learning.strategy
    registry.check_params(registry.get(chosen.type), chosen.params)
    listeners = settings.active_learning.al_worker.listeners
    for listener in listeners:
        check_free(listener)
    log.info("loading model", name=chosen.model.name, weights=chosen.model.weights)
    card = describe(chosen.model, stopped=stop.is_set)
    if card is None:
        return
    settings = _settled(settings, card)
    # Jina is imported as late as this so that a mistake is reported before it is paid for.
    from alaas.server.flow import RuntimeFailToStart, build, workers

    runtime = tempfile.TemporaryDirectory(prefix="alaas-")
    flow, control = build(settings, card, Path(runtime.name))
    log.info("starting", stages="fetch, preprocess, infer, score")
    try:
        # Jina draws banners on standard output, which belongs to the caller.
        with open(os.devnull, "w") as nowhere, contextlib.redirect_stdout(nowhere), flow:
            # Importing jina has taken over SIGINT.
            for name in (signal.SIGINT, signal.SIGTERM):
                signal.signal(name, lambda *_: stop.set())
            if _wait_ready(control, stop):
                on_ready(urls(listeners))
                _watch(workers(flow), stop)
                log.info("stopping", detail="queries in flight are finished first")
    except RuntimeFailToStart as error:
        raise SetupError("a stage did not start; the lines above say why") from error
    finally:
        # A second signal, while the interpreter shuts down, must not undo a clean end.
        for name in (signal.SIGINT, signal.SIGTERM):
            signal.signal(name, signal.SIG_IGN)
        runtime.cleanup()
        log.info("stopped")


def _settled(settings: Settings, card: ModelCard) -> Settings:
    """The configuration with the runtime that the model was loaded with: for all replicas."""
    chosen = settings.active_learning.strategy
    strategy = chosen.model_copy(update={"model": resolved(chosen.model, card)})
    active = settings.active_learning.model_copy(update={"strategy": strategy})
    return settings.model_copy(update={"active_learning": active})


def _watch(alive: Sequence[Worker], stop: threading.Event) -> None:
    """Wait for a signal, and say when a process of the Flow ends on its own.

    Raises:
        Internal: The gateway has ended: nobody can be served.
    """
    left = {worker.sentinel: worker for worker in alive}
    while not stop.is_set():
        for sentinel in connection.wait(list(left), timeout=POLL_S):
            worker = left.pop(cast("int", sentinel))
            worker.mark_ended()
            if stop.is_set():
                return
            log.error("a process of the server ended", stage=worker.stage)
            if worker.stage == "gateway":
                raise Internal("the gateway ended unexpectedly")


def urls(listeners: tuple[Listener, ...]) -> dict[str, str]:
    """Protocol to the URL that a client on this machine uses.

    Example:
        >>> urls((Listener("http", "0.0.0.0", 8081, False, ("http", "ws")),))
        {'http': 'http://127.0.0.1:8081', 'ws': 'ws://127.0.0.1:8081'}
    """
    return {
        protocol: f"{protocol}://{_reachable(listener.host)}:{listener.port}"
        for listener in listeners
        for protocol in listener.protocols
    }


def _reachable(host: str) -> str:
    if host == "0.0.0.0":  # noqa: S104  # compared, not bound
        return "127.0.0.1"
    return f"[{'::1' if host == '::' else host}]" if ":" in host else host


def _wait_ready(control: int, stop: threading.Event) -> bool:
    """Ask for readiness until it is there. False when a signal came first.

    Raises:
        SetupError: It did not come.
    """
    deadline = time.monotonic() + READY_S
    reason = "no answer"
    while not stop.is_set():
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{control}/readyz", timeout=10):
                return True
        except urllib.error.HTTPError as error:
            reason = json.load(error).get("detail", str(error))
        except OSError as error:
            reason = str(error)
        if time.monotonic() > deadline:
            raise SetupError(f"the stages did not become ready in {READY_S:g} s: {reason}")
        stop.wait(0.1)
    return False

"""The life of a server: check, start, announce, supervise, drain, end."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Mapping
from multiprocessing import connection
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING

import structlog

from alaas.config import Settings
from alaas.config.listeners import Listener
from alaas.core.errors import Internal, SetupError
from alaas.data import credentials
from alaas.models.card import ModelCard
from alaas.models.describe import Descriptions
from alaas.server import auth, handover, logs, runtime, tls
from alaas.server.fleet import Fleet, await_end
from alaas.server.jobs import database
from alaas.server.ports import check_free
from alaas.server.replica import Replica
from alaas.server.status import State, Status
from alaas.strategies import registry

if TYPE_CHECKING:
    from alaas.server.flow import Crew

log = structlog.get_logger()

READY_S = 120.0
"""Seconds that started stages get until their first canary has come through."""

ASK_S = 1.0
"""Seconds that the gateway gets to say that it is ready; a canary goes on without the asker."""

POLL_S = 0.1
"""Seconds between two looks at the processes, where none of them ends."""

LEAVE_S = 10.0
"""Seconds that processes get to end which have nothing left to do."""

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
        Internal: The gateway ended, or a stage dies again and again.
        SystemExit: A second signal came while it was finishing what was in flight.
    """
    signals = Signals()
    logs.configure(settings.log)
    chosen = settings.active_learning.strategy
    registry.check_params(registry.get(chosen.type), chosen.params)
    credentials.require(settings.fetch)
    listeners = settings.active_learning.al_worker.listeners
    if (secret := settings.active_learning.al_worker.tls) is not None:
        tls.check(secret)
    for listener in listeners:
        check_free(listener)
    database.prepare(database.location(settings))
    log.info("access", served=auth.served(settings.auth))
    for name, model in chosen.served.items():
        log.info("loading model", served_as=name, name=model.name, weights=model.weights)
    try:
        with (
            runtime.folder() as folder,
            contextlib.closing(Descriptions(chosen.served)) as descriptions,
        ):
            # Jina takes long to import; meanwhile the model is being loaded.
            from alaas.server.flow import Crew

            signals.take()  # jina has taken over SIGINT
            supervisor = Supervisor(settings, Crew(settings, folder), folder, signals)
            supervisor.run(descriptions, lambda: on_ready(urls(listeners)))
    finally:
        # A further signal, while the interpreter shuts down, must not undo a clean end.
        signals.ignore()
        log.info("stopped")


class Signals:
    """The signals to stop that have come: the first is a wish, the second an order."""

    def __init__(self) -> None:
        self.count = 0
        self.last = 0
        self.take()

    def take(self) -> None:
        """Take SIGINT and SIGTERM over."""
        for name in (signal.SIGINT, signal.SIGTERM):
            signal.signal(name, self._note)

    def ignore(self) -> None:
        """Ignore them from now on."""
        for name in (signal.SIGINT, signal.SIGTERM):
            signal.signal(name, signal.SIG_IGN)

    def _note(self, number: int, _: FrameType | None) -> None:
        self.count += 1
        self.last = number


class Supervisor:
    """Starts the processes of a server, keeps them going, and ends them.

    Args:
        settings: The configuration.
        crew: The processes, and how each is started.
        folder: The runtime folder.
        signals: The signals to stop.
    """

    def __init__(self, settings: Settings, crew: Crew, folder: Path, signals: Signals) -> None:
        self._settings = settings
        self._crew = crew
        self._folder = folder
        self._signals = signals
        self._fleet: Fleet | None = None
        self._told = Status()
        self._state: State = "starting"
        self._progress = "the model is being loaded"
        self._ready_by = 0.0

    def run(self, descriptions: Descriptions, on_ready: Callable[[], None]) -> None:
        """Do all of it, until a signal comes.

        Args:
            descriptions: The models, which are being loaded.
            on_ready: Called once, when every stage has answered.
        """
        self._tell()
        self._gateway = Replica(
            self._crew.gateway, self._crew.start(self._crew.gateway), self._folder
        )
        try:
            while not self._signals.count:
                self._look()
                if self._state == "starting" and self._advance(descriptions):
                    self._state, self._progress = "ready", ""
                    self._tell()
                    on_ready()
                self._wait()
            log.info("stopping", detail="queries in flight are finished first")
            self._drain()
        finally:
            self._gateway.kill()
            if self._fleet is not None:
                self._fleet.kill()
            self._gateway.forget()

    def _advance(self, descriptions: Descriptions) -> bool:
        """Go on with the start; whether it is complete."""
        if self._fleet is None:
            cards = descriptions.cards()
            if cards is not None:
                self._man(cards)
            return False
        stages = self._fleet.status()
        missing = [name for name, stage in stages.items() if stage.ready < stage.wanted]
        if missing:
            self._progress = f"the model is known; not up yet: {', '.join(missing)}"
            self._ready_by = time.monotonic() + READY_S
            return False
        self._progress = "every stage is up; a canary is on its way"
        return self._is_ready()

    def _man(self, cards: Mapping[str, ModelCard]) -> None:
        settings = handover.settled(self._settings, cards)
        self._crew.settle(settings, cards)
        handover.write(self._folder, cards)
        self._fleet = Fleet(
            self._crew.places, self._crew.start, settings.supervision, self._folder
        )  # fmt: skip
        log.info("starting", stages=", ".join(self._fleet.status()))

    def _look(self) -> None:
        """Look at every process once, and say how they are.

        Raises:
            Internal: There is no going on.
            SystemExit: There was a second signal.
        """
        if self._signals.count > 1:
            log.warning("stopping at once", detail="a second signal came")
            raise SystemExit(128 + self._signals.last)
        if self._fleet is not None:
            self._fleet.look()
            if self._fleet.lost is not None and self._state != "failed":
                self._give_up(self._fleet.lost)
        self._tell()
        now = time.monotonic()
        self._gateway.look(now)
        if self._state != "failed" and self._gateway.process.exitcode is not None:
            raise Internal("the gateway ended unexpectedly")
        if fault := self._gateway.fault(now, self._settings.supervision.hang_s):
            raise Internal(f"the gateway hangs: {fault}")

    def _give_up(self, reason: str) -> None:
        self._state, self._progress = "failed", reason
        self._tell()
        log.critical("giving up", reason=reason)
        # Whoever waits for an answer is told; nobody will get another one.
        self._gateway.process.terminate()
        await_end([self._gateway.process], LEAVE_S)
        raise Internal(reason)

    def _tell(self) -> None:
        stages = {} if self._fleet is None else self._fleet.status()
        status = Status(self._state, self._progress, os.getpid(), stages)
        if status != self._told:
            status.write(self._folder)
            self._told = status

    def _wait(self) -> None:
        sentinels = [self._gateway.process.sentinel]
        if self._fleet is not None:
            sentinels += self._fleet.sentinels()
        connection.wait(sentinels, timeout=POLL_S)

    def _drain(self) -> None:
        """Serve for a while, finish what is in flight, and end: whoever dies is replaced."""
        self._state = "draining"
        rules = self._settings.shutdown
        grace = time.monotonic() + rules.grace_s
        while time.monotonic() < grace:
            self._look()
            self._wait()
        self._gateway.process.terminate()
        last = time.monotonic() + rules.timeout_s + LEAVE_S
        while self._gateway.process.exitcode is None and time.monotonic() < last:
            self._look_while_leaving()
            self._wait()
        if self._fleet is not None:
            self._fleet.stop(LEAVE_S)

    def _look_while_leaving(self) -> None:
        with contextlib.suppress(Internal):  # the gateway may end, and whatever else: it is over
            self._look()

    def _is_ready(self) -> bool:
        """Ask the gateway for readiness.

        Raises:
            SetupError: It has not come for a long time.
        """
        try:
            url = f"http://127.0.0.1:{self._crew.gateway.port}/readyz"
            with urllib.request.urlopen(url, timeout=ASK_S):
                return True
        except urllib.error.HTTPError as error:
            reason = json.load(error).get("detail", str(error))
        except OSError as error:
            reason = str(error)
        if time.monotonic() > self._ready_by:
            raise SetupError(f"the stages did not become ready in {READY_S:g} s: {reason}")
        return False


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

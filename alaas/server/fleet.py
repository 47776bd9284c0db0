"""The processes of the stages: started, watched, and replaced when they die or hang."""

from __future__ import annotations

import signal
import socket
from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from multiprocessing import connection
from multiprocessing.process import BaseProcess
from pathlib import Path
from time import monotonic
from typing import Literal

import structlog

from alaas.config import SupervisionSettings
from alaas.server.pulse import Beat
from alaas.server.status import Reason, StageStatus

SILENT_S = 1.5
"""Seconds without a beat after which a process does not count as ready."""

STALLED_S = 5.0
"""Seconds in a piece of work without computing after which it does not either."""

COMPUTES = 0.1
"""Share of one processor that a process uses which computes."""

PATIENCE = 10
"""Times `hang_s` for which a process may compute without an end of it."""

START_S = 600.0
"""Seconds that a process gets from its start until it answers."""

VMSTAT = Path("/proc/vmstat")
"""Where Linux counts whom it has ended for want of memory."""

LONGEST_WAIT_S = 30.0
"""Seconds between two starts of a stage whose processes die again and again, at most."""

log = structlog.get_logger()

State = Literal["ready", "starting", "silent"]


@dataclass(frozen=True, slots=True)
class Place:
    """A process that there should be, whoever fills it.

    Attributes:
        stage: The stage that it belongs to.
        number: Which of the stage's replicas it is, from 0.
        port: Its port on loopback.
    """

    stage: str
    number: int
    port: int

    def beats(self, runtime: Path) -> Path:
        """The file that shows that its process lives."""
        return runtime / f"{self.stage}-{self.number}.pulse"


class Replica:
    """A process that fills a place.

    Args:
        place: The place.
        process: The process, started.
        runtime: The runtime folder of the server.
    """

    def __init__(self, place: Place, process: BaseProcess, runtime: Path) -> None:
        self.place = place
        self.process = process
        self.started = monotonic()
        self.ready = False
        self.doomed = False
        self._path = place.beats(runtime)
        self._last = Beat()
        self._computed_at = self.started

    def look(self, now: float) -> None:
        """Learn how it is doing."""
        beat = Beat.read(self._path)
        if beat is None:
            return
        passed = beat.at - self._last.at
        computed = beat.cpu_s - self._last.cpu_s
        if not beat.since or beat.answered != self._last.answered or computed > COMPUTES * passed:
            self._computed_at = now
        if passed:
            self._last = beat
        self.ready = self.ready or is_open(self.place.port)

    @property
    def answered(self) -> int:
        """Messages that it has answered."""
        return self._last.answered

    @property
    def busy(self) -> bool:
        """Whether it was at work when it beat last."""
        return bool(self._last.since)

    def state(self, now: float) -> State:
        """Whether it can be relied on."""
        if not self.ready:
            return "starting"
        silent = now - self._last.at > SILENT_S
        stalled = self.busy and now - self._computed_at > STALLED_S
        return "silent" if silent or stalled else "ready"

    def fault(self, now: float, hang_s: float) -> str | None:
        """Why it must be replaced, or None while it need not be."""
        if not self.ready:
            return f"not ready after {START_S:g} s" if now - self.started > START_S else None
        if now - self._last.at > hang_s:
            return f"no sign of life for {hang_s:g} s"
        if self.busy and now - max(self._computed_at, self._last.since) > hang_s:
            return f"at work for {hang_s:g} s without computing"
        if self.busy and now - self._last.since > PATIENCE * hang_s:
            return f"at work on one thing for {PATIENCE * hang_s:g} s"
        return None

    def kill(self) -> None:
        """End it at once, also where it is stopped."""
        with suppress(ProcessLookupError):
            self.process.kill()

    def forget(self) -> None:
        """Clear up behind it, so that nobody takes its last beat for the next one's."""
        self.process.join()
        self._path.unlink(missing_ok=True)


@dataclass(slots=True)
class _Stage:
    """What is known of a stage.

    Attributes:
        deaths: When its processes have died, without one message answered in between.
        answered: Messages that those have answered which are gone.
        counted: All that it had answered when a death was counted last.
    """

    places: list[Place] = field(default_factory=list)
    restarts: dict[Reason, int] = field(default_factory=dict)
    deaths: list[float] = field(default_factory=list)
    answered: int = 0
    counted: int = 0
    due: dict[Place, float] = field(default_factory=dict)


class Fleet:
    """All executors of a server.

    Args:
        places: Those that there should be.
        start: Forks the process of one.
        settings: When to replace, and when to give up.
        runtime: The runtime folder of the server.
    """

    def __init__(
        self,
        places: Iterable[Place],
        start: Callable[[Place], BaseProcess],
        settings: SupervisionSettings,
        runtime: Path,
    ) -> None:
        self._start = start
        self._settings = settings
        self._runtime = runtime
        self._replicas: dict[Place, Replica] = {}
        self._stages: dict[str, _Stage] = {}
        for place in places:
            stage = self._stages.setdefault(place.stage, _Stage())
            stage.places.append(place)
            stage.due[place] = 0.0
        self._oom_kills = _oom_kills()
        self.lost: str | None = None
        """Why it cannot go on, once it cannot."""

    def look(self) -> None:
        """Look at every process once: clear up, judge, and start whoever is due."""
        now = monotonic()
        for place, replica in list(self._replicas.items()):
            if replica.process.exitcode is not None:
                self._bury(place, replica, now)
                continue
            replica.look(now)
            if not replica.doomed and (fault := replica.fault(now, self._settings.hang_s)):
                log.error("a process hangs and is ended", **self._named(replica), reason=fault)
                replica.doomed = True
                replica.kill()
        for stage in self._stages.values():
            for place, due in list(stage.due.items()):
                if due <= now and self.lost is None:
                    del stage.due[place]
                    self._replicas[place] = Replica(place, self._start(place), self._runtime)

    def _bury(self, place: Place, replica: Replica, now: float) -> None:
        replica.look(now)
        del self._replicas[place]
        replica.forget()
        stage, reason = self._stages[place.stage], self._reason(replica)
        stage.restarts[reason] = stage.restarts.get(reason, 0) + 1
        stage.answered += replica.answered
        wait_s = self._count(place.stage, reason, now)
        if self.lost is not None:
            return
        stage.due[place] = now + wait_s
        log.error(
            "a process has ended and is replaced",
            **self._named(replica), reason=reason, status=replica.process.exitcode, in_s=wait_s,
        )  # fmt: skip

    def _count(self, name: str, reason: Reason, now: float) -> float:
        """Seconds until the next start; too many deaths in a row give the stage up.

        One that somebody has killed says nothing of its stage, and one whose stage has answered
        something since the last begins a new row.
        """
        stage, rules = self._stages[name], self._settings
        if reason == "killed":
            return 0.0
        stage.deaths = [*self._row(name, now), now]
        stage.counted = self._answered(name)
        row = len(stage.deaths)
        if row > rules.restarts:
            self.lost = (
                f"{name} died {row} times within {rules.within_s:g} s and answered nothing in "
                f"between; supervision.restarts allows {rules.restarts}"
            )
        return 0.0 if row == 1 else min(LONGEST_WAIT_S, 2.0 ** (row - 2))

    def _reason(self, replica: Replica) -> Reason:
        if replica.doomed:
            return "hung"
        status, before = replica.process.exitcode, self._oom_kills
        self._oom_kills = _oom_kills()
        if status == -signal.SIGKILL and self._oom_kills > before:
            return "oom"
        # A process that is asked to end does so in good order, with status 0.
        outside = {-signal.SIGKILL, -signal.SIGTERM, -signal.SIGINT}
        return "killed" if status in outside or (status == 0 and replica.ready) else "died"

    def _answered(self, name: str) -> int:
        alive = [one.answered for place, one in self._replicas.items() if place.stage == name]
        return self._stages[name].answered + sum(alive)

    def _row(self, name: str, now: float) -> list[float]:
        """When processes of a stage have died without one answer in between."""
        stage = self._stages[name]
        if self._answered(name) > stage.counted:
            return []
        return [at for at in stage.deaths if now - at < self._settings.within_s]

    def status(self) -> Mapping[str, StageStatus]:
        """The stages as they are now."""
        now = monotonic()
        told = {}
        for name, stage in self._stages.items():
            states = [
                self._replicas[place].state(now)
                for place in stage.places
                if place in self._replicas
            ]
            told[name] = StageStatus(
                wanted=len(stage.places),
                ready=states.count("ready"),
                starting=states.count("starting"),
                silent=states.count("silent"),
                restarts=dict(stage.restarts),
                deaths=len(self._row(name, now)),
                retry_at=min((at for at in stage.due.values() if at > now), default=None),
            )
        return told

    def sentinels(self) -> list[int]:
        """What becomes readable when a process ends."""
        return [replica.process.sentinel for replica in self._replicas.values()]

    def stop(self, within_s: float) -> None:
        """Ask all to end, and end those that do not."""
        for replica in self._replicas.values():
            with suppress(ProcessLookupError):
                replica.process.terminate()
        await_end([replica.process for replica in self._replicas.values()], within_s)
        self.kill()

    def kill(self) -> None:
        """End all at once."""
        for replica in self._replicas.values():
            replica.kill()
        for replica in self._replicas.values():
            replica.forget()
        self._replicas.clear()

    def _named(self, replica: Replica) -> dict[str, object]:
        place = replica.place
        return {"stage": place.stage, "replica": place.number, "ended": replica.process.pid}


def await_end(processes: Iterable[BaseProcess], within_s: float) -> bool:
    """Wait until processes have ended; whether all have."""
    deadline = monotonic() + within_s
    left = {process.sentinel for process in processes}
    while left and (wait_s := deadline - monotonic()) > 0:
        left -= {one for one in connection.wait(list(left), wait_s) if isinstance(one, int)}
    return not left


def is_open(port: int) -> bool:
    """Whether a port of loopback accepts connections."""
    with socket.socket() as probe:
        probe.settimeout(1.0)
        return probe.connect_ex(("127.0.0.1", port)) == 0


def _oom_kills() -> int:
    """Processes of this machine that were ended for want of memory; 0 where nobody counts."""
    with suppress(OSError, ValueError):
        for line in VMSTAT.read_text(encoding="ascii").splitlines():
            name, _, count = line.partition(" ")
            if name == "oom_kill":
                return int(count)
    return 0

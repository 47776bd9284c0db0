"""The processes of the stages: started, watched, and replaced when they die or hang."""

from __future__ import annotations

import signal
from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from multiprocessing import connection
from multiprocessing.process import BaseProcess
from pathlib import Path
from time import monotonic

import structlog

from alaas.config import SupervisionSettings
from alaas.server.replica import Place, Replica
from alaas.server.status import Reason, StageStatus

VMSTAT = Path("/proc/vmstat")
"""Where Linux counts whom it has ended for want of memory."""

LONGEST_WAIT_S = 30.0
"""Seconds between two starts of a stage whose processes die again and again, at most."""

log = structlog.get_logger()


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


def _oom_kills() -> int:
    """Processes of this machine that were ended for want of memory; 0 where nobody counts."""
    with suppress(OSError, ValueError):
        for line in VMSTAT.read_text(encoding="ascii").splitlines():
            name, _, count = line.partition(" ")
            if name == "oom_kill":
                return int(count)
    return 0

"""One process of a stage, judged by what it shows of itself."""

from __future__ import annotations

import socket
from contextlib import suppress
from dataclasses import dataclass
from multiprocessing.process import BaseProcess
from pathlib import Path
from time import monotonic
from typing import Literal

from alaas.server.pulse import Beat

SILENT_S = 1.5
"""Seconds without a beat after which a process does not count as ready."""

STALLED_S = 5.0
"""Seconds in a piece of work without computing after which it does not either."""

COMPUTES = 0.1
"""Share of one processor that a process uses which computes."""

PATIENCE = 10
"""Times `hang_s` for which a process may compute without an end of it."""

REAP_S = 5.0
"""Seconds that the kernel gets to end a process; one that waits for a disk may not end."""

START_S = 600.0
"""Seconds that a process gets from its start until it answers."""

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
        self.process.join(REAP_S)
        self._path.unlink(missing_ok=True)


def is_open(port: int) -> bool:
    """Whether a port of loopback accepts connections."""
    with socket.socket() as probe:
        probe.settimeout(1.0)
        return probe.connect_ex(("127.0.0.1", port)) == 0

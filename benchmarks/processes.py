"""The processes of a server on this machine: which does what, and how they fare."""

from __future__ import annotations

import contextlib
import statistics
import threading
import time
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import psutil

MIB = 2**20


def roles(server: int, ports: Collection[int]) -> dict[str, list[psutil.Process]]:
    """The processes of a server, by what each does.

    All have the same command line. But the gateway listens on the ports of the service, and
    a process of a stage holds the file in which it shows its supervisor that it lives.

    Args:
        server: The process that was started.
        ports: The ports of the service.

    Returns:
        ``supervisor``, ``gateway`` and the stages, each with those that serve now; ``other``
        has those that are about to.
    """
    found: dict[str, list[psutil.Process]] = {}
    top = psutil.Process(server)
    for process in (top, *top.children(recursive=True)):
        try:
            role = "supervisor" if process == top else _role(process, ports)
        except psutil.Error:  # it ends
            continue
        found.setdefault(role, []).append(process)
    return found


def _role(process: psutil.Process, ports: Collection[int]) -> str:
    listening = {
        one.laddr.port
        for one in process.net_connections("inet")
        if one.status == psutil.CONN_LISTEN
    }
    if listening & set(ports):
        return "gateway"
    held = [Path(one.path) for one in process.open_files() if one.path.endswith(".pulse")]
    return held[0].stem.rpartition("-")[0] if held and listening else "other"


@dataclass(frozen=True, slots=True)
class Sample:
    """What one process took at one time.

    Attributes:
        seconds: Since the watch began.
        role: What it does, as `roles` names it.
        pid: Its number.
        rss: Resident bytes.
        threads: Its threads.
        descriptors: Its open files and sockets.
    """

    seconds: float
    role: str
    pid: int
    rss: int
    threads: int
    descriptors: int


class Watch:
    """Takes samples of the processes of a server on a thread, inside a ``with``.

    Args:
        look: Gives the processes by their roles.
        every_s: Seconds between two samples.

    Attributes:
        samples: Those that were taken.
    """

    def __init__(
        self, look: Callable[[], Mapping[str, Sequence[psutil.Process]]], every_s: float
    ) -> None:
        self.samples: list[Sample] = []
        self._look = look
        self._every_s = every_s
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)

    def _run(self) -> None:
        started = time.monotonic()
        while not self._stop.wait(self._every_s):
            seconds = time.monotonic() - started
            for role, processes in self._look().items():
                for one in processes:
                    with contextlib.suppress(psutil.Error):  # it has ended
                        self.samples.append(_sample(seconds, role, one))

    def __enter__(self) -> Watch:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join()


def _sample(seconds: float, role: str, process: psutil.Process) -> Sample:
    with process.oneshot():
        rss, threads = process.memory_info().rss, process.num_threads()
    return Sample(seconds, role, process.pid, rss, threads, process.num_fds())


def growth(samples: Sequence[Sample], figure: Callable[[Sample], float]) -> float:
    """How much a figure has grown, once everything was warm.

    Args:
        samples: Of one process, in the order of time.
        figure: What is looked at.

    Returns:
        The median of the last third less that of the third before; 0 where there are too few.

    Example:
        >>> growth([Sample(s, "infer", 1, 100 * s, 1, 1) for s in range(9)], lambda one: one.rss)
        300
    """
    third = len(samples) // 3
    if not third:
        return 0.0
    middle, last = samples[third : 2 * third], samples[-third:]
    return statistics.median(map(figure, last)) - statistics.median(map(figure, middle))


def an_hour(samples: Sequence[Sample], figure: Callable[[Sample], float]) -> float:
    """How much a figure grows an hour by a straight line through the last two thirds."""
    kept = samples[len(samples) // 3 :]
    if len(kept) < 3:
        return 0.0
    line = statistics.linear_regression([one.seconds for one in kept], [*map(figure, kept)])
    return 3600 * line.slope

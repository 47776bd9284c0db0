"""How a process shows its supervisor that it lives: a few numbers in a small file.

The supervisor forks, so it must have no threads, and a gRPC client has some. And a probe from
outside would wait behind the work of a busy process, and tell nothing of why it waits. So
each process writes by itself, four times a second and from its event loop, what it does; a
process that is stopped, or whose event loop is stuck, writes no more.
"""

from __future__ import annotations

import asyncio
import os
import struct
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from time import monotonic, process_time
from typing import ParamSpec, TypeVar

P = ParamSpec("P")
R = TypeVar("R")

BEAT_S = 0.25
"""Seconds between two beats."""

_RECORD = struct.Struct("<dddq")


@dataclass(frozen=True, slots=True)
class Beat:
    """What a process wrote last.

    Attributes:
        at: When it wrote, by the monotonic clock, which all processes of a machine share.
        since: When the oldest piece of work began that it has not finished; 0 where it has none.
        cpu_s: Seconds of processor time that it has used.
        answered: Messages that it has answered.
    """

    at: float = 0.0
    since: float = 0.0
    cpu_s: float = 0.0
    answered: int = 0

    @classmethod
    def read(cls, path: Path) -> Beat | None:
        """The last beat of a process, or None before its first."""
        try:
            return cls(*_RECORD.unpack(path.read_bytes()))
        except (FileNotFoundError, struct.error):
            return None


class Pulse:
    """The pulse of this process.

    Args:
        path: The file; None beats nowhere, as in a process that nobody supervises.
        parent: The supervisor: without it the process ends, also where no kernel sees to that.
    """

    def __init__(self, path: Path | None = None, parent: int | None = None) -> None:
        self._parent = parent
        self._file = None if path is None else os.open(path, os.O_CREAT | os.O_WRONLY, 0o600)
        self._lock = threading.Lock()
        self._begun: dict[object, float] = {}
        self._answered = 0
        self._beating: asyncio.Task[None] | None = None

    def start(self) -> None:
        """Beat from the running event loop on."""
        if self._file is not None and self._beating is None:
            self._beating = asyncio.get_running_loop().create_task(self._beat())

    async def _beat(self) -> None:
        while True:
            if self._parent is not None and os.getppid() != self._parent:
                os._exit(1)
            with self._lock:
                self._write()
            await asyncio.sleep(BEAT_S)

    def _write(self) -> None:
        if self._beating is None or self._file is None:
            return
        since = min(self._begun.values(), default=0.0)
        record = _RECORD.pack(monotonic(), since, process_time(), self._answered)
        os.pwrite(self._file, record, 0)

    @contextmanager
    def working(self) -> Iterator[None]:
        """Note a piece of work that needs the processor or an accelerator, and nothing else."""
        work = object()
        with self._lock:
            self._begun[work] = monotonic()
            self._write()
        try:
            yield
        finally:
            with self._lock:
                del self._begun[work]

    def note_answer(self) -> None:
        """Note that a message was answered, well or badly: at once, whatever comes next."""
        with self._lock:
            self._answered += 1
            self._write()


_pulse = Pulse()


def settle(path: Path, parent: int) -> None:
    """Say where this process will beat, and for whom."""
    global _pulse  # noqa: PLW0603  # a process has one
    _pulse = Pulse(path, parent)


def start() -> None:
    """Beat from now on; called on the event loop."""
    _pulse.start()


def note_answer() -> None:
    """Note that this process has answered a message."""
    _pulse.note_answer()


def watched(work: Callable[P, R]) -> Callable[P, R]:
    """The same function; while it runs, this process shows that it works."""

    def noted(*args: P.args, **kwargs: P.kwargs) -> R:
        with _pulse.working():
            return work(*args, **kwargs)

    return noted

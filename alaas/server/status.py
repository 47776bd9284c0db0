"""What the supervisor knows of its processes, as a file that the gateway reads.

The supervisor alone writes it, into the runtime folder of the server. It is replaced as a
whole, so that a reader sees the old one or the new one.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Literal

NAME = "status.json"

State = Literal["starting", "ready", "draining", "failed"]

Reason = Literal["died", "oom", "killed", "hung"]
"""Why a process was replaced: it ended by itself, the kernel ended it for want of memory,
somebody else ended it, or it fell silent."""


@dataclass(frozen=True, slots=True)
class StageStatus:
    """The processes of one stage.

    Attributes:
        wanted: How many there should be.
        ready: Those that answer.
        starting: Those that load what they need.
        silent: Those that are alive and answer nothing.
        restarts: Processes that were replaced, by reason.
        deaths: How many have died in a row, without one answer in between.
        retry_at: When the next one is started, by the monotonic clock; None where nobody waits.
    """

    wanted: int
    ready: int = 0
    starting: int = 0
    silent: int = 0
    restarts: Mapping[Reason, int] = field(default_factory=dict)
    deaths: int = 0
    retry_at: float | None = None

    @property
    def alive(self) -> int:
        """Processes that exist."""
        return self.ready + self.starting + self.silent


@dataclass(frozen=True, slots=True)
class Status:
    """The whole server.

    Attributes:
        state: What it does: it starts, serves, finishes what is in flight, or gives up.
        progress: One sentence: how far the start has come, or why it gives up.
        pid: The supervisor.
        stages: By name, in the order of the work.
    """

    state: State = "starting"
    progress: str = ""
    pid: int = 0
    stages: Mapping[str, StageStatus] = field(default_factory=dict)

    @classmethod
    def read(cls, folder: str | Path) -> Status:
        """The status that was written last; that of a server that starts, if none was.

        Args:
            folder: The runtime folder of the server.
        """
        try:
            fields = json.loads(Path(folder, NAME).read_bytes())
        except FileNotFoundError:
            return cls()
        stages = {name: StageStatus(**stage) for name, stage in fields.pop("stages").items()}
        return cls(stages=stages, **fields)

    def write(self, folder: str | Path) -> None:
        """Replace the file.

        Args:
            folder: The runtime folder of the server.
        """
        new = Path(folder, f"{NAME}.new")
        new.write_text(json.dumps(asdict(self)), encoding="utf-8")
        os.replace(new, Path(folder, NAME))

    @property
    def down(self) -> tuple[str, ...]:
        """The stages that nobody serves now."""
        return tuple(name for name, stage in self.stages.items() if not stage.ready)


UNSUPERVISED = Status("ready")
"""That of a service without processes of its own, as tests and notebooks have one."""

"""The ways to do the job, each behind the same question, started once and asked every round."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from benchmarks.photographs import Pool

ROOT = Path(__file__).parents[1]
SCRIPTS = Path(__file__).parent / "peers"


class Unsupported(Exception):
    """This machine cannot do it; the message says why."""


class Died(Exception):
    """A process ended instead of answering."""


def check_arithmetic(precision: str, cpuinfo: Path = Path("/proc/cpuinfo")) -> None:
    """Refuse a precision that the processor would only imitate, slowly or not at all.

    Raises:
        Unsupported: It would.
    """
    if precision != "fp32" and precision not in cpuinfo.read_text(encoding="ascii"):
        raise Unsupported(f"this processor has no {precision} arithmetic")


class Runner:
    """A process that answers questions, `benchmarks.peers.channel`.

    Args:
        command: Its command line.
        environment: All its variables; None takes this process's own.

    Raises:
        Died: It ended before it was ready.
    """

    def __init__(
        self, command: Sequence[str], environment: Mapping[str, str] | None = None
    ) -> None:
        self._name = " ".join(Path(one).name for one in command[1:3])
        self._process = subprocess.Popen(
            command,
            cwd=ROOT,
            env=environment,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        self._read()

    def ask(self, pool: Pool, **question: Any) -> Any:
        """Ask about a pool.

        Raises:
            Died: It ended.
        """
        asked = {"paths": pool.paths, "uris": pool.uris, **question}
        assert self._process.stdin is not None
        try:
            self._process.stdin.write(json.dumps(asked) + "\n")
            self._process.stdin.flush()
        except BrokenPipeError:
            raise self._died() from None
        return self._read()["answer"]

    def _read(self) -> dict[str, Any]:
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        if not line:
            raise self._died()
        return json.loads(line)  # type: ignore[no-any-return]

    def _died(self) -> Died:
        status = self._process.wait()
        return Died(f"{self._name} ended with status {status}; the lines above say why")

    def close(self) -> None:
        """Let it end, which it does when nobody asks any more."""
        self._process.communicate()


@contextmanager
def runner(*command: str, python: Path | None = None) -> Iterator[Runner]:
    """A process of a module of ours, or of a script of `peers` in its own environment.

    Args:
        command: ``benchmarks.module`` or ``script.py``, and its arguments.
        python: Interpreter of the environment; this one by default.

    Raises:
        Died: It ended before it was ready.
    """
    first, *arguments = command
    run = [str(SCRIPTS / first)] if first.endswith(".py") else ["-m", first]
    # Another environment must not find what this one is given to import.
    environment = {name: value for name, value in os.environ.items()
                   if python is None or name != "PYTHONPATH"}  # fmt: skip
    started = Runner([str(python or sys.executable), *run, *arguments], environment)
    try:
        yield started
    finally:
        started.close()


def settings(
    weights: Path,
    store: Path | None,
    *,
    precision: str = "fp32",
    worker: Mapping[str, Any] | None = None,
) -> dict[str, Any]:
    """Our configuration with a ResNet-18 and photographs on this machine.

    Args:
        weights: Weights of the network.
        store: Folder in which views are kept; None keeps none.
        precision: Number format of the network.
        worker: Section ``al_worker``.
    """
    return {
        "active_learning": {
            "strategy": {
                "model": {"name": "resnet18", "weights": str(weights), "precision": precision}
            },
            "al_worker": {"host": "127.0.0.1", **(worker or {})},
        },
        "fetch": {
            "schemes": ["http", "file"], "roots": ["/"], "networks": ["127.0.0.0/8"],
        },
        "store": {"cache": store is not None, "url": None if store is None else str(store)},
        "log": {"level": "warning"},
    }  # fmt: skip

"""Whether a query survives what kills its processes: kill -9 of a random one, again and again.

    python -m benchmarks.chaos --items 5000 --rounds 20 --every 4 --json chaos.json

Each round asks the same of pictures with the same pixels and a content that nobody has seen,
so that nothing is known from before; it counts when the selection is that of the undisturbed
round. With ``--gateway`` the gateway is among the victims. Its end is the end of the server,
so a small loop starts it again, as systemd or Docker would, and the query is a job.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import random
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import psutil

from alaas.client import Client
from alaas.config import Settings
from alaas.core.errors import AlaasError, SetupError
from alaas.core.wire import STAGES
from alaas.server import Server
from benchmarks.memory import png
from benchmarks.networks import model
from benchmarks.photographs import free_port
from benchmarks.processes import roles
from benchmarks.report import Target, document, publish
from benchmarks.ways import ROOT

BATCH = 25
"""Items in a micro-batch, for each of which the network sleeps 80 ms: 3.2 ms an item."""

BUDGET = 100


@dataclass(frozen=True, slots=True)
class Kill:
    """One process that was killed.

    Attributes:
        seconds: Since the query began.
        stage: What it did.
        pid: Its number.
    """

    seconds: float
    stage: str
    pid: int


@dataclass(slots=True)
class Round:
    """One query.

    Attributes:
        seconds: How long it took.
        kills: The processes that were killed meanwhile.
        picks: What was chosen, best first, with the scores.
        failures: Items that were lost.
        error: Why there is no answer.
    """

    seconds: float = 0.0
    kills: list[Kill] = field(default_factory=list)
    picks: list[tuple[str, float]] = field(default_factory=list)
    failures: int = 0
    error: str = ""


class Service:
    """A server that is started again when it ends, inside a ``with``.

    Args:
        settings: Its configuration.

    Attributes:
        port: Where it listens.
        url: Where it is asked.
        starts: How often it was started.
    """

    def __init__(self, settings: Settings) -> None:
        self.port = settings.active_learning.al_worker.port[0]
        self.url = f"http://127.0.0.1:{self.port}"
        self.starts = 0
        self._settings = settings
        self._server: Server | None = None
        self._failure: SetupError | None = None
        self._closing = threading.Event()
        self._up = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)

    def _run(self) -> None:
        while not self._closing.is_set():
            try:
                with Server(self._settings) as server:
                    self.starts += 1
                    self._server = server
                    self._up.set()
                    self._watch(server)
            except SetupError as error:
                if not self._up.is_set():
                    self._failure = error
                    self._up.set()
                    return
            finally:
                self._server = None

    def _watch(self, server: Server) -> None:
        """Wait until it ends or is to end."""
        assert server.pid is not None
        process = psutil.Process(server.pid)
        while process.status() != psutil.STATUS_ZOMBIE and not self._closing.wait(0.1):
            continue

    def processes(self) -> dict[str, list[psutil.Process]]:
        """Its processes by what they do; none while it is started."""
        server = self._server
        if server is None or server.pid is None:
            return {}
        with contextlib.suppress(psutil.Error):
            return roles(server.pid, [self.port])
        return {}

    def __enter__(self) -> Service:
        self._thread.start()
        self._up.wait()
        if self._failure is not None:
            raise self._failure
        return self

    def __exit__(self, *_: object) -> None:
        self._closing.set()
        self._thread.join()


@contextmanager
def disturbed(
    service: Service, victims: tuple[str, ...], every_s: float, rng: random.Random
) -> Iterator[list[Kill]]:
    """Kill a process of a random stage every few seconds; the kills are listed."""
    kills: list[Kill] = []
    stop, started = threading.Event(), time.monotonic()

    def run() -> None:
        # A process that loads is spared, and another takes its place: to kill those would only
        # measure how fast they load.
        pause = rng.uniform(0, every_s)
        while not stop.wait(pause):
            pause = every_s * rng.uniform(0.5, 1.5)
            found = service.processes()
            there = [stage for stage in victims if found.get(stage)]
            if there:
                stage = rng.choice(there)
                victim = rng.choice(found[stage])
                with contextlib.suppress(psutil.Error):
                    victim.kill()
                    kills.append(Kill(time.monotonic() - started, stage, victim.pid))

    thread = threading.Thread(target=run, daemon=True)
    thread.start()
    try:
        yield kills
    finally:
        stop.set()
        thread.join()


def write(folder: Path, count: int, mark: int) -> list[str]:
    """Write pictures, the same in every round but for some bytes behind their end."""
    folder.mkdir()
    paths = []
    for row in range(count):
        path = folder / f"{row:06}.png"
        path.write_bytes(png(row) + f"round {mark}".encode())
        paths.append(str(path))
    return paths


def ask(client: Client, paths: list[str], *, as_job: bool) -> Round:
    """One query, directly or as a job; an error is noted, not raised."""
    items = [{"id": Path(path).name, "uri": path} for path in paths]
    found, started = Round(), time.monotonic()
    try:
        if as_job:
            answer: Any = client.submit(items, BUDGET).wait()
        else:
            answer = client.query(items, BUDGET)
        found.picks = [(pick.id, pick.score) for pick in answer]
        found.failures = len(answer.failures)
    except AlaasError as error:
        found.error = f"{error.code}: {error}"
    found.seconds = time.monotonic() - started
    return found


def configuration(folder: Path) -> Settings:
    """A server with one process a stage and a network that takes its time."""
    return Settings.model_validate(
        {
            "active_learning": {
                "strategy": {"model": model("sleeper", size=4, batch_size=BATCH)},
                "al_worker": {"host": "127.0.0.1", "port": free_port(), "layout": "staged"},
            },
            "fetch": {"roots": [str(folder)]},
            "log": {"level": "error"},
        }
    )


def measure(scratch: Path, arguments: argparse.Namespace) -> tuple[Round, list[Round], int]:
    """The undisturbed round, the disturbed ones, and how often the server was started."""
    victims = (*STAGES, "gateway") if arguments.gateway else STAGES
    rng, rounds = random.Random(arguments.seed), list[Round]()
    with ExitStack() as stack:
        service = stack.enter_context(Service(configuration(scratch)))
        client = stack.enter_context(Client(service.url, progress=False))
        calm = ask(client, write(scratch / "0", arguments.items, 0), as_job=arguments.gateway)
        if calm.error or calm.failures:
            sys.exit(f"the undisturbed query failed: {calm.error or calm.failures}")
        for number in range(1, arguments.rounds + 1):
            paths = write(scratch / str(number), arguments.items, number)
            with disturbed(service, victims, arguments.every, rng) as kills:
                rounds.append(ask(client, paths, as_job=arguments.gateway))
            rounds[-1].kills = kills
            print(number, row(rounds[-1], calm), flush=True)
    return calm, rounds, service.starts


def row(one: Round, calm: Round) -> list[str]:
    """A round as a row of the table."""
    by_stage = Counter(kill.stage for kill in one.kills)
    killed = ", ".join(f"{stage} {count}" for stage, count in sorted(by_stage.items()))
    same = "same" if one.picks == calm.picks else one.error or "different"
    return [f"{one.seconds:.1f}", str(len(one.kills)), killed, str(one.failures), same]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--items", type=int, default=5_000, help="items of the pool")
    parser.add_argument("--rounds", type=int, default=20)
    parser.add_argument("--every", type=float, default=4.0, metavar="S", help="between two kills")
    parser.add_argument("--gateway", action="store_true", help="kill the gateway too")
    parser.add_argument("--seed", type=int, default=0, help="of who is killed when")
    parser.add_argument("--json", type=Path, metavar="FILE", help="file to write the figures to")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        os.environ["XDG_DATA_HOME"] = str(Path(folder, "data"))
        os.environ["PYTHONPATH"] = str(ROOT)
        calm, rounds, starts = measure(Path(folder), arguments)
    same = [one for one in rounds if one.picks == calm.picks and not one.failures]
    total = Counter(kill.stage for one in rounds for kill in one.kills)
    made = document(
        "Killing processes during a query",
        ["round", "s", "kills", "of", "items lost", "selection"],
        [["undisturbed", *row(calm, calm)],
         *([str(number), *row(one, calm)] for number, one in enumerate(rounds, 1))],
        job=f"{arguments.items:,} pictures from files, {BUDGET} are chosen; kill -9 of a random "
        f"process every {arguments.every:g} s on average"
        + (", the gateway too; each query is a job." if arguments.gateway else "."),
        targets=[
            Target("rounds with the undisturbed selection", len(same), at_least=len(rounds)),
            Target("rounds in which somebody was killed", sum(bool(one.kills) for one in rounds),
                   at_least=len(rounds)),
            Target("items lost", sum(one.failures for one in rounds), at_most=0),
        ],
        notes=[
            f"Killed in all: {', '.join(f'{stage} {n}' for stage, n in sorted(total.items()))}.",
            f"The server was started {starts} times.",
        ],
        raw=[[[kill.seconds, kill.stage, kill.pid] for kill in one.kills] for one in rounds],
    )  # fmt: skip
    publish(made, arguments.json)


if __name__ == "__main__":
    main()

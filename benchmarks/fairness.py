"""What a large query costs a small one that comes beside it.

    python -m benchmarks.fairness --rounds 5 --json fairness.json

A query of 100 items is asked alone, and beside one of 100,000 that is in full swing, in turns.
One network sleeps for 80 ms a micro-batch, as if a GPU worked: then what is measured is the
waiting, and not who gets the processor. The other one is a ResNet-18, for which all compete.
"""

from __future__ import annotations

import argparse
import json
import os
import socket
import tempfile
import threading
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from websockets.exceptions import ConnectionClosed
from websockets.sync.client import ClientConnection, connect

from alaas.client import Client
from alaas.config import Settings
from alaas.core.wire import Item
from alaas.server import Server
from benchmarks import photographs
from benchmarks.networks import model
from benchmarks.photographs import Pool, free_port
from benchmarks.report import Target, document, publish
from benchmarks.rounds import Meter, documents, load, ratio, summary
from benchmarks.ways import ROOT, settings

MOST = 3.0
PART = 1_000
SWING, SWING_S = 4, 120.0
"""Progress reports after which a large query is in full swing, and how long they may take."""


@dataclass(frozen=True, slots=True)
class Case:
    """A server to ask.

    Attributes:
        name: What it is called.
        model: The model section of its configuration; None is a ResNet-18.
        worker: Keys of ``al_worker``.
    """

    name: str
    model: Mapping[str, Any] | None
    worker: Mapping[str, Any]


CASES = (
    Case("asleep, B = 16", model("sleeper", size=32, batch_size=16), {"layout": "staged"}),
    Case("asleep, B = 16, fused", model("sleeper", size=32, batch_size=16), {"layout": "fused"}),
    Case("asleep, B = 16, two replicas", model("sleeper", size=32, batch_size=16),
         {"layout": "staged", "replicas": 2}),
    Case("asleep, B = 128", model("sleeper", size=32, batch_size=128), {"layout": "staged"}),
    Case("ResNet-18", None, {"layout": "staged"}),
)  # fmt: skip


def send(opened: ClientConnection, pool: Pool, count: int) -> None:
    """Send a large query, in which each photograph stands for many items."""
    head = {"type": "query", "parameters": {"budget": 10, "cache": False}, "data": []}
    with suppress(ConnectionClosed):
        opened.send(json.dumps(head))
        for start in range(0, count, PART):
            rows = range(start, min(start + PART, count))
            part = [{"id": str(row), "uri": pool.paths[row % len(pool)]} for row in rows]
            opened.send(json.dumps({"type": "items", "data": part}))
        opened.send(json.dumps({"type": "end"}))


def listen(opened: ClientConnection, swing: threading.Event) -> None:
    """Hear how it gets on."""
    with suppress(ConnectionClosed):
        for number, message in enumerate(opened, 1):
            if json.loads(message)["type"] != "progress":
                raise RuntimeError(f"the large query has ended: {str(message)[:200]}")
            if number == SWING:
                swing.set()


@contextmanager
def beside(url: str, pool: Pool, count: int) -> Iterator[None]:
    """A large query is in full swing; it is given up at the end."""
    swing = threading.Event()
    # The server reads no faster than it works, and answers no ping before it has read that far.
    asked = connect(f"{url}/ws", max_size=None, ping_interval=None)
    with asked as opened, ThreadPoolExecutor(2) as threads:
        heard = threads.submit(listen, opened, swing)
        threads.submit(send, opened, pool, count)
        try:
            if not swing.wait(SWING_S):
                raise RuntimeError("the large query does not get going")
            yield
        finally:
            # Without a word of farewell, which would stand behind all that is not read yet.
            opened.socket.shutdown(socket.SHUT_RDWR)
        heard.result()


def small(client: Client, pool: Pool) -> list[int]:
    """The query that should not have to wait."""
    items = [Item(str(row), uri=path) for row, path in enumerate(pool.paths)]
    return [int(pick.id) for pick in client.query(items, 10, cache=False)]


def measure(
    meter: Meter, case: Case, weights: Path, pool: Pool, *, few: int, many: int, rounds: int
) -> None:
    """Ask one server, alone and beside, in turns."""
    port = free_port()
    worker = {"protocol": ["http", "ws"], "port": [port, port], **case.worker}
    tree = settings(weights, None, worker=worker)
    if case.model is not None:
        tree["active_learning"]["strategy"]["model"] = dict(case.model)
    asked = pool.part(few)
    with (
        Server(Settings.model_validate(tree)) as server,
        Client(server.urls["http"], progress=False) as client,
    ):
        for number in range(rounds + 1):
            meter.round = number
            alone = partial(small, client, asked)
            meter.lap(f"{case.name}: alone", few, alone)
            with beside(server.urls["ws"], pool, many):
                meter.lap(f"{case.name}: beside", few, alone)


def report(meter: Meter, cases: list[Case], *, few: int, many: int) -> dict[str, Any]:
    """Put what was found into a document."""
    rows, targets = [], []
    for case in cases:
        found = ratio(meter.laps, f"{case.name}: alone", f"{case.name}: beside")
        assert found is not None
        alone, both = (summary(meter.laps, f"{case.name}: {how}") for how in ("alone", "beside"))
        rows.append([case.name, f"{alone['seconds']:.3g}", f"{both['seconds']:.3g}",
                     f"{found['median']:.3g}", f"{found['max']:.3g}", load(alone)])  # fmt: skip
        what = f"{case.name}: beside a large query over alone"
        targets.append(Target(what, found["median"], at_most=MOST, quiet=found["quiet"]))
    return document(
        "Fairness",
        ["server", "alone, s", "beside, s", "ratio", "largest ratio", "rest of the machine"],
        rows,
        job=f"A query of {few} items, alone and beside one of {many:,} items in full swing; "
        "nothing kept. `asleep` sleeps for 80 ms a micro-batch of B items.",
        targets=targets,
        raw=documents(meter.laps),
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--few", type=int, default=100, help="items of the small query")
    parser.add_argument("--many", type=int, default=100_000, help="items of the large one")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--only", metavar="TEXT", default="", help="cases with this in their name")
    parser.add_argument("--photos", metavar="FOLDER", help="photographs of yours")
    parser.add_argument("--json", type=Path, metavar="FILE", help="file to write the figures to")
    arguments = parser.parse_args()
    few, many = arguments.few, arguments.many
    cases = [case for case in CASES if arguments.only in case.name]
    meter = Meter()
    with tempfile.TemporaryDirectory() as folder:
        scratch = Path(folder)
        os.environ["XDG_DATA_HOME"] = folder
        os.environ["PYTHONPATH"] = str(ROOT)
        files, _ = photographs.encoded(arguments.photos, few)
        weights = photographs.random_weights(scratch / "resnet18.pth")
        pool = photographs.write(files, scratch / "photographs", "", mark="fairness")
        for case in cases:
            measure(meter, case, weights, pool, few=few, many=many, rounds=arguments.rounds)
    publish(report(meter, cases, few=few, many=many), arguments.json)


if __name__ == "__main__":
    main()

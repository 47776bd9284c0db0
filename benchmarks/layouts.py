"""Which stages share a process, and how many copies of the model there are.

    python -m benchmarks.layouts --pool 300 --rounds 5 --json layouts.json

Images a second of both layouts with one replica and two; CPU seconds of the gateway an image,
with inputs of 64, 224 and 512 pixels; and, with a network that sleeps as if a GPU worked, what
each further replica adds.
"""

from __future__ import annotations

import argparse
import os
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import psutil

from alaas.client import Client
from alaas.config import Settings
from alaas.core.wire import Item
from alaas.server import Server
from benchmarks import photographs
from benchmarks.memory import png
from benchmarks.networks import model
from benchmarks.photographs import Pool, free_port
from benchmarks.report import Target, document, publish
from benchmarks.rounds import Meter, documents, load, ratio, summary
from benchmarks.ways import ROOT, settings

LAYOUTS = ("staged", "fused")
SIZES = (64, 224, 512)
GPUS = (1, 2, 4)
BATCH = 16


@contextmanager
def server(
    weights: Path, chosen: Mapping[str, Any] | None, layout: str, replicas: int
) -> Iterator[tuple[Client, psutil.Process]]:
    """A server of a layout, and the process of its gateway."""
    port = free_port()
    worker = {"port": port, "layout": layout, "replicas": replicas}
    tree = settings(weights, None, worker=worker)
    if chosen is not None:
        tree["active_learning"]["strategy"]["model"] = dict(chosen)
    with (
        Server(Settings.model_validate(tree)) as started,
        Client(started.urls["http"], progress=False) as client,
    ):
        yield client, gateway(port)


def gateway(port: int) -> psutil.Process:
    """The process that listens on a port."""
    for process in psutil.Process().children(recursive=True):
        for one in process.net_connections("inet"):
            if one.status == psutil.CONN_LISTEN and one.laddr.port == port:
                return process
    raise RuntimeError(f"nobody listens on port {port}")


def choose(client: Client, pool: Pool) -> list[int]:
    """The least certain of a pool."""
    chosen = client.query_by_uri(list(pool.uris), budget=max(1, len(pool) // 10))
    rows = {uri: row for row, uri in enumerate(pool.uris)}
    return [rows[uri] for uri in chosen]


def throughput(meter: Meter, weights: Path, pool: Pool, rounds: int) -> None:
    """A ResNet-18 in each layout, with one replica and with two, in turns."""
    with ExitStack() as open_until_end:
        clients = {
            f"{layout} x{replicas}": open_until_end.enter_context(
                server(weights, None, layout, replicas)
            )[0]
            for layout in LAYOUTS
            for replicas in (1, 2)
        }
        for number in range(rounds + 1):
            meter.round = number
            for row, client in clients.items():
                meter.lap(row, len(pool), partial(choose, client, pool))


def gateway_cost(meter: Meter, weights: Path, pool: Pool, rounds: int) -> dict[str, float]:
    """CPU milliseconds of the gateway an image, by layout and size of the model's input."""
    found = {}
    for layout in LAYOUTS:
        for size in SIZES:
            with server(weights, model("small", size=size), layout, 1) as (client, process):
                choose(client, pool)
                before = sum(process.cpu_times()[:2])
                for number in range(1, rounds + 1):
                    meter.round = number
                    meter.lap(f"{layout} {size} px", len(pool), partial(choose, client, pool))
                spent = sum(process.cpu_times()[:2]) - before
                found[f"{layout} {size} px"] = 1e3 * spent / rounds / len(pool)
    return found


def scaling(meter: Meter, weights: Path, count: int, rounds: int) -> None:
    """A network that sleeps, with more and more replicas, in turns.

    The pictures are tiny: what two cores can decode must not be the limit.
    """
    items = [Item(str(row), blob=png(row)) for row in range(count)]
    asleep = model("sleeper", size=32, batch_size=BATCH)
    with ExitStack() as open_until_end:
        clients = {
            gpus: open_until_end.enter_context(server(weights, asleep, "fused", gpus))[0]
            for gpus in GPUS
        }

        def ask(client: Client) -> list[int]:
            return [int(pick.id) for pick in client.query(items, max(1, count // 10))]

        for number in range(rounds + 1):
            meter.round = number
            for gpus, client in clients.items():
                meter.lap(f"asleep x{gpus}", count, partial(ask, client))


def report(meter: Meter, costs: Mapping[str, float], count: int) -> dict[str, Any]:
    """Put what was found into a document."""
    laps = meter.laps
    rows = []
    for row in dict.fromkeys(lap.row for lap in laps):
        own = summary(laps, row)
        cost = f"{costs[row]:.3g}" if row in costs else ""
        rows.append([row, f"{own['per_second']:.4g}", f"{own['cpu_ms_per_item']:.3g}", cost,
                     load(own)])  # fmt: skip
    targets = [
        Target("fused: gateway's CPU an image, 512 pixels over 64",
               costs["fused 512 px"] / costs["fused 64 px"], at_most=1.2)
    ]  # fmt: skip
    for gpus in GPUS[1:]:
        found = ratio(laps, f"asleep x{gpus}", "asleep x1")
        assert found is not None
        targets.append(Target(f"{gpus} sleeping replicas over one", found["median"],
                              at_least=0.9 * gpus, quiet=found["quiet"]))  # fmt: skip
    return document(
        "Layouts and replicas",
        ["layout", "images/s", "CPU ms/image", "of it the gateway", "rest of the machine"],
        rows,
        job=f"{count} photographs by URI, nothing kept. `x2` is two replicas of ResNet-18; "
        "`64 px` a network that costs nothing with inputs of that size; `asleep` one that "
        "sleeps for 80 ms a micro-batch of 16, over tiny pictures.",
        targets=targets,
        raw=documents(laps),
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--pool", type=int, default=300, help="photographs in the pool")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--photos", metavar="FOLDER", help="photographs of yours")
    parser.add_argument("--json", type=Path, metavar="FILE", help="file to write the figures to")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        scratch = Path(folder)
        os.environ["XDG_DATA_HOME"] = folder
        os.environ["PYTHONPATH"] = str(ROOT)
        files, _ = photographs.encoded(arguments.photos, arguments.pool)
        weights, meter = photographs.random_weights(scratch / "resnet18.pth"), Meter()
        with photographs.served(scratch / "photographs") as url:
            pool = photographs.write(files, scratch / "photographs", url, mark="layouts")
            throughput(meter, weights, pool, arguments.rounds)
            costs = gateway_cost(meter, weights, pool, arguments.rounds)
        scaling(meter, weights, max(16 * BATCH, 4 * arguments.pool), arguments.rounds)
        publish(report(meter, costs, arguments.pool), arguments.json)


if __name__ == "__main__":
    main()

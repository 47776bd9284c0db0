"""What a pool of a million items takes: memory of each process, and items a second.

    python -m benchmarks.memory --items 1000000 --json memory.json --csv memory.csv --png memory.png

Tiny pictures go as bytes from a generator through the client, the gateway and the stages to
the scorer; the network costs next to nothing, so what is measured is all the rest.
"""

from __future__ import annotations

import argparse
import csv
import os
import struct
import tempfile
import threading
import time
import zlib
from collections.abc import Iterator, Sequence
from dataclasses import astuple, dataclass
from pathlib import Path

import psutil

from alaas.client import Client
from alaas.config import Settings
from alaas.core.wire import STAGES, Item
from alaas.server import Server
from benchmarks.networks import model
from benchmarks.photographs import free_port
from benchmarks.report import Target, document, publish
from benchmarks.rounds import QUIET, busy_s, own_s
from benchmarks.ways import ROOT

MIB = 2**20
BUDGET = 1_000


@dataclass(frozen=True, slots=True)
class Sample:
    """The memory of one process at one time.

    Attributes:
        items: Items of the pool.
        seconds: Since the pool's first item.
        sent: Items that the client has read by then.
        role: ``client``, ``gateway`` or a stage.
        rss: Resident bytes.
        pss: Resident bytes, those that are shared divided among their users.
    """

    items: int
    seconds: float
    sent: int
    role: str
    rss: int
    pss: int


def png(row: int) -> bytes:
    """A picture of 4 by 4 pixels, another one for every row."""
    lines = b"".join(
        b"\0" + struct.pack(">I", (row * 2_654_435_761 + line) % 2**32) * 3 for line in range(4)
    )
    header = struct.pack(">IIBBBBB", 4, 4, 8, 2, 0, 0, 0)
    chunks = (b"IHDR", header), (b"IDAT", zlib.compress(lines, 1)), (b"IEND", b"")
    return b"\x89PNG\r\n\x1a\n" + b"".join(
        struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
        for kind, data in chunks
    )


def roles(port: int) -> dict[str, psutil.Process]:
    """The processes of a server of layout ``staged`` that listens on a port, by what each does.

    They have the same command line, but the Flow starts them in the order of the stages, and
    its gateway, which alone listens on the port, in the end.
    """
    listening = []
    for process in psutil.Process().children(recursive=True):
        ports = {
            one.laddr.port
            for one in process.net_connections("inet")
            if one.status == psutil.CONN_LISTEN
        }
        if port in ports:
            gateway = process
        elif ports:  # the others start and watch
            listening.append(process)
    stages = zip(STAGES, sorted(listening, key=lambda one: one.pid), strict=True)
    found: dict[str, psutil.Process] = dict(stages)
    found |= {"client": psutil.Process(), "gateway": gateway}
    assert any("libtorch_cpu" in one.path for one in found["infer"].memory_maps())
    return found


class Watch:
    """Takes samples of some processes on a thread, while a pool goes through them.

    Args:
        processes: By their roles.
        items: Items of the pool.
        every_s: Seconds between two samples.
    """

    def __init__(self, processes: dict[str, psutil.Process], items: int, every_s: float) -> None:
        self.samples: list[Sample] = []
        self.sent = 0
        self._processes = processes
        self._items = items
        self._every_s = every_s
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)

    def _run(self) -> None:
        started = time.perf_counter()
        while True:
            seconds = time.perf_counter() - started
            for role, process in self._processes.items():
                taken = process.memory_full_info()
                self.samples.append(
                    Sample(self._items, seconds, self.sent, role, taken.rss, taken.pss)
                )
            if self._stop.wait(self._every_s):
                return

    def pool(self) -> Iterator[Item]:
        """The items, which nobody holds."""
        for row in range(self._items):
            self.sent = row
            yield Item(str(row), blob=png(row))

    def __enter__(self) -> Watch:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join()


def growth(samples: Sequence[Sample], role: str) -> tuple[float, float, float]:
    """MiB at first, MiB at most, and MiB an item over the second half of the pool."""
    own = [sample for sample in samples if sample.role == role]
    half = next(sample for sample in own if 2 * sample.sent >= sample.items - 2)
    slope = (own[-1].pss - half.pss) / (own[-1].items / 2)
    return own[0].pss / MIB, max(sample.pss for sample in own) / MIB, slope / MIB


def draw(samples: Sequence[Sample], path: Path) -> None:
    """Draw the memory of each process over the items sent."""
    import matplotlib.pyplot as plt

    figure, axes = plt.subplots(figsize=(7, 4))
    for role in dict.fromkeys(sample.role for sample in samples):
        own = [sample for sample in samples if sample.role == role]
        axes.plot([one.sent for one in own], [one.pss / MIB for one in own], label=role)
    axes.set(xlabel="items sent", ylabel="memory of the process, MiB (PSS)", ylim=(0, None))
    axes.legend()
    figure.savefig(path, bbox_inches="tight", dpi=150)


def measure(sizes: Sequence[int], every_s: float) -> tuple[list[Sample], list[list[str]], float]:
    """Send pools of several sizes; all samples, a row for each, and their largest load."""
    port = free_port()
    tree = {
        "active_learning": {
            "strategy": {"model": model("small", size=4, batch_size=256)},
            "al_worker": {"host": "127.0.0.1", "port": port, "layout": "staged"},
        },
        "log": {"level": "warning"},
    }
    samples, rows, loads = list[Sample](), list[list[str]](), [0.0]
    with (
        Server(Settings.model_validate(tree)) as server,
        Client(server.urls["http"], progress=False) as client,
    ):
        for items in sizes:
            own, busy, started = own_s(), busy_s(), time.perf_counter()
            with Watch(roles(port), items, every_s) as watch:
                answer = client.query(watch.pool(), min(BUDGET, items // 10))
            passed = time.perf_counter() - started
            loads.append(max(0.0, busy_s() - busy - own_s() + own) / passed)
            assert answer.receipt.pool_size == items
            samples += watch.samples
            rows.append([f"{items:,}", f"{items / passed:.0f}", f"{loads[-1]:.1f} cores busy"])
    return samples, rows, max(loads)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--items", type=int, default=1_000_000, help="items of the largest pool")
    parser.add_argument("--every", type=float, default=2.0, metavar="S", help="between samples")
    parser.add_argument("--json", type=Path, metavar="FILE", help="file to write the figures to")
    parser.add_argument("--csv", type=Path, metavar="FILE", help="file for all samples")
    parser.add_argument("--png", type=Path, metavar="FILE", help="picture of the curve")
    arguments = parser.parse_args()
    # A pool to warm up on, two for the speed, and the large one.
    sizes = [1_000, 1_000, max(1_000, arguments.items // 10), arguments.items]
    with tempfile.TemporaryDirectory() as folder:
        os.environ["XDG_DATA_HOME"] = folder
        os.environ["PYTHONPATH"] = str(ROOT)
        samples, speeds, busiest = measure(sizes, arguments.every)
    largest = [sample for sample in samples if sample.items == sizes[-1]]
    if arguments.csv:
        with arguments.csv.open("w", newline="") as out:
            table = csv.writer(out)
            table.writerow(Sample.__dataclass_fields__)
            table.writerows(astuple(sample) for sample in samples)
    if arguments.png:
        draw(largest, arguments.png)
    found = {role: growth(largest, role) for role in dict.fromkeys(one.role for one in largest)}
    quiet, per_item = busiest < QUIET, sum(slope for _, _, slope in found.values())
    one, many = (float(speeds[at][1]) for at in (1, 2))
    made = document(
        "Memory of a large pool",
        ["process", "MiB at first", "MiB at most", "KiB an item"],
        [[role, f"{first:.0f}", f"{most:.0f}", f"{1024 * slope:.3f}"]
         for role, (first, most, slope) in found.items()],
        job=f"{sizes[-1]:,} pictures of 4 by 4 pixels as bytes from a generator; views of 14 "
        "numbers an item are stored. KiB an item over the second half of the pool.",
        targets=[
            Target("MiB an item, all processes, stored views included", per_item, at_most=0.01),
            Target("gateway, MiB an item", found["gateway"][2], at_most=0.0001),
            Target("client, MiB an item", found["client"][2], at_most=0.0001),
            Target(f"items a second at {sizes[2]:,} over those at 1,000", many / one,
                   at_least=0.97, quiet=quiet),
        ],
        notes=[f"{items} items: {speed} a second, rest of the machine {load}"
               for items, speed, load in speeds[1:]],
        raw=[astuple(sample) for sample in samples],
    )  # fmt: skip
    publish(made, arguments.json)


if __name__ == "__main__":
    main()

"""How fast a query is: this project, its limits and its peers, in one interleaved run.

    python -m benchmarks.suite --pool 1000 --rounds 5 --json figures.json

All choose the least certain tenth of the same photographs with the same ResNet-18 of random
weights. The ways take turns, round after round, each round with contents that nobody has seen
before; ratios are taken within rounds. Beside each figure stands what the rest of the machine
did meanwhile. What cannot be built or dies is named, and left out.
"""

from __future__ import annotations

import argparse
import os
import sys
import tempfile
import time
import traceback
from collections import deque
from collections.abc import Callable
from contextlib import AbstractContextManager, ExitStack
from functools import partial
from pathlib import Path
from typing import Any

from alaas.core.errors import AlaasError
from benchmarks import photographs, turns
from benchmarks.environments import CACHE, NotBuilt
from benchmarks.report import Target, document, publish
from benchmarks.rounds import Lap, Meter, documents, load, overlap, ratio, summary
from benchmarks.turns import Bench, Round, Turn
from benchmarks.ways import Died, Unsupported

WARM_UP = 64
"""Photographs of the round that does not count."""

LABELS = {
    "bare": "bare network, random pixels (the limit)",
    "computed": "ideal, computed: cores / CPU seconds of the parts",
    "ideal": "ideal pipeline: the shortest loop, one thread a core",
    "local": "local engine, files",
    "http": "service, HTTP by URI",
    "blob": "service, HTTP with the bytes",
    "grpc": "service, gRPC by URI",
    "bare, bf16": "bare network, bf16",
    "computed, bf16": "ideal, computed, bf16",
    "ideal, bf16": "ideal pipeline, bf16",
    "http, bf16": "service, HTTP by URI, bf16",
    "first, files": "first query, files, views kept",
    "second, files": "second query, other strategy, files",
    "grown, files": "pool grown by 1 %, third strategy, files",
    "first, http": "first query, HTTP by URI, views kept",
    "second, http": "second query, other strategy, HTTP by URI, each revalidated",
    "second, pool": "second query, other strategy, named pool",
    "naive": "naive loop: requests, Pillow, one forward pass an image",
    "loader": "DataLoader, batches of 32, files",
    "loader 2": "DataLoader, batches of 32, 2 workers, files",
    "baal": "Baal 2.1 predict_on_dataset, files",
    "baal 2": "Baal 2.1 predict_on_dataset, 2 workers, files",
    "modal": "modAL 0.4 with skorch, files",
    "upstream 1": "ALaaS 0.2.1, HTTP by URI, batch 1 (its default)",
    "upstream 8": "ALaaS 0.2.1, HTTP by URI, batch 8",
}
PEERS = ("loader", "loader 2", "baal", "baal 2", "modal", "upstream 1", "upstream 8", "naive")
ALIKE = {"second, http": "second, files", "second, pool": "second, files"}
"""Rows whose picks are compared with others than those of the ideal pipeline."""
OTHER_JOB = ("second, files", "grown, files")

Maker = Callable[[Bench], AbstractContextManager[Turn]]
WAYS: dict[str, Maker] = {
    "limits": turns.limits,
    "local": turns.local,
    "service": turns.service,
    "bf16": partial(turns.limits, precision="bf16"),
    "service-bf16": partial(turns.service, precision="bf16"),
    "stored": turns.stored,
    "naive": lambda bench: turns.script(bench, "naive", "naive_loop.py"),
    "loader": lambda bench: turns.script(bench, "loader", "torch_loader.py", "0"),
    "loader-2": lambda bench: turns.script(bench, "loader 2", "torch_loader.py", "2"),
    "baal": lambda bench: turns.peer_library(bench, "baal", "baal_predict.py", "0"),
    "baal-2": lambda bench: turns.peer_library(bench, "baal 2", "baal_predict.py", "2"),
    "modal": lambda bench: turns.peer_library(bench, "modal", "modal_skorch.py"),
    "upstream-1": lambda bench: turns.upstream(bench, "upstream 1", 1),
    "upstream-8": lambda bench: turns.upstream(bench, "upstream 8", 8),
}


def measure(
    bench: Bench, ways: dict[str, Maker], rounds: int, fresh: Callable[[int], Round]
) -> dict[str, str]:
    """Let the ways take turns.

    Args:
        bench: What they have in common, with the meter that takes their time.
        ways: How each is started.
        rounds: Rounds that count; one more, with few photographs, comes before them.
        fresh: Makes the photographs of a round.

    Returns:
        The ways that failed, and why.
    """
    missing: dict[str, str] = {}
    with ExitStack() as open_until_end:
        started: deque[tuple[str, Turn]] = deque()
        for name, make in ways.items():
            print(f"starting {name}", file=sys.stderr)
            try:
                started.append((name, open_until_end.enter_context(make(bench))))
            except (NotBuilt, Unsupported, Died, AlaasError) as error:
                missing[name] = str(error)
        for number in range(rounds + 1):
            bench.meter.round = number
            now = fresh(number)
            for name, turn in started:
                if name in missing:
                    continue
                began = time.perf_counter()
                try:
                    turn(now)
                except Exception as error:  # noqa: BLE001  # the others' figures are not lost
                    traceback.print_exc()
                    missing[name] = f"{type(error).__name__}: {error}"
                print(f"round {number}: {name}, {time.perf_counter() - began:.1f} s",
                      file=sys.stderr)  # fmt: skip
            # Nobody is always behind the same neighbour.
            started.rotate(-1)
    return missing


def rows(laps: list[Lap]) -> list[list[str]]:
    """The rows of the table."""
    found = []
    for row in (row for row in LABELS if any(lap.row == row for lap in laps)):
        own, ideal = summary(laps, row), ratio(laps, row, "ideal")
        same = None if row in OTHER_JOB else overlap(laps, row, ALIKE.get(row, "ideal"))
        found.append([
            LABELS[row],
            f"{own['per_second']:.4g}",
            "" if ideal is None else f"{ideal['median']:.3g} ({ideal['min']:.3g} to "
            f"{ideal['max']:.3g})",
            f"{own['cpu_ms_per_item']:.3g}" if own["cpu_ms_per_item"] else "",
            "" if same is None else f"{100 * same:.4g} %",
            load(own),
        ])  # fmt: skip
    return found


def targets(laps: list[Lap]) -> list[Target]:
    """What was aimed at, and what came out."""

    def target(what: str, row: str, other: str | None, at_least: float) -> Target:
        found = ratio(laps, row, other) if other else None
        if found is None:
            return Target(what, None, at_least)
        return Target(what, found["median"], at_least, quiet=found["quiet"])

    peer = _best(laps)
    grown = target("pool grown by 1 %: first query's time over it", "grown, files",
                   "first, files", 50.5)  # fmt: skip
    return [
        target("local engine of the ideal pipeline", "local", "ideal", 0.93),
        target("HTTP by URI of the ideal pipeline", "http", "ideal", 0.88),
        target(f"HTTP by URI over the best peer ({peer})", "http", peer, 1.8),
        target("HTTP by URI over ALaaS 0.2.1 with its defaults", "http", "upstream 1", 2.8),
        target("HTTP by URI of the ideal pipeline, bf16", "http, bf16", "ideal, bf16", 0.85),
        target(f"HTTP by URI in bf16 over the best peer ({peer})", "http, bf16", peer, 3.0),
        target("second query over first, files", "second, files", "first, files", 100),
        target("second query over first, named pool", "second, pool", "first, http", 100),
        target("second query over first, HTTP by URI", "second, http", "first, http", 30),
        grown,
    ]


def _best(laps: list[Lap]) -> str | None:
    there = {lap.row for lap in laps}
    return max((row for row in PEERS if row in there), default=None,
               key=lambda row: summary(laps, row)["per_second"])  # fmt: skip


def run(arguments: argparse.Namespace, scratch: Path) -> dict[str, Any]:
    """Measure, and put what was found into a document."""
    extra = max(1, arguments.pool // 100)
    files, origin = photographs.encoded(arguments.photos, arguments.pool + extra)
    weights = photographs.random_weights(scratch / "resnet18.pth")
    bench = Bench(Meter(), weights, scratch, arguments.environments, max(1, arguments.pool // 10))
    (scratch / "photographs").mkdir()
    with photographs.served(scratch / "photographs") as url:

        def fresh(number: int) -> Round:
            folder = f"round-{number}"
            grown = photographs.write(
                files if number else files[: WARM_UP + 1],
                scratch / "photographs" / folder, f"{url}/{folder}", mark=folder,
            )  # fmt: skip
            return Round(grown.part(arguments.pool if number else WARM_UP), grown)

        ways = {name: WAYS[name] for name in WAYS if name in arguments.ways}
        missing = measure(bench, ways, arguments.rounds, fresh)
    laps = bench.meter.laps
    size = sum(map(len, files)) / len(files) / 1024
    return document(
        "A query end to end",
        ["way", "images/s", "times the ideal: median (range)", "CPU ms/image",
         "same picks", "rest of the machine"],
        rows(laps),
        job=f"{bench.budget} least certain of {arguments.pool} photographs, {size:.0f} KiB each "
        f"(made of {origin}), ResNet-18 of random weights, {arguments.rounds} interleaved rounds.",
        targets=targets(laps),
        notes=[f"Not measured: {name}: {reason}" for name, reason in missing.items()],
        raw=documents(laps),
    )  # fmt: skip


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--pool", type=int, default=1000, help="photographs in the pool")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--photos", metavar="FOLDER", help="photographs of yours")
    parser.add_argument("--ways", nargs="+", choices=list(WAYS), default=list(WAYS))
    parser.add_argument("--environments", type=Path, default=CACHE, metavar="FOLDER",
                        help="where those of other projects are built")  # fmt: skip
    parser.add_argument("--json", type=Path, metavar="FILE", help="file to write the figures to")
    return parser.parse_args()


def main() -> None:
    arguments = parse()
    with tempfile.TemporaryDirectory() as folder:
        scratch = Path(folder)
        # Nothing of the user's own is read or written.
        os.environ["XDG_DATA_HOME"] = str(scratch / "data")
        # Each chooses its own number of threads.
        os.environ.pop("OMP_NUM_THREADS", None)
        publish(run(arguments, scratch), arguments.json)


if __name__ == "__main__":
    main()

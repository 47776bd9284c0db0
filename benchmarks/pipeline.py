"""Images per second of a whole query, beside a ten-line loop over torchvision.

    python -m benchmarks.pipeline --pool 200 --rounds 5

Every way to ask chooses from the same photographs, which a web server on loopback serves,
with the same ResNet-18 of random weights. The ways take turns, round after round, and the
ratios are taken within each round: what else the machine does meets all of them alike.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Iterable
from io import BytesIO
from itertools import cycle, islice
from pathlib import Path
from typing import Any

from benchmarks import photographs

Ask = Callable[[list[str]], list[str]]
BUDGET = 20
WAYS = {
    "loop": "ten-line loop",
    "http": "server, HTTP",
    "grpc": "server, gRPC",
    "select": "alaas.select",
}


def loop() -> Ask:
    """The ten lines that people write: one image after the other."""
    import requests
    import torch
    from PIL import Image
    from torchvision.models import ResNet18_Weights, resnet18

    weights = ResNet18_Weights.DEFAULT
    model, transform, session = (
        resnet18(weights=weights).eval(),
        weights.transforms(),
        requests.Session(),
    )

    def ask(uris: list[str]) -> list[str]:
        scores = {}
        with torch.inference_mode():
            for uri in uris:
                image = Image.open(BytesIO(session.get(uri, timeout=60).content)).convert("RGB")
                scores[uri] = 1 - model(transform(image)[None]).softmax(1).max().item()
        return sorted(scores, key=scores.__getitem__, reverse=True)[:BUDGET]

    return ask


def here() -> Ask:
    """`alaas.select`: the same stages in this process."""
    import alaas

    def ask(uris: list[str]) -> list[str]:
        return [pick.uri or "" for pick in alaas.select(uris, BUDGET)]

    return ask


def client(url: str) -> Ask:
    """The thin client and a server."""
    from alaas.client import Client

    return lambda uris: Client(url, progress=False).query_by_uri(uris, budget=BUDGET)


def measure(
    ways: dict[str, Ask], uris: list[str], rounds: int, warm_up: int
) -> dict[str, list[float]]:
    """Seconds of each way, round after round, the first `warm_up` rounds left out.

    Raises:
        SystemExit: Two ways chose different items.
    """
    seconds: dict[str, list[float]] = {name: [] for name in ways}
    for number in range(1 - warm_up, rounds + 1):
        picks = {}
        for name, ask in ways.items():
            started = time.perf_counter()
            picks[name] = ask(uris)
            if number > 0:
                seconds[name].append(time.perf_counter() - started)
        if len({tuple(picked) for picked in picks.values()}) > 1:
            sys.exit(f"the picks differ: {json.dumps(picks, indent=1)}")
        print(f"round {number} of {rounds}", file=sys.stderr)
    return seconds


def report(seconds: dict[str, list[float]], count: int) -> dict[str, Any]:
    """Images per second, and the ratio to the loop within each round."""
    first = next(iter(seconds))
    rows = {
        name: {
            "images_per_second": round(count / statistics.median(taken), 1),
            "times_the_loop": _spread(a / b for a, b in zip(seconds[first], taken, strict=True)),
        }
        for name, taken in seconds.items()
    }
    return {"pool": count, "rounds": len(seconds[first]), "cores": os.cpu_count(), "ways": rows}


def _spread(ratios: Iterable[float]) -> list[float]:
    ordered = sorted(ratios)
    return [round(r, 2) for r in (ordered[0], statistics.median(ordered), ordered[-1])]


def main() -> None:
    """Measure, print a table, and write JSON where asked."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--photos", help="folder of photographs")
    parser.add_argument("--pool", type=int, default=200, help="items in the pool")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--warm-up", type=int, default=1, help="rounds that do not count")
    parser.add_argument("--ways", nargs="+", choices=list(WAYS), default=list(WAYS))
    parser.add_argument("--json", type=Path, help="file to write the figures to")
    arguments = parser.parse_args()

    with tempfile.TemporaryDirectory() as scratch:
        os.environ["TORCH_HOME"] = scratch
        photographs.random_weights("resnet18", Path(scratch))
        folder = photographs.folder(arguments.photos, Path(scratch))
        names = sorted(path.name for path in folder.iterdir())
        with photographs.served(folder) as url:
            uris = [
                f"{url}/{name}?copy={row // len(names)}"
                for row, name in enumerate(islice(cycle(names), arguments.pool))
            ]
            figures = run(uris, arguments.ways, arguments.rounds, arguments.warm_up)
    show(figures)
    if arguments.json:
        arguments.json.write_text(json.dumps(figures, indent=2))


def run(uris: list[str], names: list[str], rounds: int, warm_up: int) -> dict[str, Any]:
    """Start the server, and let the named ways choose in turn."""
    from alaas.config import Settings
    from alaas.server import Server

    settings = Settings.model_validate(
        {
            "active_learning": {
                "al_worker": {"protocol": ["http", "grpc"], "host": "127.0.0.1", "port": 18481}
            },
            "fetch": {"networks": ["127.0.0.0/8"]},
            "log": {"level": "warning"},
        }
    )
    with Server(settings) as server:
        makers: dict[str, Callable[[], Ask]] = {
            "loop": loop,
            "http": lambda: client(server.urls["http"]),
            "grpc": lambda: client(server.urls["grpc"]),
            "select": here,
        }
        ways = {WAYS[name]: makers[name]() for name in WAYS if name in names}
        return report(measure(ways, uris, rounds, warm_up), len(uris))


def show(figures: dict[str, Any]) -> None:
    """Print the figures as a Markdown table."""
    print(f"{figures['pool']} photographs, {figures['rounds']} rounds, {figures['cores']} cores\n")
    print("| way | images/s | times the loop: min, median, max |")
    print("| --- | ---: | ---: |")
    for name, row in figures["ways"].items():
        low, middle, high = row["times_the_loop"]
        print(f"| {name} | {row['images_per_second']} | {low}, **{middle}**, {high} |")


if __name__ == "__main__":
    main()

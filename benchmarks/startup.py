"""How long it takes to start: the service until it is ready, and the client's import.

    python -m benchmarks.startup --rounds 5 --json startup.json

Each beside the least that a process must do for the same: import torch and torchvision, build
a ResNet-18 and run one picture; import requests and grpc.
"""

from __future__ import annotations

import argparse
import json
import signal
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

from benchmarks.photographs import free_port, random_weights
from benchmarks.report import Target, document, publish
from benchmarks.rounds import Meter, documents, load, ratio, summary
from benchmarks.ways import ROOT, settings

BARE = """
import torch
from torchvision.models import resnet18
network = resnet18()
network.load_state_dict(torch.load({weights!r}, weights_only=True))
with torch.inference_mode():
    network.eval()(torch.zeros(1, 3, 224, 224))
"""
LABELS = {
    "python": "an empty process",
    "bare": "bare process: torch, torchvision, ResNet-18, one picture",
    "service": "`alaas serve` with the same until `ready`",
    "libraries": "import requests, grpc",
    "client": "import alaas.client",
}


def process(code: str) -> Callable[[], list[int]]:
    """A process of Python from its start to its end."""

    def run() -> list[int]:
        subprocess.run([sys.executable, "-c", code], check=True, cwd=ROOT)
        return []

    return run


def serve(config: Path) -> subprocess.Popen[str]:
    """A service that has said that it is ready."""
    command = [sys.executable, "-m", "alaas", "serve", "--config", str(config)]
    started = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True)
    assert started.stdout is not None
    if not started.stdout.readline().startswith("ready"):
        sys.exit("the service did not start; the lines above say why")
    return started


def measure(scratch: Path, rounds: int) -> Meter:
    """Let everything take turns."""
    weights, meter = random_weights(scratch / "resnet18.pth"), Meter()
    config = scratch / "config.yml"

    def service() -> list[int]:
        running.append(serve(config))
        return []

    for number in range(rounds + 1):
        meter.round = number
        meter.lap("python", 1, process(""), repeats=5)
        meter.lap("libraries", 1, process("import requests, grpc"), repeats=5)
        meter.lap("client", 1, process("import alaas.client"), repeats=5)
        meter.lap("bare", 1, process(BARE.format(weights=str(weights))))
        running: list[subprocess.Popen[str]] = []
        tree = settings(weights, scratch / "store", worker={"port": free_port()})
        config.write_text(json.dumps(tree))  # JSON is YAML
        meter.lap("service", 1, service)
        for one in running:
            one.send_signal(signal.SIGTERM)
            one.wait()
    return meter


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--json", type=Path, metavar="FILE", help="file to write the figures to")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        laps = measure(Path(folder), arguments.rounds).laps
    rows = []
    for row, label in LABELS.items():
        own = summary(laps, row)
        rows.append([label, f"{own['seconds']:.3g}", f"{own['cpu_ms_per_item'] / 1e3:.3g}",
                     load(own)])  # fmt: skip
    service, client = ratio(laps, "bare", "service"), ratio(laps, "libraries", "client")
    assert service is not None
    assert client is not None
    made = document(
        "Start-up",
        ["what", "s", "CPU s", "rest of the machine"],
        rows,
        job="Whole processes, from their start; the conversion of the model is kept from the "
        "round that does not count.",
        targets=[
            Target("service ready, times the bare process", service["median"], at_most=2.5,
                   quiet=service["quiet"]),
            Target("import alaas.client, times import requests, grpc", client["median"],
                   at_most=1.5, quiet=client["quiet"]),
        ],
        raw=documents(laps),
    )  # fmt: skip
    publish(made, arguments.json)


if __name__ == "__main__":
    main()

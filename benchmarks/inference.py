"""Images per second of each runtime, precision and micro-batch, beside bare eager torch.

    python -m benchmarks.inference --rounds 5 --json inference.json

ResNet-18 at 224 x 224 on random pixels, in this process. The cases of one number of threads
take turns, round after round, and each ratio is taken within its round: what else the
machine does meets all of them alike. How many cores that was stands beside the figures.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import torch
from numpy.typing import NDArray

from alaas.config import ModelSettings
from alaas.core.errors import AlaasError
from alaas.models.load import load

Run = Callable[[NDArray[np.uint8]], object]
BARE = "eager torch"
RUNTIMES = ("torch", "openvino", "onnxruntime")


@dataclass
class Case:
    """One way to run the model.

    Attributes:
        name: Runtime and precision.
        threads: Threads that it computes with.
        batch: Images at once.
        rates: Images per second, one a round.
        cpu_rates: Images per second that this process had a core for: hardly moved by others.
    """

    name: str
    threads: int
    batch: int
    rates: list[float] = field(default_factory=list)
    cpu_rates: list[float] = field(default_factory=list)


def bare(name: str) -> Run:
    """What people write: normalise, then call the network."""
    import torchvision

    network = torchvision.models.get_model(name, weights=None).eval()
    mean = torch.tensor([0.485, 0.456, 0.406]).view(1, 3, 1, 1)
    std = torch.tensor([0.229, 0.224, 0.225]).view(1, 3, 1, 1)

    def run(images: NDArray[np.uint8]) -> object:
        with torch.inference_mode():
            pixels = torch.from_numpy(images).permute(0, 3, 1, 2).contiguous().float() / 255
            return network((pixels - mean) / std)

    return run


def built(name: str, precisions: list[str], threads: int) -> dict[str, Run]:
    """Every runtime and precision that there is on this machine."""
    runs = {BARE: bare(name)}
    for runtime in RUNTIMES:
        for precision in precisions:
            settings = ModelSettings.model_validate(
                {"name": name, "weights": "none", "runtime": runtime, "precision": precision}
            )
            try:
                model = load(settings, device="cpu", threads=threads)
            except AlaasError as error:
                print(f"left out: {error.detail}", file=sys.stderr)
                continue
            runs[f"{runtime} {precision}"] = model.classifier.engine.run
    return runs


@contextmanager
def load_of_others() -> Iterator[Callable[[], float]]:
    """Tells how many cores everything else on the machine has kept busy since it began."""
    process, started = psutil.Process(), time.perf_counter()

    def busy() -> float:
        used = psutil.cpu_times()
        own = process.cpu_times()
        return float(sum(used) - used.idle - used.iowait - own.user - own.system)

    before = busy()
    yield lambda: max(0.0, busy() - before) / (time.perf_counter() - started)


def measure(
    runs: dict[str, Run], threads: int, batches: list[int], rounds: int, images: int
) -> tuple[list[Case], float]:
    """The rates of all cases of one number of threads, and the cores that others used."""
    torch.set_num_threads(threads)
    pixels = np.random.default_rng(0).integers(0, 256, (max(batches), 224, 224, 3), np.uint8)
    cases = [Case(name, threads, batch) for batch in batches for name in runs]
    for case in cases:
        runs[case.name](pixels[: case.batch])
    with load_of_others() as others:
        for number in range(rounds):
            for case in cases:
                times = max(1, images // case.batch)
                started, used = time.perf_counter(), time.process_time()
                for _ in range(times):
                    runs[case.name](pixels[: case.batch])
                case.rates.append(times * case.batch / (time.perf_counter() - started))
                case.cpu_rates.append(times * case.batch / (time.process_time() - used))
            print(f"{threads} threads, round {number + 1} of {rounds}", file=sys.stderr)
        return cases, others()


def show(cases: list[Case], others: float) -> None:
    """Print a Markdown table: images per second, and two ratios to bare torch in its round."""
    threads, batches = cases[0].threads, sorted({case.batch for case in cases})
    print(f"\n{threads} threads; everything else on the machine used {others:.2f} cores")
    print("images/s (times bare torch; the same for each second of a core)\n")
    print("| runtime | " + " | ".join(f"batch {batch}" for batch in batches) + " |")
    print("| --- |" + " ---: |" * len(batches))
    found = {(case.name, case.batch): case for case in cases}
    for name in dict.fromkeys(case.name for case in cases):
        row = []
        for batch in batches:
            case, base = found[name, batch], found[BARE, batch]
            wall, cpu = ratio(case.rates, base.rates), ratio(case.cpu_rates, base.cpu_rates)
            row.append(f"{statistics.median(case.rates):.1f} ({wall:.2f}; {cpu:.2f})")
        print(f"| {name} | " + " | ".join(row) + " |")


def ratio(rates: list[float], base: list[float]) -> float:
    """The median over the rounds of one rate in terms of another."""
    return statistics.median(a / b for a, b in zip(rates, base, strict=True))


def main() -> None:
    """Measure, print tables, and write JSON where asked."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--model", default="resnet18", help="a classifier of torchvision")
    parser.add_argument("--batches", type=int, nargs="+", default=[8, 16, 32])
    parser.add_argument("--threads", type=int, nargs="+", default=[1, 2])
    parser.add_argument("--precisions", nargs="+", default=["fp32"])
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--images", type=int, default=64, help="images of a case in a round")
    parser.add_argument("--json", type=Path, help="file to write the figures to")
    arguments = parser.parse_args()
    figures: list[dict[str, Any]] = []
    for threads in arguments.threads:
        runs = built(arguments.model, arguments.precisions, threads)
        cases, others = measure(
            runs, threads, arguments.batches, arguments.rounds, arguments.images
        )
        show(cases, others)
        figures += [{**asdict(case), "others_cores": round(others, 2)} for case in cases]
    if arguments.json:
        written = {"model": arguments.model, "cores": os.cpu_count(), "cases": figures}
        arguments.json.write_text(json.dumps(written, indent=2))


if __name__ == "__main__":
    main()

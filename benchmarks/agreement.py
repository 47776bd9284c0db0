"""How far the picks agree when precision, runtime or decoding change.

    python -m benchmarks.agreement --json agreement.json

The top tenth of a pool by three strategies, as fp32 in torch with exact decoding picks it,
and the share of it that the other ways pick too. One pool is the 10,000 test images of
CIFAR-10 as a trained ResNet-20 sees them. The other is 200 photographs and ResNet-18 with
random weights: hardly one item is told from the next, which is the worst there can be.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import zipfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from alaas.config import LimitsSettings, ModelSettings, Preprocessing
from alaas.core.errors import AlaasError
from alaas.core.types import Raw, Raws
from alaas.data import decode
from alaas.models.classifier import Classifier
from alaas.models.runtimes.choice import choose
from alaas.strategies.uncertainty import entropy, least_confidence, margin_confidence
from benchmarks import cifar10

STRATEGIES = (least_confidence, margin_confidence, entropy)
SHARE = 0.1
BATCH = 50
DATA = Path(os.environ.get("ALAAS_TEST_DATA", Path(__file__).parents[2] / "shared" / "data"))


@dataclass(frozen=True)
class Way:
    """One way to compute the same probabilities."""

    runtime: str = "torch"
    precision: str = "fp32"
    decode: str = "exact"

    def __str__(self) -> str:
        return f"{self.runtime}, {self.precision}, {self.decode} decoding"


REFERENCE = Way()
WAYS = (
    Way("openvino"),
    Way("onnxruntime"),
    Way(precision="bf16"),
    Way("openvino", "bf16"),
    Way(decode="fast"),
    Way("openvino", decode="fast"),
)


@dataclass(frozen=True)
class Pool:
    """Pictures and the network that looks at them."""

    name: str
    files: list[bytes]
    network: nn.Module
    preprocessing: Preprocessing


def cifar(folder: Path) -> Pool:
    """The test images of CIFAR-10 and the trained ResNet-20."""
    from safetensors.torch import load_file

    state = load_file(folder / "resnet20-cifar10.safetensors")
    network = nn.Sequential(cifar10.ResNet20(), nn.Linear(64, cifar10.CLASSES))
    renamed = {
        name.replace("linear.", "1.") if name.startswith("linear.") else f"0.{name}": tensor
        for name, tensor in state.items()
    }
    network.load_state_dict(renamed, strict=False)  # the counters of batches are not in the file
    spec = Preprocessing(size=(32, 32), mean=cifar10.MEAN, std=cifar10.STD)
    files = unpacked(folder / "cifar10-test.zip", ".jpg")
    return Pool("CIFAR-10, trained ResNet-20", files, network, spec)


def imagenet(folder: Path) -> Pool:
    """The photographs and ResNet-18 of random weights, whose normalisations saw noise."""
    import torchvision

    torch.manual_seed(0)
    network = torchvision.models.resnet18(weights=None).train()
    with torch.no_grad():  # with its initial statistics it calls every photograph the same
        for _ in range(3):
            network(torch.randn(8, 3, 64, 64))
    spec = Preprocessing(size=(224, 224), resize=256, mean=cifar10.MEAN, std=cifar10.STD)
    files = unpacked(folder / "imagenet-200.zip", ".JPEG")
    return Pool("200 photographs, ResNet-18 of random weights", files, network, spec)


def unpacked(archive: Path, ending: str) -> list[bytes]:
    """The files of an archive, in the order of their names."""
    with zipfile.ZipFile(archive) as zipped:
        names = sorted(name for name in zipped.namelist() if name.endswith(ending))
        return [zipped.read(name) for name in names]


def probabilities(pool: Pool, way: Way) -> NDArray[np.float32]:
    """What a network makes of all pictures, (N, C)."""
    spec = pool.preprocessing.model_copy(update={"decode": way.decode})
    print(f"{pool.name}: {way}", file=sys.stderr)
    classifier = Classifier(pool.network, spec)
    settings = ModelSettings.model_validate(
        {"runtime": way.runtime, "precision": way.precision, "name": pool.name}
    )
    classifier.engine = choose(classifier, settings, digest=classifier.digest())
    return np.concatenate(
        [classifier.views(batch, ("probs",))["probs"] for batch in decoded(pool.files, spec)]
    )


def decoded(files: list[bytes], spec: Preprocessing) -> Iterator[NDArray[np.uint8]]:
    """The pixels of all files, in micro-batches."""
    for start in range(0, len(files), BATCH):
        raws = tuple(
            Raw(str(start + row), data) for row, data in enumerate(files[start : start + BATCH])
        )
        batch = decode.preprocess(Raws(start, raws, ()), spec, LimitsSettings())
        assert not batch.failures, batch.failures
        yield batch.array


def top(scores: NDArray[Any]) -> set[int]:
    """The rows of the greatest tenth."""
    count = round(SHARE * len(scores))
    return set(np.argsort(-scores, kind="stable")[:count].tolist())


def compare(pool: Pool) -> dict[str, dict[str, float]]:
    """Way to strategy to the share of the reference's picks that it picks too."""
    expected = probabilities(pool, REFERENCE)
    shares = {}
    for way in WAYS:
        try:
            found = probabilities(pool, way)
        except AlaasError as error:
            print(f"left out: {error.detail}", file=sys.stderr)
            continue
        shares[str(way)] = {
            strategy.__name__: len(top(strategy(found)) & top(strategy(expected)))
            / len(top(strategy(expected)))
            for strategy in STRATEGIES
        } | {"largest difference of a probability": float(np.abs(found - expected).max())}
    return shares


POOLS = {"cifar": cifar, "imagenet": imagenet}


def main() -> None:
    """Compare, print tables, and write JSON where asked."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=Path, default=DATA, help="folder of the archives")
    parser.add_argument("--pools", nargs="+", choices=list(POOLS), default=list(POOLS))
    parser.add_argument("--json", type=Path, help="file to write the figures to")
    arguments = parser.parse_args()
    figures = {}
    for name in arguments.pools:
        pool = POOLS[name](arguments.data)
        figures[pool.name] = compare(pool)
        show(pool.name, figures[pool.name])
    if arguments.json:
        arguments.json.write_text(json.dumps(figures, indent=2))


def show(name: str, shares: dict[str, dict[str, float]]) -> None:
    """Print a Markdown table."""
    columns = [strategy.__name__ for strategy in STRATEGIES]
    print(f"\n{name}; reference: {REFERENCE}\n")
    print(f"| way | {' | '.join(columns)} | largest difference of a probability |")
    print("| --- |" + " ---: |" * (len(columns) + 1))
    for way, found in shares.items():
        *picked, apart = found.values()
        print(f"| {way} | {' | '.join(f'{share:.1%}' for share in picked)} | {apart:.1g} |")


if __name__ == "__main__":
    main()

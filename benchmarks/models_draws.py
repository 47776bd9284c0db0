"""What T draws cost, in passes of the bare network.

    python -m benchmarks.models_draws --rounds 5 --json draws.json

Networks with random weights on random pixels and tokens, in this process. The ways take turns,
round after round, and each ratio is taken within its round: what else the machine does meets
all of them alike.

Where the whole network is stochastic, T draws are set beside T bare passes, one after the
other: 1 is as fast. Where only the head is, they are set beside a single bare pass.
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, TypedDict

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from alaas.config import Inputs, Preprocessing, Tokenization
from alaas.config.model import DrawsSettings
from alaas.core.arrays import PADDING
from alaas.models.classifier import Classifier
from benchmarks.inference import load_of_others

MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
RATE = 0.1
"""Share that the layers drop; it makes no difference to the time."""


@dataclass
class Case:
    """One way to make draws.

    Attributes:
        name: The network and the way.
        passes: Bare passes that are one unit.
        target: Bare units that the draws may take at most.
        ratios: How many they took, one a round.
        cpu_ratios: The same in seconds of this process's processor time.
    """

    name: str
    passes: int
    target: float
    ratios: list[float] = field(default_factory=list)
    cpu_ratios: list[float] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class Rival:
    """What is timed: a bare loop, and draws of the same network over the same items."""

    case: Case
    bare: Callable[[], object]
    draws: Callable[[], object]


class Draws(TypedDict):
    """How draws are made and what they may cost."""

    settings: DrawsSettings
    count: int
    target: float


class Block(nn.Module):
    """A residual block of two convolutions, with dropout between them."""

    def __init__(self, planes: int) -> None:
        super().__init__()
        self.first, self.second = (nn.Conv2d(planes, planes, 3, padding=1) for _ in range(2))
        self.norms = nn.ModuleList(nn.BatchNorm2d(planes) for _ in range(2))
        self.dropout = nn.Dropout(RATE)

    def forward(self, x: Tensor) -> Tensor:
        """A map of the same shape."""
        made = self.dropout(self.norms[0](self.first(x)).relu())
        return (x + self.norms[1](self.second(made))).relu()


def wide() -> nn.Module:
    """A residual network with a dropout layer in each block, and one before its head."""
    return nn.Sequential(
        nn.Conv2d(3, 64, 7, 4, 3), nn.Sequential(*(Block(64) for _ in range(6))),
        nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Dropout(RATE), nn.Linear(64, 100),
    )  # fmt: skip


class Reader(nn.Module):
    """A BERT of the size of MiniLM, with its dropout layers, as a classifier of texts."""

    def __init__(self) -> None:
        super().__init__()
        from transformers import BertConfig, BertForSequenceClassification

        config = BertConfig(
            hidden_size=384, num_hidden_layers=6, num_attention_heads=12, intermediate_size=1536,
            num_labels=4,
        )  # fmt: skip
        self.bert = BertForSequenceClassification(config)

    def forward(self, tokens: Tensor) -> Tensor:
        """Logits."""
        there = (tokens != PADDING).long()
        made: Tensor = self.bert(input_ids=tokens.clamp(min=0), attention_mask=there).logits
        return made


def cases(count: int) -> list[Rival]:
    """All that is measured."""
    from torchvision.models import resnet18

    rng = np.random.default_rng(0)
    small, large = (Preprocessing(size=size, mean=MEAN, std=STD) for size in (96, 224))
    words = Tokenization(file="none", digest="0", max_tokens=512, vocabulary=30_000, pad=0)
    lengths = np.sort(rng.integers(16, 64, 32))[::-1]
    tokens = np.full((32, lengths[0]), PADDING, np.int32)
    for row, length in zip(tokens, lengths, strict=True):
        row[:length] = rng.integers(1, 30_000, length)
    pictures = {
        spec: rng.integers(0, 256, (16, *spec.size, 3), np.uint8) for spec in (small, large)
    }
    whole: Draws = {"settings": DrawsSettings(), "count": count, "target": 1 / 0.9}
    connect: Draws = {**whole, "settings": DrawsSettings(by="dropconnect")}
    last: Draws = {**whole, "settings": DrawsSettings(head_only=True), "target": 1.3}
    return [
        rival("residual network, dropout", wide, small, pictures[small], **whole),
        rival("BERT of 6 layers, dropout", Reader, words, tokens, **whole),
        rival("ResNet-18, dropconnect", resnet18, large, pictures[large], **connect),
        rival("ResNet-18, head only", resnet18, large, pictures[large], **last),
        rival("BERT of 6 layers, head only", Reader, words, tokens, **last),
    ]


def rival(
    name: str,
    build: Callable[[], nn.Module],
    inputs: Inputs,
    batch: NDArray[Any],
    *,
    settings: DrawsSettings,
    count: int,
    target: float,
) -> Rival:
    """A network, bare and as the service runs it."""
    torch.manual_seed(0)
    classifier = Classifier(build(), inputs, drawing=settings)
    passes = 1 if settings.head_only else count
    network, enter = classifier.network, classifier.forward.entry

    def bare() -> None:
        with torch.inference_mode():
            for _ in range(passes):
                network(enter(torch.from_numpy(batch))).softmax(1)

    def draws() -> None:
        made = classifier.views(batch, ("draws",), n_drop=count, seed=1)["draws"]
        assert len({one.tobytes() for one in made.swapaxes(0, 1)}) == count

    return Rival(Case(f"{name}, T = {count}", passes, target), bare, draws)


def timed(run: Callable[[], object]) -> tuple[float, float]:
    """Seconds on the wall and of the processor."""
    started, used = time.perf_counter(), time.process_time()
    run()
    return time.perf_counter() - started, time.process_time() - used


def measure(rounds: int, count: int) -> list[Case]:
    """What `count` draws cost, in so many rounds."""
    rivals = cases(count)
    for one in rivals:
        one.bare()
    for number in range(rounds):
        for one in rivals:
            # Who goes first has the other one's caches: they change places.
            if number % 2:
                made, bare = timed(one.draws), timed(one.bare)
            else:
                bare, made = timed(one.bare), timed(one.draws)
            one.case.ratios.append(made[0] / bare[0])
            one.case.cpu_ratios.append(made[1] / bare[1])
        print(f"draws: round {number + 1} of {rounds}", file=sys.stderr)
    return [one.case for one in rivals]


def show(found: list[Case]) -> None:
    """Print a Markdown table."""
    print("\n| draws | beside | times the bare passes | in processor time | at most | reached |")
    print("| --- | ---: | ---: | ---: | ---: | --- |")
    for case in found:
        wall, used = statistics.median(case.ratios), statistics.median(case.cpu_ratios)
        beside = "1 pass" if case.passes == 1 else f"{case.passes} passes"
        reached = "yes" if used <= case.target else "no"
        print(
            f"| {case.name} | {beside} | {wall:.2f} | {used:.2f} | {case.target:.2f} | {reached} |"
        )


def main() -> None:
    """Measure, print a table, and write JSON where asked."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--draws", type=int, default=20, help="draws of an item, T")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--json", type=Path, help="file to write the figures to")
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    with load_of_others() as others:
        found = measure(arguments.rounds, arguments.draws)
        busy = others()
    show(found)
    print(f"\n{arguments.threads} threads; everything else on the machine used {busy:.2f} cores")
    if arguments.json:
        written = {
            "threads": arguments.threads, "others_cores": round(busy, 2),
            "cases": [asdict(case) for case in found],
        }  # fmt: skip
        arguments.json.write_text(json.dumps(written, indent=2))


if __name__ == "__main__":
    main()

"""One trial: train, ask a server which digits to label, label them, train again."""

from __future__ import annotations

import math
import socket
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from torch import nn

from alaas.client import Client, QueryResult
from alaas.config import Settings
from alaas.core.errors import Internal
from alaas.core.wire import Item
from alaas.demo import network
from alaas.demo.digits import Digits, split
from alaas.demo.report import Trial
from alaas.server import Server

STRATEGY = "LeastConfidence"
PROTOCOLS = ("http", "grpc")
HOST = "127.0.0.1"


def attempt(
    digits: Digits,
    paths: Sequence[Path],
    *,
    seed: int,
    budget: int,
    protocols: Sequence[str],
    weights: Path,
    step: Callable[[str], None],
) -> Trial:
    """Play the story once.

    Args:
        digits: The data set.
        paths: The PNG file of each of its rows, all in one folder.
        seed: Of the split, of the training and of the random choice.
        budget: Digits to label.
        protocols: Out of `PROTOCOLS`; the server is asked over each, and must answer the same.
        weights: Where to write the first network for the server.
        step: Called with a few words as each step begins, `steps` times.

    Raises:
        Internal: Two protocols gave different answers, or an item failed.
    """
    parts = split(len(digits), seed=seed)

    def train(rows: NDArray[np.int64]) -> nn.Module:
        return network.train(digits.images[rows], digits.labels[rows], seed=seed)

    def measure(trained: nn.Module) -> float:
        rows = parts.held_out
        return network.accuracy(trained, digits.images[rows], digits.labels[rows])

    step(f"training on {len(parts.labelled)} labelled digits")
    first = train(parts.labelled)
    network.save(first, weights)
    pool = [Item(str(row), uri=paths[row].as_uri()) for row in parts.pool]
    picks = _ask(settings(weights, paths[0].parent), pool, budget, protocols, step).picks
    chosen = np.array([int(pick.id) for pick in picks])
    # Seeded by a pair, lest it repeat the stream that dealt the split.
    drawn = np.random.default_rng([seed, 1]).choice(parts.pool, budget, replace=False)
    step(f"training again, on {budget} more labels")
    return Trial(
        seed=seed,
        protocols=tuple(protocols),
        before=measure(first),
        selected=measure(train(np.concatenate([parts.labelled, chosen]))),
        random=measure(train(np.concatenate([parts.labelled, drawn]))),
        picks=tuple(picks),
        predicted=tuple(network.predict(first, digits.images[chosen]).argmax(axis=1).tolist()),
        labels=tuple(digits.labels[chosen].tolist()),
    )


def steps(protocols: Sequence[str]) -> int:
    """How often `attempt` calls its `step`."""
    return 4 + len(protocols)


def settings(weights: Path, folder: Path) -> Settings:
    """A server on this machine alone, that runs the demo's network and reads only its folder.

    Args:
        weights: What `alaas.demo.network.save` wrote.
        folder: Where the PNG files are.
    """
    model = {
        "hub": "python",
        "name": f"{network.__name__}:{network.build.__name__}",
        "weights": str(weights),
        "preprocess": network.PREPROCESSING,
        "device": "cpu",
    }
    worker = {"protocol": PROTOCOLS, "host": HOST, "port": _free_ports(len(PROTOCOLS))}
    return Settings.model_validate(
        {
            "name": "alaas-demo",
            "active_learning": {
                "strategy": {"type": STRATEGY, "model": model},
                "al_worker": worker,
            },
            "fetch": {"schemes": ("file",), "roots": (folder,)},
            "log": {"level": "warning"},
        }
    )


def _ask(
    configuration: Settings,
    pool: Sequence[Item],
    budget: int,
    protocols: Sequence[str],
    step: Callable[[str], None],
) -> QueryResult:
    step("starting the server")
    answers: list[QueryResult] = []
    with Server(configuration) as server:
        for protocol in protocols:
            step(f"asking for {budget} of {len(pool):,} digits over {protocol}")
            with Client(server.urls[protocol], progress=False) as client:
                answers.append(client.query(pool, budget, strategy=STRATEGY, seed=0))
        step("stopping the server")
    for protocol, answer in zip(protocols, answers, strict=True):
        if answer.failures:
            raise Internal(f"over {protocol}, {answer.failures[0]}")
        if not same(answer, answers[0]):
            raise Internal(f"{protocols[0]} and {protocol} chose different digits of one pool")
    return answers[0]


def same(one: QueryResult, other: QueryResult) -> bool:
    """Whether two answers name the same items in the same order with the same scores.

    Scores may differ by 1e-5: a network rounds differently in batches of other sizes.
    """
    return one.ids == other.ids and all(
        math.isclose(a, b, abs_tol=1e-5) for a, b in zip(one.scores, other.scores, strict=True)
    )


def _free_ports(count: int) -> tuple[int, ...]:
    with ExitStack() as stack:
        # All are held until the last is known, or the system could give one twice.
        held = [stack.enter_context(socket.socket()) for _ in range(count)]
        for one in held:
            one.bind((HOST, 0))
        return tuple(one.getsockname()[1] for one in held)

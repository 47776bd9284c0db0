"""Random pools that hold every view a strategy can ask for."""

from __future__ import annotations

import tracemalloc
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from alaas.core.types import Selection
from alaas.strategies import Strategy, run, strategies

Arrays = dict[str, NDArray[Any]]


def distributions(rng: np.random.Generator, *shape: int) -> NDArray[np.float64]:
    return rng.dirichlet(np.ones(shape[-1]), size=shape[:-1])


def pool(n: int, *, classes: int = 5, seed: int = 0) -> Arrays:
    """Every view of `n` rows without ties, and 4 labelled rows."""
    rng = np.random.default_rng(seed)
    return {
        "probs": distributions(rng, n, classes),
        "embeddings": rng.normal(size=(n, 6)),
        "draws": distributions(rng, n, 3, classes),
        "grads": rng.exponential(size=(n, classes)),
        "margins": rng.exponential(size=n),
        "predictions": rng.normal(size=n),
        "head": rng.normal(size=(classes, 7)),
        "labelled_embeddings": rng.normal(size=(4, 6)),
        "labelled_probs": distributions(rng, 4, classes),
        "labels": np.arange(4) % classes,
        "targets": rng.normal(size=4),
    }


def one_hot(n: int, classes: int = 5) -> Arrays:
    """A pool of whose every class the model is certain."""
    certain = np.eye(classes)[np.arange(n) % classes]
    return {**pool(n), "probs": certain, "draws": np.repeat(certain[:, None], 3, axis=1)}


def ids_of(n: int) -> list[str]:
    return [f"item-{row}" for row in range(n)]


@dataclass(frozen=True)
class Case:
    """A strategy, with the views that it can do without or without them."""

    strategy: Strategy
    with_optional: bool

    def views(self, arrays: Arrays) -> Arrays:
        optional = self.strategy.optional if self.with_optional else ()
        taken = (*self.strategy.needs, *self.strategy.labelled, *optional)
        return {name: arrays[name] for name in taken}

    def run(self, arrays: Arrays, n: int, **keywords: Any) -> Selection:
        return run(self.strategy.name, self.views(arrays), ids=ids_of(n), **keywords)

    def __str__(self) -> str:
        return self.strategy.name + "+" * self.with_optional


CASES = [
    Case(strategy, with_optional)
    for strategy in strategies()
    for with_optional in ((False, True) if strategy.optional else (False,))
]
SCORERS = [case for case in CASES if case.strategy.kind == "scorer"]
PICKERS = [case for case in CASES if case.strategy.kind == "picker"]


def wide(n: int) -> Arrays:
    """Every view of `n` rows in float32, of sizes that count, and 40 labelled rows."""
    rng = np.random.default_rng(n)
    views = {
        "probs": distributions(rng, n, 10),
        "embeddings": rng.normal(size=(n, 64)),
        "draws": distributions(rng, n, 8, 10),
        "grads": rng.exponential(size=(n, 10)),
        "margins": rng.exponential(size=n),
        "predictions": rng.normal(size=n),
        "head": rng.normal(size=(10, 65)),
        "labelled_embeddings": rng.normal(size=(40, 64)),
        "labelled_probs": distributions(rng, 40, 10),
        "targets": rng.normal(size=40),
    }
    return {
        "labels": np.arange(40) % 10,
        **{name: view.astype(np.float32) for name, view in views.items()},
    }


@dataclass
class Memory:
    """Bytes that Python and NumPy had allocated at most, beyond what there was before."""

    peak: int = 0


@contextmanager
def traced() -> Iterator[Memory]:
    memory = Memory()
    tracemalloc.start()
    try:
        before = tracemalloc.get_traced_memory()[0]
        tracemalloc.reset_peak()
        yield memory
        memory.peak = tracemalloc.get_traced_memory()[1] - before
    finally:
        tracemalloc.stop()

"""What one stage hands to the next.

``Item → fetch → Raw → preprocess → Batch → infer → Views → score → Pool → Selection``

Each carries the sequence number of its micro-batch, its ids in pool order, and the
failures so far: a stage never raises for one bad item, it moves it to `failures`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from alaas.core.wire import Failure, Item


@dataclass(frozen=True, slots=True)
class Plan:
    """What every stage must know of the query that a micro-batch belongs to.

    Attributes:
        query: Id of the query.
        strategy: Name of the strategy.
        params: Its hyper-parameters, defaults filled in.
        seed: Seed of its random generator.
        budget: Items asked for.
        needs: Views to compute of each item; empty where no model is needed.
        part: Whether the micro-batch is of the pool, or of what is labelled already.
        n_drop: Stochastic passes of the model, T.
    """

    query: str
    strategy: str
    params: Mapping[str, Any]
    seed: int
    budget: int
    needs: tuple[str, ...]
    part: Literal["pool", "labelled"] = "pool"
    n_drop: int = 10


@dataclass(frozen=True, slots=True)
class Notes:
    """What the caller said of items beside their content.

    Attributes:
        labels: Id of a labelled item to its class number, or to its value in regression.
        groups: Id of an item of the pool to the number of its group.
        seconds: Time that is left to choose; None for as long as it takes.
    """

    labels: Mapping[str, float] = field(default_factory=dict)
    groups: Mapping[str, int] = field(default_factory=dict)
    seconds: float | None = None


@dataclass(frozen=True, slots=True)
class Raw:
    """One item's content as it was fetched.

    Attributes:
        id: The item's id.
        data: An encoded image, or text as UTF-8.
        is_text: Whether `data` is text.
    """

    id: str
    data: bytes
    is_text: bool = False


@dataclass(frozen=True, slots=True)
class Items:
    """A micro-batch of the pool as the caller gave it."""

    seq: int
    items: tuple[Item, ...]


@dataclass(frozen=True, slots=True)
class Raws:
    """A micro-batch after *fetch*."""

    seq: int
    raws: tuple[Raw, ...]
    failures: tuple[Failure, ...] = ()


@dataclass(frozen=True, slots=True)
class Batch:
    """A micro-batch after *preprocess*.

    Attributes:
        seq: Sequence number of the micro-batch.
        ids: One id a row of `array`.
        array: (B, H, W, 3) uint8 pixels; (B, 0) where the strategy needs no view.
        failures: Items lost so far.
    """

    seq: int
    ids: tuple[str, ...]
    array: NDArray[Any]
    failures: tuple[Failure, ...] = ()


@dataclass(frozen=True, slots=True)
class Views:
    """A micro-batch after *infer*.

    Attributes:
        seq: Sequence number of the micro-batch.
        ids: One id a row of every view.
        arrays: View name to its rows: ``probs`` (B, C), ``embeddings`` (B, D) and so on.
            What a model has one of, its ``head``, comes with the micro-batch 0 alone.
        model: Digest of the model that made them, or an empty string where none ran.
        failures: Items lost so far.
    """

    seq: int
    ids: tuple[str, ...]
    arrays: Mapping[str, NDArray[np.floating]]
    model: str = ""
    failures: tuple[Failure, ...] = ()


@dataclass(frozen=True, slots=True)
class Scored:
    """What *score* reports of a micro-batch that it has taken in.

    Attributes:
        seq: Sequence number of the micro-batch.
        count: Items that were taken in.
        failures: Items lost on the way.
        busy: Stage name to seconds of work on this micro-batch.
    """

    seq: int
    count: int
    failures: tuple[Failure, ...] = ()
    busy: Mapping[str, float] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Selection:
    """What a strategy chose, once, over the whole pool.

    Attributes:
        ids: The chosen ids, best first.
        scores: (K,) their scores, in the same order.
        strategy: Name of the strategy.
        params: Its hyper-parameters, defaults filled in.
        seed: Seed of its random generator.
        pool_size: Items it chose from.
        model: Digest of the model that made the views.
    """

    ids: tuple[str, ...]
    scores: NDArray[np.floating]
    strategy: str
    params: Mapping[str, Any]
    seed: int
    pool_size: int
    model: str = ""

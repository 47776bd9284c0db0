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

from alaas.core.wire import Failure, Item, PoolInfo


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
        head_draws: How these come of stored embeddings, in the words of the model's card; empty
            if they do not.
        cache: Whether views of items that were seen before are taken from the store, and
            new ones kept in it.
        pool: Name of the stored pool to choose from, where the query sends no items; or, of
            a plan without a strategy, the name under which the items are stored.
        measure: Name of the scorer that ranks each of the many predictions of an item, for the
            views that hold what comes of it; empty where the model makes one prediction.
        reduction: How the model makes one number of theirs, for the name of what is stored.
        calibrate: How class probabilities are scaled first, ``temperature`` or ``dirichlet``;
            empty where they are not.
        model: Under which name the server has the model that runs, `alaas.models.card.DEFAULT`
            where it has one alone.
        digest: The digest of that model.
        space: Where its numbers are comparable, `ModelCard.space`.
        deadline: When the query must have ended, in seconds of the monotonic clock, which
            the processes of one machine share, and those of several do not; None for no limit.
    """

    query: str
    strategy: str
    params: Mapping[str, Any]
    seed: int
    budget: int
    needs: tuple[str, ...]
    part: Literal["pool", "labelled"] = "pool"
    n_drop: int = 10
    head_draws: str = ""
    cache: bool = True
    pool: str | None = None
    measure: str = ""
    reduction: str = ""
    calibrate: str = ""
    model: str = ""
    digest: str = ""
    space: str = ""
    deadline: float | None = None

    @property
    def draws(self) -> bool:
        """Whether several predictions are made of an item."""
        return bool({"draws", "disagreement"}.intersection(self.needs))


@dataclass(frozen=True, slots=True)
class Notes:
    """What the caller said of items beside their content.

    Attributes:
        labels: Id of a labelled item to its class number, or to its value in regression.
        seconds: Time that is left to choose; None for as long as it takes.
        ttl_s: Seconds for which a pool is stored; None for as long as nobody deletes it.
        items: Items that must be in the books; None where nobody counted them.
        learnt: The same of labelled items.
    """

    labels: Mapping[str, float] = field(default_factory=dict)
    seconds: float | None = None
    ttl_s: float | None = None
    items: int | None = None
    learnt: int | None = None


@dataclass(frozen=True, slots=True)
class Raw:
    """One item's content as it was fetched.

    Attributes:
        id: The item's id.
        data: An encoded image, or text as UTF-8.
        is_text: Whether `data` is text.
        digest: The name of the content, as `alaas.core.digest` gives it.
    """

    id: str
    data: bytes
    is_text: bool = False
    digest: str = ""


@dataclass(frozen=True, slots=True)
class Items:
    """A micro-batch of the pool as the caller gave it.

    Attributes:
        seq: Sequence number of the micro-batch.
        items: The items.
        rows: Where they stand in the pool; empty where nobody asks.
        digests: The name of the content of each, or an empty string where it is not known;
            empty where nobody asks.
    """

    seq: int
    items: tuple[Item, ...]
    rows: tuple[int, ...] = ()
    digests: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Admitted:
    """What *score* answers to items that it has entered in its books.

    Attributes:
        seq: Sequence number of the items.
        missing: Positions in them of the items whose views have to be computed.
        known: Items whose content was known without reading it.
        spent: Stage name to what was spent on them.
        corrupt: Stored rows that were found damaged since this was last said.
    """

    seq: int
    missing: tuple[int, ...]
    known: int = 0
    spent: Mapping[str, Spent] = field(default_factory=dict)
    corrupt: int = 0


@dataclass(frozen=True, slots=True)
class Spent:
    """What one stage spent on a micro-batch.

    Attributes:
        busy_s: Seconds of work.
        wait_s: Seconds for which the micro-batch waited for the stage.
        bytes: Bytes that came out of the stage.
        counts: What else the stage counted, by name.
    """

    busy_s: float = 0.0
    wait_s: float = 0.0
    bytes: int = 0
    counts: Mapping[str, int] = field(default_factory=dict)

    def __add__(self, other: Spent) -> Spent:
        names = (*self.counts, *other.counts)
        return Spent(
            self.busy_s + other.busy_s,
            self.wait_s + other.wait_s,
            self.bytes + other.bytes,
            {name: self.counts.get(name, 0) + other.counts.get(name, 0) for name in names},
        )


@dataclass(frozen=True, slots=True)
class Raws:
    """A micro-batch after *fetch*."""

    seq: int
    raws: tuple[Raw, ...]
    failures: tuple[Failure, ...] = ()

    @property
    def size(self) -> int:
        """Bytes of content."""
        return sum(len(raw.data) for raw in self.raws)


@dataclass(frozen=True, slots=True)
class Batch:
    """A micro-batch after *preprocess*.

    Attributes:
        seq: Sequence number of the micro-batch.
        ids: One id a row of `array`.
        array: (B, H, W, 3) uint8 pixels, (B, L) int32 tokens or (B, D) float32 vectors;
            (B, 0) where the strategy needs no view.
        failures: Items lost so far.
        digests: The name of the content of each row.
        cut: Texts that were longer than the model takes, and lost their end.
    """

    seq: int
    ids: tuple[str, ...]
    array: NDArray[Any]
    failures: tuple[Failure, ...] = ()
    digests: tuple[str, ...] = ()
    cut: int = 0

    @property
    def counts(self) -> dict[str, int]:
        """What was counted beside bytes: texts that were cut."""
        return {"cut": self.cut} if self.cut else {}

    @property
    def size(self) -> int:
        """Bytes of the model's input."""
        return self.array.nbytes


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
        digests: The name of the content of each row.
    """

    seq: int
    ids: tuple[str, ...]
    arrays: Mapping[str, NDArray[np.floating]]
    model: str = ""
    failures: tuple[Failure, ...] = ()
    digests: tuple[str, ...] = ()

    @property
    def size(self) -> int:
        """Bytes of all views."""
        return sum(array.nbytes for array in self.arrays.values())


@dataclass(frozen=True, slots=True)
class Scored:
    """What *score* reports of a micro-batch that it has taken in.

    Attributes:
        seq: Sequence number of the micro-batch.
        count: Items that were taken in.
        failures: Items lost on the way.
        spent: Stage name to what was spent on this micro-batch.
    """

    seq: int
    count: int
    failures: tuple[Failure, ...] = ()
    spent: Mapping[str, Spent] = field(default_factory=dict)


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
        items: The chosen items, without bytes, where whoever chose knows them.
    """

    ids: tuple[str, ...]
    scores: NDArray[np.floating]
    strategy: str
    params: Mapping[str, Any]
    seed: int
    pool_size: int
    model: str = ""
    items: tuple[Item, ...] = ()


@dataclass(frozen=True, slots=True)
class Calibrated:
    """What scaling does to the probabilities of the labelled items that it was fitted to.

    Attributes:
        method: ``temperature`` or ``dirichlet``.
        items: The labelled items.
        changed: Whether it changes any; what would be no better is left as it was.
        figures: The temperature; and negative log-likelihood and expected calibration
            error, before and after.
    """

    method: str
    items: int
    changed: bool
    figures: Mapping[str, float]


@dataclass(frozen=True, slots=True)
class Stored:
    """Stored pools, as *score* lists them."""

    pools: tuple[PoolInfo, ...]

"""What a query takes on this machine, beside the bare model, and what to do about it."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from statistics import median
from typing import TYPE_CHECKING, Any

from alaas.core.wire import Item, QueryResponse, Timings

if TYPE_CHECKING:
    from alaas.config import QueryParameters, Settings
    from alaas.models.classifier import Classifier
    from alaas.pipeline.engine import LocalEngine
    from alaas.pipeline.query import Part

LIMIT_ITEMS = 256
"""Pictures that go through the bare model in a round, at most."""


@dataclass(frozen=True, slots=True)
class Measured:
    """What was measured.

    Attributes:
        items: Items of the pool that could be ranked.
        failures: Items that could not.
        seconds: Wall-clock seconds of the middle query.
        limit: Pictures a second of the bare model.
        timings: Where the time of that query went.
        strategy: The strategy that chose.
        model: Name, runtime, precision, decoding and device of the model.
        remote: Whether items came over a network.
    """

    items: int
    failures: int
    seconds: float
    limit: float
    timings: Timings
    strategy: str
    model: Mapping[str, str]
    remote: bool

    @property
    def per_second(self) -> float:
        """Items a second of the whole query."""
        return self.items / self.seconds

    @property
    def share(self) -> float:
        """How much of the limit is reached, 1 for all of it."""
        return self.per_second / self.limit

    def to_json(self) -> dict[str, Any]:
        """All of it, for programs."""
        return {
            "items": self.items,
            "failures": self.failures,
            "seconds": self.seconds,
            "items_per_second": self.per_second,
            "limit_per_second": self.limit,
            "share_of_limit": self.share,
            "bottleneck": self.timings.bottleneck,
            "strategy": self.strategy,
            "model": dict(self.model),
            "timings": self.timings.to_json(),
        }


def measure(
    settings: Settings, pool: Sequence[Item], *, budget: str, strategy: str | None, rounds: int
) -> Measured:
    """Time queries and the bare model in turns, after one query that does not count.

    Args:
        settings: The configuration; whatever it says of the store, nothing is kept.
        pool: The items.
        budget: How many to choose: a number, or a share such as ``10%``.
        strategy: How; None takes the configured one.
        rounds: Queries that count.

    Raises:
        AlaasError: As `alaas.select` does.
    """
    from alaas.api import count
    from alaas.config import parse_parameters

    parameters = parse_parameters(
        {
            "budget": count(budget, len(pool)),
            "strategy": strategy or settings.active_learning.strategy.type,
            "cache": False,
        }
    )
    store = settings.store.model_copy(update={"cache": False})
    return asyncio.run(
        _measure(settings.model_copy(update={"store": store}), pool, parameters, rounds)
    )


async def _measure(
    settings: Settings, pool: Sequence[Item], parameters: QueryParameters, rounds: int
) -> Measured:
    from alaas.models.load import load
    from alaas.pipeline.engine import LocalEngine

    async with LocalEngine(settings) as engine:
        await _ask(engine, settings, pool, parameters)
        # A model of its own, so that the engine's is measured as its users have it.
        model = await asyncio.to_thread(load, settings.active_learning.strategy.model)
        bare = _bare(model.classifier, engine.batch_size, min(len(pool), LIMIT_ITEMS))
        responses, limits = [], []
        for _ in range(rounds):
            limits.append(await asyncio.to_thread(bare))
            responses.append(await _ask(engine, settings, pool, parameters))
        card = engine.card
    responses.sort(key=lambda response: response.timings.total_s)
    middle = responses[len(responses) // 2]
    return Measured(
        items=middle.receipt.pool_size,
        failures=len(middle.failures),
        seconds=middle.timings.total_s,
        limit=median(limits),
        timings=middle.timings,
        strategy=middle.receipt.strategy,
        model={
            "name": card.name,
            "runtime": card.runtime,
            "precision": card.precision,
            "decode": settings.active_learning.strategy.model.decode,
            "device": model.classifier.device.type,
        },
        remote=any((item.uri or "").startswith(("http:", "https:")) for item in pool),
    )


async def _ask(
    engine: LocalEngine, settings: Settings, pool: Sequence[Item], parameters: QueryParameters
) -> QueryResponse:
    from alaas.pipeline import query

    async def whole() -> AsyncIterator[Part]:
        if pool:
            yield pool

    defaults = settings.active_learning.strategy
    return await query.run(engine, parameters, whole(), defaults=defaults)


def _bare(classifier: Classifier, batch_size: int, items: int) -> Callable[[], float]:
    """What gives items a second of a model on random input, each time it is called."""
    from alaas.models.entry import noise

    batch = noise(classifier.inputs, batch_size)
    needs = [name for name in ("probs", "embeddings") if name in classifier.provides][:1]
    turns = -(-items // batch_size)
    classifier.views(batch, needs)

    def run() -> float:
        started = time.perf_counter()
        for _ in range(turns):
            classifier.views(batch, needs)
        return turns * batch_size / (time.perf_counter() - started)

    return run


def advice(measured: Measured) -> str:
    """The bottleneck, and one sentence on what to do about it."""
    stage, timings = measured.timings.bottleneck, measured.timings
    if not stage:
        return "Nothing was measured."
    taken = min(100.0, 100 * timings.stages[stage].busy_s / timings.total_s)
    return {
        "fetch": _of_fetch,
        "preprocess": lambda one: _of_preprocess(one, taken),
        "infer": lambda one: _of_infer(one, taken),
        "score": _of_score,
    }[stage](measured)


def _of_fetch(measured: Measured) -> str:
    if measured.remote:
        return (
            "Fetching waits for the servers that hold the items: raise limits.fetch_per_host "
            "and limits.fetch_concurrency, or bring the items closer."
        )
    return "Reading the files is slowest: a faster disk, or smaller files, would help."


def _of_preprocess(measured: Measured, taken: float) -> str:
    head = f"Decoding keeps its threads busy for {taken:.0f} % of the time: "
    if measured.model["decode"] == "exact":
        return head + "try decode: fast, or pictures of about the model's own size."
    return head + "only pictures of about the model's own size would help."


def _of_infer(measured: Measured, taken: float) -> str:
    head = f"The model takes {taken:.0f} % of the time: "
    runtime, precision, device = (measured.model[key] for key in ("runtime", "precision", "device"))
    if device != "cpu":
        return head + "a smaller model, or replicas on more devices, would help."
    if runtime != "openvino" and find_spec("openvino") is None:
        return head + "try runtime openvino (pip install 'alaas[openvino]')."
    if runtime != "openvino":
        return head + f"runtime openvino was not taken; runtime {runtime} did what it could."
    if precision == "fp32":
        return head + "try precision: bf16 where the processor has it, a smaller model or a GPU."
    return head + "what is left is a smaller model, or a GPU."


def _of_score(measured: Measured) -> str:
    return (
        f"Choosing by {measured.strategy} is slowest: a strategy that scores items one by one, "
        "such as margin_confidence, costs next to nothing."
    )

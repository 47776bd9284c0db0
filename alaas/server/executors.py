"""The four stages as Jina executors: decode a frame, run the stage, encode a frame."""

# No `from __future__ import annotations`: Jina reads the annotations of the endpoints.

import asyncio
import os
import warnings
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from time import monotonic
from typing import Any

import structlog

from alaas.config import Preprocessing, Settings
from alaas.core.errors import AlaasError
from alaas.core.types import (
    Admitted,
    Batch,
    Items,
    Notes,
    Raws,
    Scored,
    Selection,
    Stored,
    Views,
)
from alaas.data import fetch
from alaas.models.card import ModelCard
from alaas.pipeline import scorer, stages
from alaas.pipeline.keeping import identify, keep
from alaas.pipeline.worker import Worker as Stages
from alaas.server import frames, logs
from alaas.server.process import keep_memory, settle, without

os.environ.setdefault("JINA_OPTOUT_TELEMETRY", "1")
with without("torch", "tensorflow", "jax"), warnings.catch_warnings():
    warnings.simplefilter("ignore")  # jina imports pkg_resources, which is deprecated
    from docarray import BaseDoc, DocList
    from jina import Executor, requests


log = structlog.get_logger()


class Frame(BaseDoc):
    """The one message of the Flow; `alaas.server.frames` says what is in it."""

    header: bytes
    payload: bytes


Frames = DocList[Frame]


def pack(message: frames.Message) -> DocList[Frame]:
    """Write a message as the document list that Jina sends."""
    header, payload = frames.encode(message)
    return Frames([Frame(header=header, payload=payload)])


def unpack(docs: DocList[Frame]) -> frames.Message:
    """Read what `pack` wrote."""
    return frames.decode(docs[0].header, docs[0].payload)


def _pass(
    docs: DocList[Frame], stage: str, work: Callable[[frames.Message], frames.Content]
) -> DocList[Frame]:
    """Run one stage on one frame. An error of ours travels in the frame, not as a crash."""
    message = unpack(docs)
    if message.problem is not None:
        return docs
    started = monotonic()
    try:
        content = work(message)
    except AlaasError as error:
        return pack(replace(message, problem=error.problem()))
    return pack(message.after(stage, content, started))


class Fetcher(Executor):
    """Reads what the items name, for many micro-batches at a time."""

    def __init__(self, *, settings: str, runtime: str, **rest: Any) -> None:
        super().__init__(**rest)
        settle()
        tree = Settings.model_validate_json(settings)
        self._kept = keep(tree.store, features=False)
        self._fetcher = fetch.Fetcher(tree.fetch, tree.limits, index=self._kept.addresses)

    @requests(on="/admit")
    async def admit(self, docs: DocList[Frame], **_: Any) -> DocList[Frame]:
        """`Items` to the same with the names of contents that are known without reading."""
        message = unpack(docs)
        assert isinstance(message.content, Items)
        started = monotonic()
        named = await identify(self._fetcher, message.plan, message.content)
        return pack(message.after("fetch", named, started))

    @requests(on="/score")
    async def run(self, docs: DocList[Frame], **_: Any) -> DocList[Frame]:
        """`Items` to `Raws`. This stage is the first, and fetching never raises."""
        message = unpack(docs)
        assert isinstance(message.content, Items)
        started = monotonic()
        raws = await self._fetcher.fetch(message.content)
        return pack(message.after("fetch", raws, started))

    def close(self) -> None:
        """Close the connections. Jina calls this on the event loop, while it still runs."""
        self._kept.close()
        self._closing = asyncio.ensure_future(self._fetcher.close())


class Preprocessor(Executor):
    """Decodes and resizes, on every core."""

    def __init__(self, *, settings: str, runtime: str, preprocessing: str, **rest: Any) -> None:
        super().__init__(**rest)
        settle()
        self._limits = Settings.model_validate_json(settings).limits
        self._spec = Preprocessing.model_validate_json(preprocessing)
        self._pool = ThreadPoolExecutor(os.cpu_count(), "decode")

    @requests(on="/score")
    def run(self, docs: DocList[Frame], **_: Any) -> DocList[Frame]:
        """`Raws` to `Batch`."""

        def work(message: frames.Message) -> Batch:
            assert isinstance(message.content, Raws)
            return stages.preprocess(
                message.plan, message.content, self._spec, self._limits, self._pool
            )

        return _pass(docs, "preprocess", work)


def _load(executor: Executor, settings: Settings, threads: int) -> Any:
    """Load the model of a replica, on a GPU of its own where there are several."""
    keep_memory()
    import torch

    from alaas.models.load import load, resolve_device

    logs.configure(settings.log)
    chosen = settings.active_learning.strategy.model
    device = resolve_device(chosen.device)
    if device == "cuda":
        # Jina names its replicas infer/rep-0, infer/rep-1, ...: one on each GPU.
        number = int(executor.runtime_args.name.rpartition("-")[2])
        device = f"cuda:{number % torch.cuda.device_count()}"
    try:
        return load(chosen, device=device, threads=threads)
    except Exception:
        log.exception("the model did not load", name=chosen.name, device=device)
        raise


class Inferencer(Executor):
    """Runs the model. The only process that loads torch, once a replica."""

    def __init__(self, *, settings: str, runtime: str, threads: int, **rest: Any) -> None:
        super().__init__(**rest)
        settle()
        self._model = _load(self, Settings.model_validate_json(settings), threads)

    @requests(on="/score")
    def run(self, docs: DocList[Frame], **_: Any) -> DocList[Frame]:
        """`Batch` to `Views`."""

        def work(message: frames.Message) -> Views:
            assert isinstance(message.content, Batch)
            model = self._model
            return stages.infer(message.plan, message.content, model.classifier, model.card.digest)

        return _pass(docs, "infer", work)


class Worker(Executor):
    """Fetches, decodes and infers, once a replica: no pixel leaves its process."""

    def __init__(self, *, settings: str, runtime: str, threads: int, **rest: Any) -> None:
        super().__init__(**rest)
        settle()
        tree = Settings.model_validate_json(settings)
        self._kept = keep(tree.store, features=False)
        self._stages = Stages(tree, _load(self, tree, threads), self._kept)

    @requests(on="/admit")
    async def admit(self, docs: DocList[Frame], **_: Any) -> DocList[Frame]:
        """`Items` to the same with the names of contents that are known without reading."""
        message = unpack(docs)
        assert isinstance(message.content, Items)
        started = monotonic()
        named = await self._stages.identify(message.plan, message.content)
        return pack(message.after("fetch", named, started))

    @requests(on="/score")
    async def run(self, docs: DocList[Frame], **_: Any) -> DocList[Frame]:
        """`Items` to `Views`."""
        message = unpack(docs)
        assert isinstance(message.content, Items)
        try:
            views, spent = await self._stages.work(message.plan, message.content)
        except AlaasError as error:
            return pack(replace(message, problem=error.problem()))
        return pack(replace(message, content=views, spent={**message.spent, **spent}))

    def close(self) -> None:
        """Close the connections. Jina calls this on the event loop, while it still runs."""
        self._kept.close()
        self._closing = asyncio.ensure_future(self._stages.close())


class Scorer(Executor):
    """Keeps the views of every running query, and chooses once over the whole pool.

    There is one of it: a choice over half a pool is not a choice. And it alone writes the
    store of views.
    """

    def __init__(self, *, settings: str, runtime: str, card: dict[str, Any], **rest: Any) -> None:
        super().__init__(**rest)
        settle()
        tree, model = Settings.model_validate_json(settings), ModelCard.from_json(card)
        logs.configure(tree.log)
        self._kept = keep(tree.store, addresses=False)
        self._scorer = scorer.Scorer(
            self._kept.features, self._kept.pools, space=model.space, model=model.digest
        )

    @requests(on="/admit")
    def admit(self, docs: DocList[Frame], **_: Any) -> DocList[Frame]:
        """`Items` to `Admitted`."""

        def work(message: frames.Message) -> Admitted:
            assert isinstance(message.content, Items)
            return self._scorer.admit(message.plan, message.content)

        return _pass(docs, "score", work)

    @requests(on="/score")
    def run(self, docs: DocList[Frame], **_: Any) -> DocList[Frame]:
        """`Views` to `Scored`."""

        def work(message: frames.Message) -> Scored:
            assert isinstance(message.content, Views)
            return self._scorer.add(message.plan, message.content)

        return _pass(docs, "score", work)

    @requests(on="/select")
    def select(self, docs: DocList[Frame], **_: Any) -> DocList[Frame]:
        """`Notes` to the `Selection` of a query."""

        def work(message: frames.Message) -> Selection:
            assert isinstance(message.content, Notes)
            return self._scorer.select(message.plan, message.content)

        return _pass(docs, "score", work)

    @requests(on="/discard")
    def discard(self, docs: DocList[Frame], **_: Any) -> DocList[Frame]:
        """Forget the query of the frame."""
        self._scorer.discard(unpack(docs).plan.query)
        return docs

    @requests(on="/keep")
    def keep(self, docs: DocList[Frame], **_: Any) -> DocList[Frame]:
        """`Notes` of a push to the `Stored` pool that it made."""

        def work(message: frames.Message) -> Stored:
            assert isinstance(message.content, Notes)
            return Stored((self._scorer.keep(message.plan, message.content),))

        return _pass(docs, "score", work)

    @requests(on="/pools")
    def pools(self, docs: DocList[Frame], **_: Any) -> DocList[Frame]:
        """All `Stored` pools, or the one that the plan names."""

        def work(message: frames.Message) -> Stored:
            return Stored(tuple(self._scorer.pools(message.plan.pool)))

        return _pass(docs, "score", work)

    @requests(on="/drop")
    def drop(self, docs: DocList[Frame], **_: Any) -> DocList[Frame]:
        """Delete the pool that the plan names."""

        def work(message: frames.Message) -> frames.Content:
            self._scorer.drop(message.plan.pool or "")
            return message.content

        return _pass(docs, "score", work)

    @requests(on="/stored")
    def stored(self, docs: DocList[Frame], **_: Any) -> DocList[Frame]:
        """`Items` of a stored pool: `seq` is the first row asked for, `rows` has how many."""

        def work(message: frames.Message) -> Items:
            assert isinstance(message.content, Items)
            (size,) = message.content.rows
            return self._scorer.stored(message.plan.pool or "", message.content.seq, size)

        return _pass(docs, "score", work)

    def close(self) -> None:
        """Write what waits."""
        self._kept.close()

"""The four stages as Jina executors: decode a frame, run the stage, encode a frame."""

# No `from __future__ import annotations`: Jina reads the annotations of the endpoints.

import asyncio
import json
import os
import warnings
from collections.abc import Awaitable, Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from time import monotonic
from typing import Any

import structlog

from alaas.config import ModelSettings, Settings, read_inputs
from alaas.core.errors import AlaasError, Internal
from alaas.core.types import (
    Admitted,
    Batch,
    Calibrated,
    Items,
    Notes,
    Raws,
    Scored,
    Selection,
    Stored,
    Views,
)
from alaas.data import fetch
from alaas.pipeline import deadline, scorer, stages
from alaas.pipeline.keeping import identify, keep
from alaas.pipeline.slots import Threads
from alaas.pipeline.worker import Worker as Stages
from alaas.server import frames, logs, pulse
from alaas.server.process import keep_memory, settle, without

os.environ.setdefault("JINA_OPTOUT_TELEMETRY", "1")
with without("torch", "tensorflow", "jax"), warnings.catch_warnings():
    warnings.simplefilter("ignore")  # jina imports pkg_resources, which is deprecated
    from docarray import BaseDoc, DocList
    from jina import Executor, requests


log = structlog.get_logger()

Blocking = Callable[[frames.Message], frames.Content]
"""What a stage does with a message, on a thread."""

Work = Callable[[frames.Message], Awaitable[frames.Message]]
"""What becomes of a message, on the event loop."""


class Frame(BaseDoc):
    """The one message of the Flow; `alaas.server.frames` says what is in it."""

    header: bytes
    payload: bytes


Frames = DocList[Frame]


def pack(message: frames.Message) -> DocList[Frame]:
    """Write a message as the document list that Jina sends."""
    header, payload = frames.encode(message)
    pulse.note_answer()
    return Frames([Frame(header=header, payload=payload)])


def unpack(docs: DocList[Frame]) -> frames.Message:
    """Read what `pack` wrote."""
    return frames.decode(docs[0].header, docs[0].payload)


def _ended(message: frames.Message, stage: str, error: Exception) -> DocList[Frame]:
    """The frame of a micro-batch that an error has ended: it carries the error alone.

    An error that is not ours tells the caller nothing but where to look.
    """
    if not isinstance(error, AlaasError):
        with logs.about(message.request):
            log.error("a stage failed", stage=stage, exc_info=error)
        told = f"an error of the service; its log has the cause under {message.request}"
        error = Internal(told)
    return pack(replace(message, content=Items(0, ()), problem=error.problem()))


def _stage(executor: Executor) -> str:
    """Name of the stage that an executor works for; Jina calls it infer/rep-0 or the like."""
    return str(getattr(executor.runtime_args, "name", "executor")).partition("/")[0]


class Stage(Executor):
    """What the executors have in common.

    Args:
        settings: The configuration, as JSON.
        runtime: Folder by which the processes of this server tell each other what is going on.
    """

    def __init__(self, *, settings: str, runtime: str, **rest: Any) -> None:
        super().__init__(**rest)
        settle()
        self._settings = Settings.model_validate_json(settings)
        logs.configure(self._settings.log, process=_stage(self))

    async def _run(self, docs: DocList[Frame], stage: str, work: Work) -> DocList[Frame]:
        """Have a message worked on. Errors travel in it, to whoever asked."""
        message = unpack(docs)
        if message.problem is not None:
            return docs
        try:
            deadline.check(message.plan)
            with logs.about(message.request):
                return pack(await work(message))
        except Exception as error:  # noqa: BLE001  # the log and the caller are told
            return _ended(message, stage, error)

    async def _on(
        self, threads: Threads, docs: DocList[Frame], stage: str, work: Blocking
    ) -> DocList[Frame]:
        """Have a message worked on by one of the threads, for which queries take turns."""

        async def run(message: frames.Message) -> frames.Message:
            return await threads.run(message.plan.query, self._timed, message, stage, work)

        return await self._run(docs, stage, run)

    def _timed(self, message: frames.Message, stage: str, work: Blocking) -> frames.Message:
        deadline.check(message.plan)  # it may have waited for long
        started = monotonic()
        with logs.about(message.request):
            return message.after(stage, work(message), started)


class Fetcher(Stage):
    """Reads what the items name, for many micro-batches at a time."""

    def __init__(self, **rest: Any) -> None:
        super().__init__(**rest)
        tree = self._settings
        self._kept = keep(tree.store, features=False)
        self._fetcher = fetch.Fetcher(tree.fetch, tree.limits, index=self._kept.addresses)

    @requests(on="/admit")
    async def admit(self, docs: DocList[Frame], **_: Any) -> DocList[Frame]:
        """`Items` to the same with the names of contents that are known without reading."""

        async def work(message: frames.Message) -> frames.Message:
            assert isinstance(message.content, Items)
            started = monotonic()
            named = await identify(self._fetcher, message.plan, message.content)
            return message.after("fetch", named, started)

        return await self._run(docs, "fetch", work)

    @requests(on="/score")
    async def run(self, docs: DocList[Frame], **_: Any) -> DocList[Frame]:
        """`Items` to `Raws`."""

        async def work(message: frames.Message) -> frames.Message:
            assert isinstance(message.content, Items)
            started = monotonic()
            raws = await self._fetcher.fetch(message.content)
            counts = stages.count_read(message.content, raws)
            return message.after("fetch", raws, started, counts)

        return await self._run(docs, "fetch", work)

    def close(self) -> None:
        """Close the connections. Jina calls this on the event loop, while it still runs."""
        self._kept.close()
        self._closing = asyncio.ensure_future(self._fetcher.close())


class Preprocessor(Stage):
    """Decodes and resizes, on every core."""

    def __init__(self, *, inputs: str, **rest: Any) -> None:
        super().__init__(**rest)
        told = json.loads(inputs)
        self._inputs = {name: read_inputs(document) for name, document in told.items()}
        self._pool = ThreadPoolExecutor(os.cpu_count(), "decode")
        self._threads = Threads(1, "preprocess")

    @requests(on="/score")
    async def run(self, docs: DocList[Frame], **_: Any) -> DocList[Frame]:
        """`Raws` to `Batch`."""

        def work(message: frames.Message) -> Batch:
            assert isinstance(message.content, Raws)
            plan, inputs = message.plan, self._inputs[message.plan.model]
            return stages.preprocess(
                plan, message.content, inputs, self._settings.limits, self._pool
            )

        return await self._on(self._threads, docs, "preprocess", pulse.watched(work))


def _load(executor: Executor, settings: Settings, threads: int) -> dict[str, Any]:
    """Load the models of a replica, on a GPU of its own where there are several."""
    keep_memory()
    models = settings.active_learning.strategy.served
    return {name: _load_one(executor, chosen, threads) for name, chosen in models.items()}


def _load_one(executor: Executor, chosen: ModelSettings, threads: int) -> Any:
    import torch

    from alaas.models.load import load, resolve_device

    device = resolve_device(chosen.device)
    if device == "cuda":
        # Jina names its replicas infer/rep-0, infer/rep-1, ...: one on each GPU.
        number = int(executor.runtime_args.name.rpartition("-")[2])
        device = f"cuda:{number % torch.cuda.device_count()}"
    try:
        model = load(chosen, device=device, threads=threads)
    except Exception:
        log.exception("the model did not load", name=chosen.name, device=device)
        raise
    # What may hang is shown, whichever thread it is on.
    model.classifier.views = pulse.watched(model.classifier.views)  # type: ignore[method-assign]
    return model


class Inferencer(Stage):
    """Runs the models. The only process that loads torch, once a replica."""

    def __init__(self, *, threads: int, **rest: Any) -> None:
        super().__init__(**rest)
        self._models = _load(self, self._settings, threads)
        self._threads = {
            name: Threads(model.classifier.lanes, "infer") for name, model in self._models.items()
        }

    @requests(on="/score")
    async def run(self, docs: DocList[Frame], **_: Any) -> DocList[Frame]:
        """`Batch` to `Views`."""

        def work(message: frames.Message) -> Views:
            assert isinstance(message.content, Batch)
            model = self._models[message.plan.model]
            return stages.infer(message.plan, message.content, model.classifier, model.card.digest)

        watched = pulse.watched(work)

        async def run(message: frames.Message) -> frames.Message:
            threads = self._threads[message.plan.model]
            return await threads.run(message.plan.query, self._timed, message, "infer", watched)

        return await self._run(docs, "infer", run)


class Worker(Stage):
    """Fetches, decodes and infers, once a replica: no pixel leaves its process."""

    def __init__(self, *, threads: int, **rest: Any) -> None:
        super().__init__(**rest)
        tree = self._settings
        self._kept = keep(tree.store, features=False)
        self._stages = Stages(tree, _load(self, tree, threads), self._kept)

    @requests(on="/admit")
    async def admit(self, docs: DocList[Frame], **_: Any) -> DocList[Frame]:
        """`Items` to the same with the names of contents that are known without reading."""

        async def work(message: frames.Message) -> frames.Message:
            assert isinstance(message.content, Items)
            started = monotonic()
            named = await self._stages.identify(message.plan, message.content)
            return message.after("fetch", named, started)

        return await self._run(docs, "fetch", work)

    @requests(on="/score")
    async def run(self, docs: DocList[Frame], **_: Any) -> DocList[Frame]:
        """`Items` to `Views`."""

        async def work(message: frames.Message) -> frames.Message:
            assert isinstance(message.content, Items)
            views, spent = await self._stages.work(message.plan, message.content)
            return replace(message, content=views, spent={**message.spent, **spent})

        return await self._run(docs, "infer", work)

    def close(self) -> None:
        """Close the connections. Jina calls this on the event loop, while it still runs."""
        self._kept.close()
        self._closing = asyncio.ensure_future(self._stages.close())


class Scorer(Stage):
    """Keeps the views of every running query, and chooses once over the whole pool.

    There is one of it: a choice over half a pool is not a choice. And it alone writes the
    store of views.
    """

    def __init__(self, **rest: Any) -> None:
        super().__init__(**rest)
        tree = self._settings
        self._kept = keep(tree.store, addresses=False)
        self._scorer = scorer.Scorer(self._kept.features, self._kept.pools)
        self._threads = Threads(4, "score")
        # A choice may take minutes: as many as there can be at once never hold up anything.
        self._choosing = Threads(tree.limits.requests + tree.jobs.at_once, "choose")

    @requests(on="/admit")
    async def admit(self, docs: DocList[Frame], **_: Any) -> DocList[Frame]:
        """`Items` to `Admitted`."""

        def work(message: frames.Message) -> Admitted:
            assert isinstance(message.content, Items)
            return self._scorer.admit(message.plan, message.content)

        return await self._on(self._threads, docs, "score", work)

    @requests(on="/score")
    async def run(self, docs: DocList[Frame], **_: Any) -> DocList[Frame]:
        """`Views` to `Scored`."""

        def work(message: frames.Message) -> Scored:
            assert isinstance(message.content, Views)
            return self._scorer.add(message.plan, message.content)

        return await self._on(self._threads, docs, "score", work)

    @requests(on="/calibrate")
    async def calibrate(self, docs: DocList[Frame], **_: Any) -> DocList[Frame]:
        """`Notes` of what is labelled to what scaling does to it, `Calibrated`."""

        def work(message: frames.Message) -> Calibrated:
            assert isinstance(message.content, Notes)
            return self._scorer.calibrate(message.plan, message.content)

        return await self._on(self._choosing, docs, "score", work)

    @requests(on="/select")
    async def select(self, docs: DocList[Frame], **_: Any) -> DocList[Frame]:
        """`Notes` to the `Selection` of a query."""

        def work(message: frames.Message) -> Selection:
            assert isinstance(message.content, Notes)
            return self._scorer.select(message.plan, message.content)

        return await self._on(self._choosing, docs, "score", work)

    @requests(on="/discard")
    def discard(self, docs: DocList[Frame], **_: Any) -> DocList[Frame]:
        """Forget the query of the frame."""
        self._scorer.discard(unpack(docs).plan.query)
        return docs

    @requests(on="/keep")
    async def keep(self, docs: DocList[Frame], **_: Any) -> DocList[Frame]:
        """`Notes` of a push to the `Stored` pool that it made."""

        def work(message: frames.Message) -> Stored:
            assert isinstance(message.content, Notes)
            return Stored((self._scorer.keep(message.plan, message.content),))

        return await self._on(self._choosing, docs, "score", work)

    @requests(on="/pools")
    async def pools(self, docs: DocList[Frame], **_: Any) -> DocList[Frame]:
        """All `Stored` pools, or the one that the plan names."""

        def work(message: frames.Message) -> Stored:
            return Stored(tuple(self._scorer.pools(message.plan.pool)))

        return await self._on(self._threads, docs, "score", work)

    @requests(on="/drop")
    async def drop(self, docs: DocList[Frame], **_: Any) -> DocList[Frame]:
        """Delete the pool that the plan names."""

        def work(message: frames.Message) -> frames.Content:
            self._scorer.drop(message.plan.pool or "")
            return message.content

        return await self._on(self._threads, docs, "score", work)

    @requests(on="/stored")
    async def stored(self, docs: DocList[Frame], **_: Any) -> DocList[Frame]:
        """`Items` of a stored pool: `seq` is the first row asked for, `rows` has how many."""

        def work(message: frames.Message) -> Items:
            assert isinstance(message.content, Items)
            (size,) = message.content.rows
            return self._scorer.stored(message.plan.pool or "", message.content.seq, size)

        return await self._on(self._threads, docs, "score", work)

    def close(self) -> None:
        """Write what waits."""
        self._kept.close()

"""The four stages as Jina executors: decode a frame, run the stage, encode a frame."""

# No `from __future__ import annotations`: Jina reads the annotations of the endpoints.

import asyncio
import os
import warnings
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from time import perf_counter
from typing import Any

import structlog

from alaas.config import Preprocessing, Settings
from alaas.core.errors import AlaasError
from alaas.core.types import Batch, Items, Notes, Raws, Scored, Selection, Views
from alaas.data import fetch
from alaas.pipeline import stages
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
    started = perf_counter()
    try:
        content = work(message)
    except AlaasError as error:
        return pack(replace(message, problem=error.problem()))
    return pack(message.after(stage, content, perf_counter() - started))


class Fetcher(Executor):
    """Reads what the items name, for many micro-batches at a time."""

    def __init__(self, *, settings: str, **rest: Any) -> None:
        super().__init__(**rest)
        settle()
        tree = Settings.model_validate_json(settings)
        self._fetcher = fetch.Fetcher(tree.fetch, tree.limits)

    @requests(on="/score")
    async def run(self, docs: DocList[Frame], **_: Any) -> DocList[Frame]:
        """`Items` to `Raws`. This stage is the first, and fetching never raises."""
        message = unpack(docs)
        assert isinstance(message.content, Items)
        started = perf_counter()
        raws = await self._fetcher.fetch(message.content)
        return pack(message.after("fetch", raws, perf_counter() - started))

    def close(self) -> None:
        """Close the connections. Jina calls this on the event loop, while it still runs."""
        self._closing = asyncio.ensure_future(self._fetcher.close())


class Preprocessor(Executor):
    """Decodes and resizes, on every core."""

    def __init__(self, *, settings: str, preprocessing: str, **rest: Any) -> None:
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


class Inferencer(Executor):
    """Runs the model. The only process that loads torch, once a replica."""

    def __init__(self, *, settings: str, threads: int, **rest: Any) -> None:
        super().__init__(**rest)
        settle()
        keep_memory()
        import torch

        from alaas.models.load import load, resolve_device

        torch.set_num_threads(threads)
        tree = Settings.model_validate_json(settings)
        logs.configure(tree.log)
        chosen = tree.active_learning.strategy.model
        device = resolve_device(chosen.device)
        if device == "cuda":
            # Jina names its replicas infer/rep-0, infer/rep-1, ...: one on each GPU.
            number = int(self.runtime_args.name.rpartition("-")[2])
            device = f"cuda:{number % torch.cuda.device_count()}"
        try:
            self._model = load(chosen, device=device)
        except Exception:
            log.exception("the model did not load", name=chosen.name, device=device)
            raise

    @requests(on="/score")
    def run(self, docs: DocList[Frame], **_: Any) -> DocList[Frame]:
        """`Batch` to `Views`."""

        def work(message: frames.Message) -> Views:
            assert isinstance(message.content, Batch)
            model = self._model
            return stages.infer(message.plan, message.content, model.classifier, model.card.digest)

        return _pass(docs, "infer", work)


class Scorer(Executor):
    """Keeps the views of every running query, and chooses once over the whole pool.

    There is one of it: a choice over half a pool is not a choice.
    """

    def __init__(self, **rest: Any) -> None:
        super().__init__(**rest)
        settle()
        self._scorer = stages.Scorer()

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

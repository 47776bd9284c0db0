"""*preprocess* and *infer* as plain functions of one micro-batch. They know no engine.

*fetch* is `alaas.data.fetch.Fetcher`, *score* is `alaas.pipeline.scorer`. A stage never
raises for one bad item, and running it twice on the same micro-batch changes nothing: an
engine may deliver a micro-batch again when a replica dies. A micro-batch for which there is
not enough memory is halved until its parts fit; an item that does not fit alone is lost.
"""

from __future__ import annotations

import logging
from concurrent.futures import Executor
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np

from alaas.config import Inputs, LimitsSettings, Preprocessing, Vectors
from alaas.core.arrays import stacked
from alaas.core.types import Batch, Items, Plan, Raws, Views
from alaas.core.wire import Failure, Stage
from alaas.data import decode, prepare
from alaas.data.files import scheme_of
from alaas.pipeline.claims import computed
from alaas.pipeline.measures import rank_of
from alaas.strategies.declaration import MODEL

if TYPE_CHECKING:  # torch stays out of the processes that do not infer
    from alaas.models.classifier import Classifier

log = logging.getLogger(__name__)

ANY_SIZE = Preprocessing(size=(32, 32), mean=(0, 0, 0), std=(1, 1, 1))
"""For pictures that no model will see: whether they open is all that is asked."""

READ = "read_"
"""Prefix of the counts of bytes that were read, by scheme."""


def count_read(items: Items, raws: Raws) -> dict[str, int]:
    """Bytes of items that were read, by the scheme of their address.

    Example:
        >>> from alaas.core.types import Raw
        >>> from alaas.core.wire import Item
        >>> items = Items(0, (Item("a", uri="https://h/a.png"), Item("b", text="b")))
        >>> count_read(items, Raws(0, (Raw("a", b"123"), Raw("b", b"b", is_text=True))))
        {'read_https': 3}
    """
    schemes = {
        item.id: scheme_of(item.uri) or "file"
        for item in items.items
        if item.uri and item.text is None and item.blob is None
    }
    counts: dict[str, int] = {}
    for raw in raws.raws:
        if scheme := schemes.get(raw.id):
            counts[READ + scheme] = counts.get(READ + scheme, 0) + len(raw.data)
    return counts


def preprocess(
    plan: Plan,
    raws: Raws,
    inputs: Inputs,
    limits: LimitsSettings,
    pool: Executor | None = None,
) -> Batch:
    """Turn what was fetched into the model's input.

    A strategy without views ranks texts as well, and images are still decoded for it:
    nobody can label a picture that does not open.
    """
    try:
        return _preprocessed(plan, raws, inputs, limits, pool)
    except MemoryError:
        if not raws.raws:
            raise
    middle = len(raws.raws) // 2
    if not middle:
        failure = _oom(raws.raws[0].id, "preprocess")
        nothing = replace(raws, raws=(), failures=(*raws.failures, failure))
        return _preprocessed(plan, nothing, inputs, limits, pool)
    _warn("preprocess", len(raws.raws))
    halves = (
        replace(raws, raws=raws.raws[:middle]),
        replace(raws, raws=raws.raws[middle:], failures=()),
    )
    first, second = (preprocess(plan, half, inputs, limits, pool) for half in halves)
    return Batch(
        seq=raws.seq,
        ids=first.ids + second.ids,
        array=stacked(first.array, second.array),
        failures=first.failures + second.failures,
        digests=first.digests + second.digests,
        cut=first.cut + second.cut,
    )


def _preprocessed(
    plan: Plan,
    raws: Raws,
    inputs: Inputs,
    limits: LimitsSettings,
    pool: Executor | None,
) -> Batch:
    if plan.needs or isinstance(inputs, Vectors):
        return prepare.prepare(raws, inputs, limits, pool=pool)
    texts = {raw.id for raw in raws.raws if raw.is_text}
    images = replace(raws, raws=tuple(raw for raw in raws.raws if not raw.is_text))
    preprocessing = inputs if isinstance(inputs, Preprocessing) else ANY_SIZE
    decoded = decode.preprocess(images, preprocessing, limits, pool=pool)
    good = texts.union(decoded.ids)
    kept = [raw for raw in raws.raws if raw.id in good]
    return Batch(
        seq=raws.seq,
        ids=tuple(raw.id for raw in kept),
        array=np.empty((len(kept), 0), np.uint8),
        failures=decoded.failures,
        digests=tuple(raw.digest for raw in kept),
    )


def infer(plan: Plan, batch: Batch, classifier: Classifier, digest: str) -> Views:
    """Compute the views that the strategy reads.

    Where views are stored, also those that come out of the same pass at no cost.
    """
    if not plan.needs:
        return Views(batch.seq, batch.ids, {}, "", batch.failures, batch.digests)
    from alaas.models.memory import give_back, is_shortage

    try:
        return _inferred(plan, batch, classifier, digest)
    except Exception as error:
        if not batch.ids or not is_shortage(error):
            raise
    # Only here, without the error that holds on to it, can memory be given back.
    give_back()
    middle = len(batch.ids) // 2
    if not middle:
        failure = _oom(batch.ids[0], "infer")
        nothing = replace(_rows(batch, 0, 0), failures=(*batch.failures, failure))
        return _inferred(plan, nothing, classifier, digest)
    _warn("infer", len(batch.ids))
    halves = (
        _rows(batch, 0, middle),
        replace(_rows(batch, middle, len(batch.ids)), failures=()),
    )
    first, second = (infer(plan, half, classifier, digest) for half in halves)
    arrays = {
        name: rows if name in MODEL else np.concatenate((rows, second.arrays[name]))
        for name, rows in first.arrays.items()
    }
    return replace(
        first,
        ids=first.ids + second.ids,
        arrays=arrays,
        failures=first.failures + second.failures,
        digests=first.digests + second.digests,
    )


def _inferred(plan: Plan, batch: Batch, classifier: Classifier, digest: str) -> Views:
    wanted = plan.needs
    if plan.cache:
        wanted = computed(plan.needs, head=bool(plan.head_draws))
    wanted = tuple(name for name in wanted if name in classifier.provides or name in plan.needs)
    needs = [name for name in wanted if name not in MODEL or batch.seq == 0]
    rank = {"rank": rank_of(plan)} if plan.measure else {}
    arrays = classifier.views(batch.array, needs, n_drop=plan.n_drop, seed=plan.seed, **rank)
    return Views(batch.seq, batch.ids, arrays, digest, batch.failures, batch.digests)


def _rows(batch: Batch, start: int, end: int) -> Batch:
    part = slice(start, end)
    return replace(
        batch, ids=batch.ids[part], array=batch.array[part], digests=batch.digests[part]
    )  # fmt: skip


def _oom(name: str, stage: Stage) -> Failure:
    return Failure(name, stage, "oom", "there is not enough memory for this item")


def _warn(stage: Stage, size: int) -> None:
    log.warning("%s: not enough memory for %d items at once; they are halved", stage, size)

"""*preprocess* and *infer* as plain functions of one micro-batch. They know no engine.

*fetch* is `alaas.data.fetch.Fetcher`, *score* is `alaas.pipeline.scorer`. A stage never
raises for one bad item, and running it twice on the same micro-batch changes nothing: an
engine may deliver a micro-batch again when a replica dies.
"""

from __future__ import annotations

from concurrent.futures import Executor
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np

from alaas.config import LimitsSettings, Preprocessing
from alaas.core.types import Batch, Plan, Raws, Views
from alaas.data import decode
from alaas.pipeline.claims import computed
from alaas.strategies.declaration import MODEL

if TYPE_CHECKING:  # torch stays out of the processes that do not infer
    from alaas.models.classifier import Classifier


def preprocess(
    plan: Plan,
    raws: Raws,
    preprocessing: Preprocessing,
    limits: LimitsSettings,
    pool: Executor | None = None,
) -> Batch:
    """Turn what was fetched into the model's input.

    A strategy without views ranks texts as well, and images are still decoded for it:
    nobody can label a picture that does not open.
    """
    if plan.needs:
        return decode.preprocess(raws, preprocessing, limits, pool=pool)
    texts = {raw.id for raw in raws.raws if raw.is_text}
    images = replace(raws, raws=tuple(raw for raw in raws.raws if not raw.is_text))
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
    wanted = computed(plan.needs) if plan.cache else plan.needs
    wanted = tuple(name for name in wanted if name in classifier.provides or name in plan.needs)
    needs = [name for name in wanted if name not in MODEL or batch.seq == 0]
    arrays = classifier.views(batch.array, needs, n_drop=plan.n_drop, seed=plan.seed)
    return Views(batch.seq, batch.ids, arrays, digest, batch.failures, batch.digests)

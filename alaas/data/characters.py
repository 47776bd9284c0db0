"""The stage that takes texts as they are, for a model that reads texts itself."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from alaas.core.arrays import PADDING
from alaas.core.types import Batch, Raw, Raws
from alaas.core.wire import Failure
from alaas.data.problem import ItemError
from alaas.data.tokens import text_of

_CODEC = "utf-32-le"
_TYPE = np.dtype("<i4")  # no number of a character comes near its end


def read(raws: Raws) -> Batch:
    """Take a micro-batch of texts.

    Returns:
        (B, L) int32 numbers of characters, `PADDING` from where a text has ended, L that of
        the longest. An empty text has no row but the failure ``empty_text``, an item that is
        no text ``wrong_modality``.
    """
    good: list[Raw] = []
    rows: list[NDArray[np.int32]] = []
    failures = list(raws.failures)
    for raw in raws.raws:
        try:
            rows.append(np.frombuffer(text_of(raw).encode(_CODEC), _TYPE))
            good.append(raw)
        except ItemError as error:
            failures.append(Failure(raw.id, "preprocess", error.code, error.message))
    array = np.full((len(rows), max(map(len, rows), default=0)), PADDING, np.int32)
    for row, numbers in zip(array, rows, strict=True):
        row[: len(numbers)] = numbers
    return Batch(
        seq=raws.seq,
        ids=tuple(raw.id for raw in good),
        array=array,
        failures=tuple(failures),
        digests=tuple(raw.digest for raw in good),
    )

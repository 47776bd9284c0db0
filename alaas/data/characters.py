"""The stage that takes texts as they are, for a model that reads texts itself."""

from __future__ import annotations

import numpy as np

from alaas.core.types import Batch, Raws
from alaas.data.sift import padded, sift
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
    found = sift(raws, lambda raw: np.frombuffer(text_of(raw).encode(_CODEC), _TYPE))
    return found.batch(raws.seq, padded(found.values))

"""How many items go through the stages together. Free of torch."""

from __future__ import annotations

from alaas.config import Inputs, ModelSettings, Preprocessing

# One message of 1 to 5 MB is what travels fastest between processes, and what keeps a
# convolution's working set in the cache.
MICRO_BATCH_BYTES = 2_500_000

# As many texts as can be sorted by length to some use, and are done within seconds.
TEXTS = 64

VECTORS = 1_024

# Fewer items in a message, and a gateway that carries none of their pixels would spend more
# on messages than on anything else.
FEW = 16


def micro_batch(settings: ModelSettings, inputs: Inputs) -> int:
    """Items in a micro-batch: as configured, or as many as make a message of good size.

    Every engine cuts a pool by this rule, so that every engine computes the same floats.

    Example:
        >>> spec = Preprocessing(size=224, mean=(0, 0, 0), std=(1, 1, 1))
        >>> micro_batch(ModelSettings(), spec)
        16
    """
    if settings.batch_size != "auto":
        return settings.batch_size
    if isinstance(inputs, Preprocessing):
        height, width = inputs.size
        return max(1, min(256, MICRO_BATCH_BYTES // (height * width * 3)))
    return TEXTS if inputs.modality == "text" else VECTORS


def whole_batches(settings: ModelSettings, inputs: Inputs) -> int:
    """Items in a message without pixels: as configured, or as many as are not few.

    They are a multiple of a micro-batch, for the same floats.

    Example:
        >>> spec = Preprocessing(size=512, mean=(0, 0, 0), std=(1, 1, 1))
        >>> micro_batch(ModelSettings(), spec), whole_batches(ModelSettings(), spec)
        (3, 18)
    """
    size = micro_batch(settings, inputs)
    return size * -(-FEW // size) if settings.batch_size == "auto" else size

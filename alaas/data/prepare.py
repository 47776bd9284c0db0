"""The stage between the content of items and the input of a model, whatever the items are."""

from __future__ import annotations

from concurrent.futures import Executor

from alaas.config import Characters, Inputs, LimitsSettings, Preprocessing, Tokenization
from alaas.core.types import Batch, Raws
from alaas.data import characters, decode, tokens, vectors


def prepare(
    raws: Raws, inputs: Inputs, limits: LimitsSettings, *, pool: Executor | None = None
) -> Batch:
    """Turn a micro-batch of contents into rows of a model's input.

    Args:
        raws: What *fetch* gave.
        inputs: What the model takes.
        limits: What an item may cost.
        pool: Threads to decode pictures in; by default the calling one.

    Returns:
        What `decode.preprocess`, `tokens.tokenize`, `characters.read` or `vectors.read` makes
        of them. An item of another kind has no row but the failure ``wrong_modality``.
    """
    if isinstance(inputs, Preprocessing):
        return decode.preprocess(raws, inputs, limits, pool=pool)
    if isinstance(inputs, Tokenization):
        return tokens.tokenize(raws, inputs)
    if isinstance(inputs, Characters):
        return characters.read(raws)
    return vectors.read(raws, inputs)

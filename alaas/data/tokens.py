"""The stage that turns texts into tokens."""

from __future__ import annotations

import threading
from functools import cache

import numpy as np
from tokenizers import Tokenizer

from alaas.config import Tokenization
from alaas.core.arrays import PADDING
from alaas.core.types import Batch, Raw, Raws
from alaas.core.wire import Failure
from alaas.data.problem import ItemError


def tokenize(raws: Raws, inputs: Tokenization) -> Batch:
    """Tokenize a micro-batch of texts.

    Args:
        raws: What *fetch* gave.
        inputs: The tokenizer, and how many tokens a text may have.

    Returns:
        (B, L) int32 tokens, `PADDING` from where a text has ended, L that of the longest. A
        text that is longer than ``inputs.max_tokens`` loses its end, as the tokenizer does
        it: what marks the end of a text stays. One without any tokens of its own, and an
        item that is no text, has no row but a failure: ``empty_text`` or ``wrong_modality``.
    """
    good: list[Raw] = []
    texts: list[str] = []
    failures = list(raws.failures)
    for raw in raws.raws:
        try:
            texts.append(_text(raw))
            good.append(raw)
        except ItemError as error:
            failures.append(Failure(raw.id, "preprocess", error.code, error.message))
    encodings = _tokenizer(inputs.file, inputs.max_tokens).encode_batch_fast(texts)
    rows = [encoding.ids for encoding in encodings]
    array = np.full((len(rows), max(map(len, rows), default=0)), PADDING, np.int32)
    for row, ids in zip(array, rows, strict=True):
        row[: len(ids)] = ids
    return Batch(
        seq=raws.seq,
        ids=tuple(raw.id for raw in good),
        array=array,
        failures=tuple(failures),
        digests=tuple(raw.digest for raw in good),
        cut=sum(bool(encoding.overflowing) for encoding in encodings),
    )


def _text(raw: Raw) -> str:
    if not raw.is_text:
        raise ItemError("wrong_modality", "the item is no text; the model takes texts")
    text = raw.data.decode()
    if not text.strip():
        raise ItemError("empty_text", "the text is empty, or nothing but white space")
    return text


_loading = threading.Lock()


def _tokenizer(file: str, most: int) -> Tokenizer:
    with _loading:  # two micro-batches may be the first
        return _loaded(file, most)


@cache
def _loaded(file: str, most: int) -> Tokenizer:
    tokenizer = Tokenizer.from_file(file)
    tokenizer.no_padding()  # what the file says of it is for the model that it came with
    tokenizer.enable_truncation(most)
    return tokenizer

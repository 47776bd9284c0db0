"""The stage that turns texts into tokens."""

from __future__ import annotations

import threading
from functools import lru_cache
from typing import TYPE_CHECKING

from alaas.config import Tokenization
from alaas.core.types import Batch, Raw, Raws
from alaas.data.problem import ItemError
from alaas.data.sift import padded, sift

if TYPE_CHECKING:
    from tokenizers import Encoding, Tokenizer


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
    tokenizer, own = _tokenizer(inputs.file, inputs.max_tokens)
    texts = sift(raws, text_of)
    # All at once, on every core; only then are those known of which nothing is left.
    made = tokenizer.encode_batch_fast(list(texts.values))
    encodings = {raw.id: encoding for raw, encoding in zip(texts.raws, made, strict=True)}

    def tokens(raw: Raw) -> Encoding:
        encoding = encodings[raw.id]
        if len(encoding.ids) <= own:
            message = "there is nothing in the text that the model's tokenizer keeps"
            raise ItemError("empty_text", message)
        return encoding

    found = sift(Raws(raws.seq, texts.raws, texts.failures), tokens)
    rows = [encoding.ids for encoding in found.values]
    cut = sum(bool(encoding.overflowing) for encoding in found.values)
    return found.batch(raws.seq, padded(rows), cut=cut)


def text_of(raw: Raw) -> str:
    """The text that an item is.

    Raises:
        ItemError: It is no text, ``wrong_modality``, or nothing but white space, ``empty_text``.
    """
    if not raw.is_text:
        raise ItemError("wrong_modality", "the item is no text; the model takes texts")
    text = raw.data.decode()
    if not text.strip():
        raise ItemError("empty_text", "the text is empty, or nothing but white space")
    return text


_loading = threading.Lock()


def _tokenizer(file: str, most: int) -> tuple[Tokenizer, int]:
    """The tokenizer of a file, and how many tokens of its own it adds to a text."""
    with _loading:  # two micro-batches may be the first
        return _loaded(file, most)


@lru_cache(maxsize=4)
def _loaded(file: str, most: int) -> tuple[Tokenizer, int]:
    from tokenizers import Tokenizer  # a part of an extra, which pictures do without

    tokenizer = Tokenizer.from_file(file)
    tokenizer.no_padding()  # what the file says of it is for the model that it came with
    tokenizer.enable_truncation(most)
    return tokenizer, tokenizer.num_special_tokens_to_add(is_pair=False)

"""The way into a network: from a micro-batch as it travels to what the network is called with.

=======  ==============================================  ============================
kind     micro-batch                                     what the network gets
=======  ==============================================  ============================
image    (B, H, W, 3) uint8 pixels                       (B, 3, H, W) normalised
text     (B, L) int32 tokens, `PADDING` where it ended   the same, as int64
text     (B, L) int32 characters, `PADDING` likewise     the same
vector   (B, D) float32                                  the same
=======  ==============================================  ============================
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, TypeAlias

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from alaas.config import Characters, Inputs, Preprocessing, Tokenization
from alaas.core.arrays import PADDING

TOKENS = 512
"""Tokens, padding among them, of the texts that go through a network at once on a processor.

As few as keep what a layer makes of them in its cache: with 2,048 of them MiniLM had 0.7 to
0.9 of the tokens per second, as `benchmarks/models_text.py` counts them.
"""

MANY_TOKENS = 8_192
"""The same elsewhere: a GPU wants as many as there are."""


class Normalisation(nn.Module):
    """(B, H, W, 3) uint8 pixels to (B, 3, H, W) float32, in the memory that they came in.

    ``(pixel / 255 - mean) / std`` in two steps instead of four: ``(pixel - 255 mean) *
    1 / (255 std)``. The shift cannot move into the bias of a convolution that pads: what
    is padded is 0 after it.
    """

    shift: Tensor
    scale: Tensor

    def __init__(self, preprocessing: Preprocessing) -> None:
        super().__init__()
        mean, std = (
            torch.tensor(numbers, dtype=torch.float64)
            for numbers in (preprocessing.mean, preprocessing.std)
        )
        self.register_buffer("shift", (255 * mean).float(), persistent=False)
        self.register_buffer("scale", (1 / (255 * std)).float(), persistent=False)

    def forward(self, images: Tensor) -> Tensor:
        """Normalised pixels."""
        return torch.sub(images, self.shift).mul_(self.scale).permute(0, 3, 1, 2)


class Tokens(nn.Module):
    """(B, L) int32 tokens to int64, which an embedding takes."""

    def forward(self, tokens: Tensor) -> Tensor:
        """The same tokens."""
        return tokens.long()


def entry(inputs: Inputs) -> nn.Module:
    """The module that stands before a network."""
    if isinstance(inputs, Preprocessing):
        return Normalisation(inputs)
    return Tokens() if isinstance(inputs, Tokenization) else nn.Identity()


def real(inputs: Inputs, entered: Tensor) -> Tensor | None:
    """(B, L) which tokens of texts are not padding; None of other items."""
    return entered != PADDING if isinstance(inputs, Tokenization) else None


def noise(inputs: Inputs, rows: int) -> NDArray[Any]:
    """A micro-batch to try a network with: no two rows are alike, and none is empty."""
    rng = np.random.default_rng(rows)
    if isinstance(inputs, Preprocessing):
        # Noise over a colour of its own in each row.
        made = rng.integers(0, 64, (rows, *inputs.size, 3), np.uint8)
        made += rng.integers(0, 192, (rows, 1, 1, 3), np.uint8)
        return made
    if isinstance(inputs, Tokenization):
        return _words(inputs, rows, rng)
    if isinstance(inputs, Characters):
        return rng.choice(np.frombuffer(b"abcdefghij   ", np.uint8), (rows, 40)).astype(np.int32)
    return rng.standard_normal((rows, inputs.dim), np.float32)


def _words(inputs: Tokenization, rows: int, rng: np.random.Generator) -> NDArray[np.int32]:
    """Texts of no sense, framed as the tokenizer does it, most of them shorter than the first.

    So a runtime that loses sight of where a text ends is found out.
    """
    before, after = inputs.before, inputs.after
    frame = len(before) + len(after)
    longest = max(1, min(6 + 3 * rows, 60, inputs.max_tokens - frame))
    # A network may look for these to find where a text ends.
    reserved = {*before, *after, inputs.pad}
    words = [token for token in range(inputs.vocabulary) if token not in reserved] or [0]
    made = np.full((rows, longest + frame), PADDING, np.int32)
    for row in range(rows):
        length = longest - 3 * (row % (longest // 3 or 1))
        text = [*before, *rng.choice(words, length), *after]
        made[row, : len(text)] = text
    return made


Portion: TypeAlias = tuple[NDArray[np.intp], NDArray[Any]]
"""Numbers of some rows, and these rows."""


def portions(
    inputs: Inputs, batch: NDArray[Any], most: int | None = None, *, tokens: int = TOKENS
) -> Iterator[Portion]:
    """Cut a micro-batch into what goes through a network at once.

    Texts are sorted by length, so that little of a portion is padding, and a portion has
    `tokens` at most, or one text. Of everything else, `most` go at once.

    Yields:
        Row numbers, and those rows without columns that are all padding.
    """
    if not isinstance(inputs, Tokenization):
        numbers = np.arange(len(batch))
        most = most or len(batch)
        for start in range(0, len(batch), most):
            yield numbers[start : start + most], batch[start : start + most]
        return
    lengths = np.maximum((batch != PADDING).sum(axis=1), 1)
    order = np.argsort(-lengths, kind="stable")
    start = 0
    while start < len(order):
        longest = int(lengths[order[start]])
        rows = order[start : start + max(1, tokens // longest)]
        yield rows, batch[rows, :longest]
        start += len(rows)

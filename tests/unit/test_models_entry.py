"""The way into a network: portions of texts, and noise of every kind."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from numpy.testing import assert_array_equal
from pictures import spec

from alaas.config import Inputs, Tokenization, Vectors
from alaas.core.arrays import PADDING, stacked
from alaas.models.entry import TOKENS, entry, noise, portions

TEXT = Tokenization(file="x", digest="0", max_tokens=512, vocabulary=100, pad=0)
KINDS: list[Inputs] = [spec(8), TEXT, Vectors(dim=5)]


def texts(lengths: list[int]) -> np.ndarray[Any, Any]:
    """Tokens of texts of these lengths: row r counts up from 100 r."""
    batch = np.full((len(lengths), max(lengths, default=0)), PADDING, np.int32)
    for row, length in enumerate(lengths):
        batch[row, :length] = 100 * row + np.arange(length)
    return batch


@given(st.lists(st.integers(1, 700), min_size=1, max_size=40), st.sampled_from([64, TOKENS, 9_000]))
def test_portions_are_the_whole_sorted_by_length(lengths: list[int], tokens: int) -> None:
    batch = texts(lengths)
    seen: list[int] = []
    before = max(lengths)
    for rows, part in portions(TEXT, batch, tokens=tokens):
        longest = part.shape[1]
        assert longest == max(lengths[row] for row in rows) <= before
        before = min(lengths[row] for row in rows)
        assert len(rows) == 1 or part.size <= tokens
        assert_array_equal(part, batch[rows, :longest])
        seen += rows.tolist()
    assert sorted(seen) == list(range(len(lengths)))


def test_texts_of_one_length_go_in_their_order() -> None:
    ((rows, part),) = portions(TEXT, texts([7] * 20))
    assert_array_equal(rows, np.arange(20))
    assert part.shape == (20, 7)


@pytest.mark.parametrize("inputs", [spec(8), Vectors(dim=5)], ids=["image", "vector"])
def test_other_items_go_at_once(inputs: Inputs) -> None:
    batch = noise(inputs, 30)
    ((rows, part),) = portions(inputs, batch)
    assert_array_equal(part, batch)
    assert_array_equal(rows, np.arange(30))
    cut = [rows.tolist() for rows, _ in portions(inputs, batch, 13)]
    assert cut == [list(range(13)), list(range(13, 26)), [26, 27, 28, 29]]


@pytest.mark.parametrize("inputs", KINDS, ids=["image", "text", "vector"])
def test_noise_differs_from_row_to_row_and_is_what_a_network_takes(inputs: Inputs) -> None:
    batch = noise(inputs, 4)
    assert len(np.unique(batch.reshape(4, -1), axis=0)) == 4
    assert_array_equal(batch, noise(inputs, 4))
    entered = entry(inputs)(torch.from_numpy(batch))
    assert entered.dtype == (torch.int64 if inputs is TEXT else torch.float32)


def test_noise_of_texts_is_of_several_lengths_in_a_frame() -> None:
    framed = TEXT.model_copy(update={"before": (1,), "after": (2, 3)})
    tokens = noise(framed, 50)
    lengths = (tokens != PADDING).sum(axis=1)
    assert lengths[0] == tokens.shape[1] > lengths[1] > 3
    for row, length in zip(tokens, lengths, strict=True):
        assert (row[length:] == PADDING).all()
        assert (row[0], *row[length - 2 : length]) == (1, 2, 3)
        assert row[1 : length - 2].min() > 3
        assert row.max() < TEXT.vocabulary


def test_noise_is_not_longer_than_a_text_may_be() -> None:
    short = TEXT.model_copy(update={"max_tokens": 3})
    assert noise(short, 2).shape == (2, 3)
    assert (noise(short, 2) > TEXT.pad).all()


def test_tokens_of_two_lengths_are_padded_to_the_longer() -> None:
    whole = stacked(texts([3, 1]), texts([5]))
    assert_array_equal(whole[:2, :3], texts([3, 1]))
    assert (whole[:2, 3:] == PADDING).all()
    assert whole.dtype == np.int32

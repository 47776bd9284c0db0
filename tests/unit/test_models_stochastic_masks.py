"""Masks: independent, the same everywhere, and for a longer text an extension."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch import nn

from alaas.config import Tokenization
from alaas.core.arrays import PADDING
from alaas.models.classifier import Classifier
from alaas.models.stochastic.masks import Masks

CPU = torch.device("cpu")


def kept(*shape: int, p: float = 0.5, seed: Any = 0, number: int = 0, layer: int = 0) -> Any:
    return Masks(seed, number).kept(layer, shape, p, CPU).numpy()


@pytest.mark.parametrize("p", [0.0, 0.1, 0.5, 0.93])
@pytest.mark.parametrize("shape", [(200_000,), (400, 500), (1, 50, 40, 100)])
def test_the_share_that_is_dropped(shape: tuple[int, ...], p: float) -> None:
    found = kept(*shape, p=p)
    assert found.shape == shape
    assert abs(1 - found.mean() - p) <= 4 * np.sqrt(p * (1 - p) / found.size)


def correlation(first: NDArray[Any], second: NDArray[Any]) -> float:
    return float(np.corrcoef(first.ravel(), second.ravel())[0, 1])


def test_elements_are_independent_of_one_another() -> None:
    found = kept(500, 400)
    within = 4 / np.sqrt(found.size)
    for step in (1, 2, 3, 64):
        assert abs(correlation(found[step:], found[:-step])) < within
        assert abs(correlation(found[:, step:], found[:, :-step])) < within
    # Nor are four corners of a rectangle: sums of what belongs to rows and columns would be.
    rows, columns = np.random.default_rng(0).permutation(500), np.arange(400)[::-1]
    corners = found ^ found[rows] ^ found[:, columns] ^ found[rows][:, columns]
    assert abs(corners.mean() - 0.5) < 0.02
    # Each row and each column keeps about half: no row or column goes as one.
    for axis, size in ((1, 400), (0, 500)):
        spread = found.mean(axis=axis).std() * np.sqrt(size) / 0.5
        assert 0.85 < spread < 1.15


@pytest.mark.parametrize("changed", [{"seed": 1}, {"seed": (0, 1)}, {"number": 1}, {"layer": 1}])
def test_another_purpose_has_another_mask(changed: dict[str, Any]) -> None:
    first, second = kept(300, 300), kept(300, 300, **changed)
    assert abs(correlation(first, second)) < 4 / 300


def test_another_call_for_the_same_layer_has_another_mask() -> None:
    masks = Masks(0, 0)
    first, other, second = (masks.kept(layer, (300, 300), 0.5, CPU) for layer in (0, 1, 0))
    assert abs(correlation(first.numpy(), second.numpy())) < 4 / 300
    assert np.array_equal(other.numpy(), kept(300, 300, layer=1))  # and no other layer minds


def test_a_larger_mask_begins_with_a_smaller_one_along_every_axis() -> None:
    whole = kept(5, 12, 9, 12)
    assert np.array_equal(kept(3, 7, 9, 7), whole[:3, :7, :, :7])


def test_masks_stay_what_they_are_from_release_to_release() -> None:
    """Stored draws are named by their seed: with other masks they would be other draws."""
    found = np.packbits(kept(8, 8, seed=3, number=2, layer=1))
    assert found.tolist() == [195, 119, 11, 112, 252, 163, 179, 104]


@pytest.mark.gpu
def test_masks_are_the_same_on_a_gpu() -> None:
    shape, device = (7, 33, 65), torch.device("cuda")
    assert torch.equal(
        Masks(1, 2).kept(3, shape, 0.3, CPU), Masks(1, 2).kept(3, shape, 0.3, device).cpu()
    )


class Reader(nn.Module):
    """A tiny BERT, from (B, L) tokens to logits."""

    def __init__(self, attention: str) -> None:
        super().__init__()
        transformers = pytest.importorskip("transformers")
        torch.manual_seed(2)
        config = transformers.BertConfig(
            vocab_size=50, hidden_size=16, num_hidden_layers=2, num_attention_heads=2,
            intermediate_size=24, max_position_embeddings=40, hidden_dropout_prob=0.3,
            attention_probs_dropout_prob=0.3, num_labels=3, attn_implementation=attention,
            initializer_range=0.4,
        )  # fmt: skip
        self.bert = transformers.BertForSequenceClassification(config)

    def forward(self, tokens: torch.Tensor) -> Any:
        there = tokens != PADDING
        return self.bert(input_ids=tokens.clamp(min=0), attention_mask=there.long()).logits


class Scored(nn.Module):
    """Attention whose probabilities are dropped by a layer: (B, H, L, L)."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(3)
        self.embedding, self.dropout = nn.Embedding(50, 8), nn.Dropout(0.5)
        self.head = nn.Linear(8, 3)

    def forward(self, tokens: torch.Tensor) -> torch.Tensor:
        there = tokens != PADDING
        x = self.embedding(tokens.clamp(min=0))
        scores = torch.einsum("bid,bjd->bij", x, x)[:, None].repeat(1, 2, 1, 1)
        scores = scores.masked_fill(~there[:, None, None], -torch.inf).softmax(-1)
        mixed = torch.einsum("bhij,bjd->bid", self.dropout(scores), x)
        shares = there[..., None] / there.sum(1)[:, None, None]
        logits: torch.Tensor = self.head((mixed * shares).sum(1))
        return logits


@pytest.mark.parametrize("build", [lambda: Reader("sdpa"), lambda: Reader("eager"), Scored])
def test_draws_of_a_text_do_not_depend_on_the_texts_beside_it(build: Any) -> None:
    inputs = Tokenization(file="none", digest="0", max_tokens=40, vocabulary=50, pad=0)
    classifier = Classifier(build(), inputs)
    rng = np.random.default_rng(0)
    lengths = [5, 31, 16, 8, 5, 40]
    batch = np.full((6, 40), PADDING, np.int32)
    for row, length in zip(batch, lengths, strict=True):
        row[:length] = rng.integers(1, 50, length)
    together = classifier.views(batch, ("draws",), n_drop=7, seed=4)["draws"]
    assert len({one.tobytes() for one in together[0]}) == 7
    assert together.std(axis=1).max() > 0.01
    for row, length, wanted in zip(batch, lengths, together, strict=True):
        alone = classifier.views(row[None, :length], ("draws",), n_drop=7, seed=4)["draws"][0]
        np.testing.assert_allclose(alone, wanted, atol=1e-5)

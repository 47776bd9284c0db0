"""Models of Transformers as networks of one input and one output.

Texts come as (B, L) tokens, `PADDING` where a text has ended, pictures as (B, 3, H, W)
normalised pixels. Out come (B, C) logits or (B, D) embeddings.
"""

from __future__ import annotations

from typing import Any, Literal, TypeAlias

import torch
from torch import Tensor, nn

from alaas.core.arrays import PADDING

Pooling: TypeAlias = Literal["mean", "cls"]


def _ids(tokens: Tensor, pad: int) -> tuple[Tensor, Tensor]:
    """(B, L) tokens with `pad` where a text has ended, and where it has not: 1, else 0."""
    mask = tokens != PADDING
    return tokens.masked_fill(~mask, pad), mask.long()


def _mean(hidden: Tensor, mask: Tensor) -> Tensor:
    weight = mask.unsqueeze(2).to(hidden.dtype)
    return (hidden * weight).sum(dim=1) / weight.sum(dim=1).clamp(min=1)


class TextClassifier(nn.Module):
    """A model that reads tokens and returns the logits of a text."""

    def __init__(self, model: nn.Module, pad: int) -> None:
        super().__init__()
        self.model, self.pad = model, pad

    def forward(self, tokens: Tensor) -> Tensor:
        """(B, L) to (B, C) logits."""
        ids, mask = _ids(tokens, self.pad)
        logits: Tensor = self.model(input_ids=ids, attention_mask=mask).logits
        return logits


class LastTokenClassifier(nn.Module):
    """A decoder with a linear layer `score`: the last token of a text has read all of it.

    The model itself computes the logits of every token, and cannot find the last one of a
    shorter text where its configuration names no padding token. Where it names one, which
    may be a token that ends texts as well, that is no last token, as in Transformers.
    """

    def __init__(self, model: Any, pad: int, *, padding: int | None) -> None:
        super().__init__()
        self.body, self.score = model.base_model, model.score
        self.pad, self.padding = pad, padding

    def forward(self, tokens: Tensor) -> Tensor:
        """(B, L) to (B, C) logits."""
        ids, mask = _ids(tokens, self.pad)
        hidden = self.body(input_ids=ids, attention_mask=mask, use_cache=False).last_hidden_state
        real = mask if self.padding is None else mask * (ids != self.padding)
        last = (real * torch.arange(ids.shape[1], device=ids.device)).argmax(dim=1)
        entering = hidden.gather(1, last.view(-1, 1, 1).expand(-1, 1, hidden.shape[2]))
        logits: Tensor = self.score(entering.squeeze(1))
        return logits


class TextEncoder(nn.Module):
    """A model that reads tokens and returns what it makes of each, pooled into an embedding.

    Args:
        model: The model.
        pad: Its padding token.
        pooling: Whether an embedding is the mean over a text's tokens, or the first of them.
        after: What else becomes of it, such as being scaled to length 1.
    """

    def __init__(self, model: nn.Module, pad: int, pooling: Pooling, after: nn.Module) -> None:
        super().__init__()
        self.model, self.pad, self.pooling, self.after = model, pad, pooling, after

    def extra_repr(self) -> str:
        """The pooling, which is no layer and makes another network of it."""
        return f"pooling={self.pooling}"

    def forward(self, tokens: Tensor) -> Tensor:
        """(B, L) to (B, D) embeddings."""
        ids, mask = _ids(tokens, self.pad)
        hidden: Tensor = self.model(input_ids=ids, attention_mask=mask).last_hidden_state
        pooled: Tensor = self.after(hidden[:, 0] if self.pooling == "cls" else _mean(hidden, mask))
        return pooled


class Unit(nn.Module):
    """Embeddings of length 1."""

    def forward(self, embeddings: Tensor) -> Tensor:
        """(B, D) to (B, D)."""
        return nn.functional.normalize(embeddings, dim=1)


class ImageClassifier(nn.Module):
    """A model that looks at pictures and returns their logits."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model = model

    def forward(self, pixels: Tensor) -> Tensor:
        """(B, 3, H, W) to (B, C) logits."""
        logits: Tensor = self.model(pixel_values=pixels).logits
        return logits


class ImageEncoder(nn.Module):
    """A model that looks at pictures and returns a map of them, or tokens, pooled.

    Args:
        model: The model.
        pooling: Whether an embedding is the mean over all places, or the first token.
    """

    def __init__(self, model: nn.Module, pooling: Pooling) -> None:
        super().__init__()
        self.model, self.pooling = model, pooling

    def extra_repr(self) -> str:
        """The pooling, which is no layer and makes another network of it."""
        return f"pooling={self.pooling}"

    def forward(self, pixels: Tensor) -> Tensor:
        """(B, 3, H, W) to (B, D) embeddings."""
        hidden: Tensor = self.model(pixel_values=pixels).last_hidden_state
        if hidden.ndim == 4:
            return hidden.mean(dim=(2, 3))
        return hidden[:, 0] if self.pooling == "cls" else hidden.mean(dim=1)

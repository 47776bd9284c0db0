"""The last layer of a network: what it receives, and what training it would change."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

TOLERANCE = 1e-4
"""Rounding that is forgiven, as a share of the absolute terms that a logit is the sum of."""


def argument(given: tuple[Tensor, ...], named: Mapping[str, Tensor]) -> Tensor:
    """What a layer is called with: `layer(x)` or `layer(input=x)`."""
    return given[0] if given else named["input"]


def flat(entering: Tensor, real: Tensor | None = None) -> Tensor:
    """(B, D) from (B, D), from a (B, D, H, W) map or from (B, L, D) tokens.

    Args:
        entering: What a layer receives.
        real: (B, L) which tokens of a text are not padding. Only these are in its mean, so
            that it is the same whatever texts are beside it.
    """
    if entering.ndim == 4:
        return entering.mean(dim=(2, 3))
    if entering.ndim != 3:
        return entering
    if real is None or entering.shape[:2] != real.shape:
        return entering.mean(dim=1)
    # In float32, in which a sum of many tokens fits.
    kept = entering.float().masked_fill(~real.unsqueeze(2), 0)
    return kept.sum(dim=1) / real.sum(dim=1, keepdim=True).clamp(min=1)


def as_matrix(
    layer: nn.Module | None, embeddings: Tensor, logits: Tensor
) -> NDArray[np.float32] | None:
    """The layer as one (C, D + 1) matrix, weights and bias, where that is all it does.

    Args:
        layer: The layer that makes the logits, if any.
        embeddings: (B, D) what it received, `flat`.
        logits: (B, C) what the network then returned.

    Returns:
        None where ``logits = embeddings @ matrix[:, :-1].T + matrix[:, -1]`` does not hold:
        the layer is not linear, or the network changes what it returns.
    """
    if not isinstance(layer, nn.Linear) or layer.out_features != logits.shape[1]:
        return None
    weight = layer.weight.detach().cpu().double()
    bias = weight.new_zeros(len(weight)) if layer.bias is None else layer.bias.detach().cpu()
    matrix = torch.column_stack([weight, bias.double()])
    features = embeddings.cpu().double()
    features = torch.column_stack([features, features.new_ones(len(features))])
    error = (features @ matrix.T - logits.cpu()).abs()
    if not bool((error <= TOLERANCE * (features.abs() @ matrix.abs().T)).all()):
        return None
    return matrix.float().numpy()


def gradient_lengths(logits: Tensor, embeddings: Tensor) -> Tensor:
    """Length of the gradient that each label would cause in a linear last layer.

    ``g(x, y) = |p - e_y| sqrt(|h|^2 + 1)``, with p the softmax of the logits, e_y the y-th
    unit vector and h the embedding; the 1 is the bias. In float64, on the CPU.

    Args:
        logits: (B, C).
        embeddings: (B, D).

    Returns:
        (B, C) Euclidean lengths, >= 0, of the gradient of the cross-entropy with respect to
        weights and bias together.
    """
    probs = torch.softmax(logits.cpu().double(), dim=1)
    squared = probs.square().sum(dim=1, keepdim=True) - 2 * probs + 1
    # Where p_y is near 1 that is a small difference of large numbers: sum up the rest instead.
    top = probs.argmax(dim=1, keepdim=True)
    rest = probs.scatter(1, top, 0)
    missing = rest.sum(dim=1, keepdim=True).square() + rest.square().sum(dim=1, keepdim=True)
    squared.scatter_(1, top, missing)
    features = embeddings.cpu().double()
    return squared.sqrt() * (features.square().sum(dim=1, keepdim=True) + 1).sqrt()

"""Oracles of `alaas.strategies.model_change`."""

from __future__ import annotations

from fractions import Fraction

from oracles.tables import Array, Score


def expected_gradient_length(probs: Array, grads: Array) -> float:
    """The sum in exact arithmetic."""
    pairs = zip(map(Fraction, map(float, probs)), map(Fraction, map(float, grads)), strict=True)
    return float(sum(p * length for p, length in pairs))


def deep_fool(margin: float) -> float:
    return -float(margin)


SCORES: dict[str, Score] = {
    "expected_gradient_length": expected_gradient_length,
    "deep_fool": deep_fool,
}

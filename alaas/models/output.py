"""What a network returns. Free of torch."""

from __future__ import annotations

from typing import Literal, TypeAlias

from alaas.config import ModelSettings

Output: TypeAlias = Literal["softmax", "sigmoid", "embedding", "value", "segmentation", "detection"]
"""Logits of one class or of several, embeddings, values, maps of logits, or boxes."""


def stated(settings: ModelSettings) -> Output:
    """What the configuration says that a network returns: logits of one class if nothing."""
    return "softmax" if settings.output == "auto" else settings.output

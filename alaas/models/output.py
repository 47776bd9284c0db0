"""What a network returns. Free of torch."""

from __future__ import annotations

from typing import Literal, TypeAlias

Output: TypeAlias = Literal["softmax", "sigmoid", "embedding", "value", "segmentation", "detection"]
"""Logits of one class or of several, embeddings, values, maps of logits, or boxes."""

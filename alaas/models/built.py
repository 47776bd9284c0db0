"""What a hub gives: a network, and what running it does not tell of it."""

from __future__ import annotations

from dataclasses import dataclass

from torch import nn

from alaas.config import Inputs
from alaas.models.card import Runtime
from alaas.models.output import Output


@dataclass(frozen=True, slots=True)
class Built:
    """A network with its weights.

    Attributes:
        network: From a batch as `alaas.models.entry` gives it to what `output` says: (B, C)
            logits, or (B, D) embeddings, and so on.
        inputs: What turns an item into a row of that batch.
        categories: Names of its classes, or none where they are not known.
        output: What it returns. It is said by who built the network, never guessed.
        origin: What was loaded beside `name` and `weights`, such as a commit; for the card.
        head: Name of the layer whose input its embeddings are, where the hub knows it.
        runtime: What runs it where that is not torch: the network only passes on what it gets,
            and nothing can be converted.
    """

    network: nn.Module
    inputs: Inputs
    categories: tuple[str, ...] = ()
    output: Output = "softmax"
    origin: str = ""
    head: str | None = None
    runtime: Runtime | None = None

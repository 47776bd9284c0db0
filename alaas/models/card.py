"""What is known of a model before a single item is predicted. Free of torch."""

from __future__ import annotations

import hashlib
import json
from dataclasses import asdict, dataclass
from typing import Any, Literal, TypeAlias

from alaas.config import DEFAULT, Inputs, Modality, ModelSettings, read_inputs
from alaas.models.output import Output

Runtime: TypeAlias = Literal["torch", "openvino", "onnxruntime", "sklearn"]
Precision: TypeAlias = Literal["fp32", "bf16", "fp16"]

WAYS_OUT = (
    "set draws.by to dropconnect, ensemble or (for pictures) augment, or draws.head_only to true"
)
"""How a model comes to several predictions of an item, where it has no dropout."""


@dataclass(frozen=True, slots=True)
class ModelCard:
    """A model, as `GET /models` shows it.

    Attributes:
        name: Its name in its hub.
        hub: Where it comes from.
        weights: The weights it carries: a name, a path, or ``none`` for random ones.
        digest: SHA-256 over its numbers, layers and code, 16 hexadecimal digits of it.
        classes: Number of classes, C; 0 where it predicts none.
        categories: Their names, or an empty tuple where the weights carry none.
        dim: Dimensions of its embeddings, D; 0 where it has no linear or convolutional head.
        preprocessing: What turns an item into its input.
        views: The views that it can compute.
        runtime: What runs it: ``torch``, ``openvino`` or ``onnxruntime``; ``sklearn`` for an
            estimator of this process.
        precision: The number format that it computes in: ``fp32``, ``bf16`` or ``fp16``.
        output: What it returns, such as ``softmax`` for the logits of one class an item.
        draws: Where several predictions of an item come from, in a few words.
        head_draws: How they come of stored embeddings, as `HeadDraws` writes it; empty if not so.
        most_draws: How many of these there are at most; 0 for any number.
        reduction: What makes one uncertainty of those of an item's labels, pixels or boxes;
            empty where it makes one prediction.
        origin: What else its hub says of it, such as the commit.
        served_as: The name by which a query asks a server for it.
        head: Name of the layer whose input its embeddings are; empty where they are its output.
        margins: What its margins are distances of, ``input`` or ``embedding``; empty where it
            has none.
    """

    name: str
    hub: str
    weights: str
    digest: str
    classes: int
    categories: tuple[str, ...]
    dim: int
    preprocessing: Inputs
    views: tuple[str, ...]
    runtime: Runtime = "torch"
    precision: Precision = "fp32"
    output: Output = "softmax"
    draws: str = ""
    head_draws: str = ""
    most_draws: int = 0
    reduction: str = ""
    origin: str = ""
    served_as: str = DEFAULT
    head: str = ""
    margins: str = ""

    @property
    def modality(self) -> Modality:
        """What an item is: ``image``, ``text`` or ``vector``."""
        return self.preprocessing.modality

    @property
    def space(self) -> str:
        """Where its numbers live: those of one space can stand in one matrix.

        A digest of 16 hexadecimal digits of all that they depend on beside the item itself:
        the network, the preprocessing with its decoding, the runtime and the precision, what
        is made of its output, where draws come from, which layer's input embeddings are and
        what margins are distances of. The number of threads and of items in a micro-batch,
        which move last digits, are not in it.
        """
        spec = self.preprocessing.model_dump(mode="json", exclude={"file"})
        parts = (
            self.digest, spec, self.runtime, self.precision, self.output, self.draws, self.head,
            self.margins,
        )  # fmt: skip
        said = json.dumps(parts, sort_keys=True)
        return hashlib.blake2b(said.encode(), digest_size=8).hexdigest()

    def to_json(self) -> dict[str, Any]:
        """The card as it stands in an answer."""
        spec = self.preprocessing.model_dump(mode="json")
        return {**asdict(self), "preprocessing": spec, "modality": self.modality}

    @classmethod
    def from_json(cls, document: dict[str, Any]) -> ModelCard:
        """Read what `to_json` wrote."""
        known = {name: value for name, value in document.items() if name != "modality"}
        return cls(
            **{
                **known,
                "categories": tuple(document["categories"]),
                "views": tuple(document["views"]),
                "preprocessing": read_inputs(document["preprocessing"]),
            }
        )


def resolved(settings: ModelSettings, card: ModelCard) -> ModelSettings:
    """The settings with what ``auto`` came to, so that every replica computes the same.

    Args:
        settings: The model section of the configuration.
        card: The model that they gave once.
    """
    return settings.model_copy(update={"runtime": card.runtime, "precision": card.precision})

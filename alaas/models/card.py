"""What is known of a model before a single item is predicted. Free of torch."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

from alaas.config import Preprocessing


@dataclass(frozen=True, slots=True)
class ModelCard:
    """A model, as `GET /models` shows it.

    Attributes:
        name: Its name in its hub.
        hub: Where it comes from.
        weights: The weights it carries: a name, a path, or ``none`` for random ones.
        digest: SHA-256 over its parameters and buffers, 16 hexadecimal digits of it.
        classes: Number of classes, C.
        categories: Their names, or an empty tuple where the weights carry none.
        dim: Dimensions of its embeddings, D; 0 where it has no linear or convolutional head.
        preprocessing: What turns an image into its input.
        views: The views that it can compute.
    """

    name: str
    hub: str
    weights: str
    digest: str
    classes: int
    categories: tuple[str, ...]
    dim: int
    preprocessing: Preprocessing
    views: tuple[str, ...]

    def to_json(self) -> dict[str, Any]:
        """The card as it stands in an answer."""
        return {**asdict(self), "preprocessing": self.preprocessing.model_dump(mode="json")}

    @classmethod
    def from_json(cls, document: dict[str, Any]) -> ModelCard:
        """Read what `to_json` wrote."""
        return cls(
            **{
                **document,
                "categories": tuple(document["categories"]),
                "views": tuple(document["views"]),
                "preprocessing": Preprocessing.model_validate(document["preprocessing"]),
            }
        )

"""An item of ours, by which the stages prove that they work."""

from __future__ import annotations

import uuid
from io import BytesIO

from PIL import Image

from alaas.config import Inputs, Vectors
from alaas.core.types import Items, Plan
from alaas.core.wire import Item
from alaas.models.card import ModelCard
from alaas.strategies.declaration import MODEL


def plan(card: ModelCard) -> Plan:
    """A query of its own, which finds nothing in the store and leaves nothing there.

    It asks for probabilities of one class and scores them or, where there are none, for the first
    thing that it computes of an item, which is then only kept and forgotten.
    """
    name = f"canary-{uuid.uuid4().hex}"
    scores = "probs" in card.views and card.output == "softmax"
    views = ("probs",) if scores else [view for view in card.views if view not in MODEL][:1]
    strategy = "least_confidence" if scores else ""
    return Plan(name, strategy, {}, 0, 1, tuple(views), cache=False, model=card.served_as)


def items(card: ModelCard) -> Items:
    """A micro-batch of one that is within any limits: a picture, a text or a vector."""
    return Items(0, (_item(card.preprocessing),))


def _item(inputs: Inputs) -> Item:
    if inputs.modality == "text":
        return Item("canary", text="A canary sings.")
    return Item("canary", blob=bytes(4 * inputs.dim) if isinstance(inputs, Vectors) else _PICTURE)


def _drawn() -> bytes:
    stream = BytesIO()
    Image.linear_gradient("L").resize((16, 16)).save(stream, "PNG")
    return stream.getvalue()


_PICTURE = _drawn()
"""16 x 16, grey, a gradient."""

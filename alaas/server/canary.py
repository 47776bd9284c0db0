"""A picture of ours, by which the stages prove that they work."""

from __future__ import annotations

import uuid
from io import BytesIO

from PIL import Image

from alaas.core.types import Items, Plan
from alaas.core.wire import Item


def plan() -> Plan:
    """A query of its own, which finds nothing in the store and leaves nothing there."""
    name = f"canary-{uuid.uuid4().hex}"
    return Plan(name, "least_confidence", {}, 0, 1, ("probs",), cache=False)


def _drawn() -> bytes:
    stream = BytesIO()
    Image.linear_gradient("L").resize((16, 16)).save(stream, "PNG")
    return stream.getvalue()


ITEMS = Items(0, (Item("canary", blob=_drawn()),))
"""A micro-batch of one that is within any limits: 16 x 16, grey, a gradient."""

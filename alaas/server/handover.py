"""The model's card, which the gateway waits for: its ports are open before it is known."""

from __future__ import annotations

import json
import os
from pathlib import Path

from alaas.config import Settings
from alaas.models.card import ModelCard, resolved

NAME = "card.json"


def write(runtime: Path, card: ModelCard) -> None:
    """Hand the card over, as a whole.

    Args:
        runtime: The runtime folder of the server.
        card: The card.
    """
    new = runtime / f"{NAME}.new"
    new.write_text(json.dumps(card.to_json()), encoding="utf-8")
    os.replace(new, runtime / NAME)


def read(runtime: Path) -> ModelCard | None:
    """The card, or None while nobody knows it."""
    try:
        return ModelCard.from_json(json.loads((runtime / NAME).read_bytes()))
    except FileNotFoundError:
        return None


def settled(settings: Settings, card: ModelCard) -> Settings:
    """The configuration with the runtime that the model was loaded with: for all replicas."""
    chosen = settings.active_learning.strategy
    strategy = chosen.model_copy(update={"model": resolved(chosen.model, card)})
    active = settings.active_learning.model_copy(update={"strategy": strategy})
    return settings.model_copy(update={"active_learning": active})

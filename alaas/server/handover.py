"""The cards of the models. The gateway waits for them: its ports are open before they are known."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from pathlib import Path

from alaas.config import Settings
from alaas.models.card import ModelCard, resolved

NAME = "cards.json"


def write(runtime: Path, cards: Mapping[str, ModelCard]) -> None:
    """Hand the cards over, as a whole.

    Args:
        runtime: The runtime folder of the server.
        cards: Each by the name under which a query asks for its model.
    """
    new = runtime / f"{NAME}.new"
    told = {name: card.to_json() for name, card in cards.items()}
    new.write_text(json.dumps(told), encoding="utf-8")
    os.replace(new, runtime / NAME)


def read(runtime: Path) -> dict[str, ModelCard] | None:
    """The cards by name, or None while nobody knows them."""
    try:
        told = json.loads((runtime / NAME).read_bytes())
    except FileNotFoundError:
        return None
    return {name: ModelCard.from_json(card) for name, card in told.items()}


def settled(settings: Settings, cards: Mapping[str, ModelCard]) -> Settings:
    """The configuration with the runtimes that the models were loaded with: for all replicas."""
    chosen = settings.active_learning.strategy
    model, *others = (resolved(given, cards[name]) for name, given in chosen.served.items())
    models = dict(zip(chosen.models, others, strict=True))
    strategy = chosen.model_copy(update={"model": model, "models": models})
    active = settings.active_learning.model_copy(update={"strategy": strategy})
    return settings.model_copy(update={"active_learning": active})

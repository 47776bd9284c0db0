"""One independent implementation a strategy: slow, obvious, and sharing no code with it."""

from __future__ import annotations

import importlib
import pkgutil
from typing import Any

from oracles.tables import Chance, Score, Seeded, Tied


def _merged(table: str) -> dict[str, Any]:
    merged: dict[str, Any] = {}
    for module in pkgutil.iter_modules(__path__):
        found = getattr(importlib.import_module(f"oracles.{module.name}"), table, {})
        assert not merged.keys() & found.keys()
        merged |= found
    return merged


SCORES: dict[str, Score] = _merged("SCORES")
PICKS: dict[str, Tied] = _merged("PICKS")
SEEDED: dict[str, Seeded] = _merged("SEEDED")
CHANCE: dict[str, Chance] = _merged("CHANCE")

"""The models of a server: which one a query asks for."""

from __future__ import annotations

from collections.abc import Sequence

from alaas.config import DIGEST
from alaas.core.errors import FieldError, UnknownModel
from alaas.models.card import ModelCard
from alaas.pipeline.engine import Engine


class Models:
    """An engine for each model that the operator lets queries ask for.

    Args:
        engines: One for each, the default one first. They share what runs the stages.
    """

    def __init__(self, engines: Sequence[Engine]) -> None:
        self._engines = {engine.card.served_as: engine for engine in engines}

    @property
    def default(self) -> Engine:
        """The engine for queries that name no model."""
        return next(iter(self._engines.values()))

    @property
    def cards(self) -> list[ModelCard]:
        """All models, the default one first."""
        return [engine.card for engine in self._engines.values()]

    def find(self, asked: str | None) -> Engine:
        """The engine for the model that a query names.

        A digest that none has is one of an old receipt, whose query is played again: the default
        model answers, and the answer says that it is another.

        Args:
            asked: The name under which a model is served, or its digest; None for the default, and
                nothing, which the receipt of a strategy without a model has.

        Raises:
            UnknownModel: None has that name, or several have that digest.
        """
        if not asked:
            return self.default
        if asked in self._engines:
            return self._engines[asked]
        found = [name for name, one in self._engines.items() if one.card.digest == asked]
        if len(found) == 1 or (not found and DIGEST.fullmatch(asked)):
            return self._engines[found[0]] if found else self.default
        message = f"there is no model {asked!r}; there is {', '.join(self._engines)}"
        if found:  # the same network with other inputs, or another output
            message = f"several models have the digest {asked}: name {' or '.join(found)}"
        raise UnknownModel(message, errors=[FieldError("/parameters/model", message)])

    def of_space(self, space: str) -> Engine:
        """The engine for the model of which a pool was stored, or the default one."""
        found = (one for one in self._engines.values() if one.card.space == space)
        return next(found, self.default)

"""What a query will run, settled and checked before the first item is fetched."""

from __future__ import annotations

from collections.abc import Sequence
from time import perf_counter

from alaas.config import QueryParameters, StrategySettings
from alaas.core.errors import FieldError, ViewUnavailable
from alaas.core.types import Plan
from alaas.models.card import ModelCard
from alaas.pipeline import deadline
from alaas.strategies import Sizes, Strategy, registry
from alaas.strategies.preflight import preflight
from alaas.strategies.views import missing_labels
from alaas.strategies.wrappers import Wrappers, own, unfillable

N_DROP = 10
"""Stochastic passes of the model, for a strategy that reads several and a query that names none."""

LARGEST = 2**62


def plan(
    parameters: QueryParameters,
    defaults: StrategySettings,
    query: str,
    card: ModelCard | None = None,
) -> Plan:
    """Settle what a query will run, and refuse what cannot be run.

    Args:
        parameters: What the caller asked for.
        defaults: The strategy to run where the caller named none.
        query: Id of the query.
        card: The model that will run, where it is known already.

    Raises:
        UnknownStrategy: No strategy has that name.
        ValidationFailed: A hyper-parameter is unknown or out of range, or labelled items
            are missing.
        ViewUnavailable: The model cannot compute what the strategy reads.
        BudgetUnfillable: The quotas of all classes together are less than the budget.
    """
    strategy = registry.get(parameters.strategy or defaults.type)
    # The operator's hyper-parameters belong to the operator's strategy.
    own = strategy.name == registry.get(defaults.type).name
    given = {**(defaults.params if own else {}), **parameters.params}
    params = registry.check_params(strategy, given)
    wrappers = Wrappers.of(params)
    needs = tuple(dict.fromkeys((*strategy.needs, *wrappers.needs)))
    if strategy.labelled and not parameters.labelled:
        raise missing_labels(strategy)
    if card is not None:
        check_views(strategy, needs, card)
        if wrappers.per_class and wrappers.per_class * card.classes < parameters.budget:
            raise unfillable(wrappers.per_class * card.classes, parameters.budget)
    return Plan(
        query=query,
        strategy=strategy.name,
        params=params,
        seed=parameters.seed,
        budget=parameters.budget,
        needs=needs,
        n_drop=parameters.n_drop or N_DROP,
        cache=parameters.cache,
        pool=parameters.pool,
        deadline=deadline.after(parameters.timeout_s),
    )


def check_views(strategy: Strategy, needs: Sequence[str], card: ModelCard) -> None:
    """Refuse a strategy that reads what the model cannot compute, or what says nothing."""
    lacking = [name for name in needs if name not in card.views]
    if "draws" in lacking:
        why = f"needs several predictions of an item, and {card.name} has no dropout to draw them"
    elif lacking:
        why = f"needs the view {lacking[0]}, and {card.name} has only {', '.join(card.views)}"
    elif card.classes == 1 and {"probs", "draws"} & set(needs):
        why = f"compares classes, and {card.name} has one: its probability is always 1"
    else:
        return
    message = f"{strategy.name} {why}"
    raise ViewUnavailable(message, errors=[FieldError("/parameters/strategy", message)])


class Preflight:
    """Refuses a pool as soon as it is seen to be too large for its strategy."""

    def __init__(
        self, settled: Plan, card: ModelCard, labelled: int, timeout_s: float | None
    ) -> None:
        self._strategy = registry.get(settled.strategy)
        self._plan = settled
        self._card = card
        self._labelled = labelled
        self._most = Wrappers.of(settled.params).max_pool or LARGEST
        self._end = None if timeout_s is None else perf_counter() + timeout_s
        self._next = 1_000
        """Items at which to look again: looking at every part of a long stream costs more."""

    def left(self) -> float | None:
        """Seconds until the query's deadline."""
        return None if self._end is None else max(0.0, self._end - perf_counter())

    def check(self, received: int) -> None:
        """Check a pool of which so much has arrived."""
        if received < self._next or self._strategy.kind == "scorer":
            return
        self._next = 2 * received
        sizes = Sizes(
            N=min(received, self._most),
            K=min(self._plan.budget, received),
            M=self._labelled,
            C=self._card.classes,
            D=self._card.dim,
            T=self._plan.n_drop if "draws" in self._plan.needs else 0,
        )
        preflight(self._strategy, sizes, own(self._plan.params), seconds=self.left())

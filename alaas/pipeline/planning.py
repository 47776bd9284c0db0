"""What a query will run, settled and checked before the first item is fetched."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from time import perf_counter

from alaas.config import QueryParameters, StrategySettings
from alaas.core.errors import FieldError, ValidationFailed, ViewUnavailable
from alaas.core.types import Plan
from alaas.models.card import WAYS_OUT, ModelCard
from alaas.pipeline import calibrating, deadline, measures
from alaas.pipeline.measures import MEASURED
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
        ValidationFailed: A hyper-parameter is unknown or out of range, labelled items are
            missing, or there are fewer predictions of an item than `n_drop`.
        ViewUnavailable: The model cannot compute what the strategy reads.
        BudgetUnfillable: The quotas of all classes together are less than the budget.
    """
    strategy = registry.get(parameters.strategy or defaults.type)
    # The operator's hyper-parameters belong to the operator's strategy.
    own = strategy.name == registry.get(defaults.type).name
    given = {**(defaults.params if own else {}), **parameters.params}
    params = registry.check_params(strategy, given)
    wrappers = Wrappers.of(params)
    needs = measures.views_of(strategy, params, card)
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
        n_drop=passes(parameters.n_drop, needs, card),
        head_draws=card.head_draws if card is not None else "",
        cache=parameters.cache,
        pool=parameters.pool,
        measure=strategy.name if {*MEASURED.values()} & {*needs} else "",
        reduction=card.reduction if card is not None else "",
        calibrate=calibrating.chosen(
            parameters.calibrate, needs, labelled=bool(parameters.labelled), card=card
        ),
        model=card.served_as if card is not None else "",
        digest=card.digest if card is not None else "",
        space=card.space if card is not None else "",
        deadline=deadline.after(parameters.timeout_s),
    )


def passes(n_drop: int | None, needs: Iterable[str], card: ModelCard | None) -> int:
    """Predictions of an item: as many as are asked for, `N_DROP`, or all there are.

    Raises:
        ValidationFailed: There are fewer, and the strategy reads them.
    """
    most = card.most_draws if card is not None else 0
    if not most:
        return n_drop or N_DROP
    if n_drop is not None and n_drop > most and {"draws", "disagreement"}.intersection(needs):
        message = f"must be at most {most}, as many as the model has networks, got {n_drop}"
        raise ValidationFailed(
            f"n_drop {message}", errors=[FieldError("/parameters/n_drop", message)]
        )
    return min(n_drop or most, most)


def check_views(strategy: Strategy, needs: Sequence[str], card: ModelCard) -> None:
    """Refuse a strategy that reads what the model cannot compute, or what says nothing."""
    lacking = [name for name in needs if name not in card.views]
    if {"draws", "disagreement"}.intersection(lacking):
        why = f"needs several predictions of an item, and {card.name} "
        if card.output in {"embedding", "detection"}:
            why += f"has none: its output is {card.output}"
        else:
            why += f"has no dropout to draw them: {WAYS_OUT}"
    elif lacking:
        why = f"needs the view {lacking[0]}, and {card.name} has only {', '.join(card.views)}"
        if card.output == "embedding":
            why += ": it has no classes; k_center, for one, needs none"
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
            T=self._plan.n_drop if self._plan.draws else 0,
        )
        preflight(self._strategy, sizes, own(self._plan.params), seconds=self.left())

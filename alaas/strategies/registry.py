"""The table of strategies, and `run`, the one door to them.

A strategy is a function under the decorator::

    @strategy(family="uncertainty", aliases=("ES",), cost="O(N C)", paper="Shannon 1948", use=...)
    def entropy(probs: Probs) -> Scores: ...

Its positional parameters name the views that it needs: of the pool (`declaration.AXES`), of
the model (`declaration.MODEL`) and of what is labelled (`declaration.LABELLED`). A ``budget``
makes it a picker, which returns `Picks`, and can also take ``n`` and ``rng``; without one it
is a scorer, which returns a score a row, higher = more wanted. Keyword-only parameters are
its hyper-parameters. Strategies never see ids, configuration, devices or loggers.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from difflib import get_close_matches
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from alaas.core.errors import FieldError, UnknownStrategy
from alaas.core.types import Selection
from alaas.strategies.arguments import check_params
from alaas.strategies.declaration import Estimate, Picks, Strategy, declare
from alaas.strategies.parameters import Param, Range
from alaas.strategies.preflight import scales
from alaas.strategies.selection import check_pool, choose, kept, pick, score
from alaas.strategies.views import DISTRIBUTIONS, softmax
from alaas.strategies.wrappers import COMMON, Wrappers

__all__ = [
    "Param",
    "Picks",
    "Range",
    "Registry",
    "Strategy",
    "check_params",
    "check_pool",
    "choose",
    "common_to_json",
    "get",
    "kept",
    "names",
    "pick",
    "run",
    "score",
    "strategies",
    "strategy",
    "to_json",
]

Function = TypeVar("Function", bound=Callable[..., Any])


class Registry:
    """A table of strategies by name and alias.

    Names are compared without case and separators: ``LeastConfidence``,
    ``least_confidence`` and ``least-confidence`` are one name.
    """

    def __init__(self) -> None:
        self._strategies: dict[str, Strategy] = {}
        self._by_key: dict[str, Strategy] = {}

    def strategy(
        self,
        *,
        family: str,
        aliases: Sequence[str] = (),
        cost: str,
        paper: str,
        use: str,
        floor: float | None = None,
        work: Estimate | None = None,
    ) -> Callable[[Function], Function]:
        """Declare a function to be a strategy; it is returned unchanged.

        Args:
            family: Strategies of one kind share it.
            aliases: Other names of it.
            cost: Its time, such as ``O(N C)``.
            paper: Where it comes from.
            use: One line on when to choose it.
            floor: The least score that a scorer can give, where there is one.
            work: What a picker takes in time and memory.

        Raises:
            TypeError: The function cannot be a strategy, or one of its names is taken.
        """

        def declared(function: Function) -> Function:
            self._add(
                declare(
                    function, family=family, aliases=aliases, cost=cost, paper=paper,
                    use=use, floor=floor, work=work,
                )
            )  # fmt: skip
            return function

        return declared

    def _add(self, added: Strategy) -> None:
        if taken := {param.name for param in added.params} & {param.name for param in COMMON}:
            raise TypeError(
                f"strategy {added.name}: every strategy has the hyper-parameter "
                f"{min(taken)} already"
            )
        keys = {_key(name): name for name in (added.name, *added.aliases)}
        for key, name in keys.items():
            if key in self._by_key:
                raise TypeError(
                    f"strategy {added.name}: {self._by_key[key].name} has the name {name!r} already"
                )
        self._strategies[added.name] = added
        self._by_key.update(dict.fromkeys(keys, added))

    def get(self, name: str) -> Strategy:
        """The strategy that has a name or an alias.

        Raises:
            UnknownStrategy: None has it; the error lists those that there are.
        """
        found = self._by_key.get(_key(name))
        if found is None:
            raise self._unknown(name)
        return found

    def _unknown(self, name: str) -> UnknownStrategy:
        spelled = {_key(valid): valid for valid in self.names()}
        near = [repr(spelled[key]) for key in get_close_matches(_key(name), spelled)]
        guess = f"; did you mean {' or '.join(near)}?" if near else ";"
        valid = ", ".join(known.name for known in self.strategies())
        message = (
            f"no strategy has the name {name!r}{guess} valid names are {valid}; each has aliases, "
            "which `alaas strategies` and GET /strategies list"
        )
        return UnknownStrategy(message, errors=[FieldError("/parameters/strategy", message)])

    def strategies(self) -> tuple[Strategy, ...]:
        """Every strategy, sorted by name."""
        return tuple(self._strategies[name] for name in sorted(self._strategies))

    def names(self) -> tuple[str, ...]:
        """Every name and alias, as they are spelled, sorted."""
        return tuple(
            sorted({name for known in self.strategies() for name in (known.name, *known.aliases)})
        )

    def run(
        self,
        name: str,
        views: Mapping[str, Any],
        *,
        ids: Sequence[str],
        budget: int,
        params: Mapping[str, Any] | None = None,
        seed: int = 0,
        groups: NDArray[np.integer] | None = None,
        logits: bool = False,
        model: str = "",
    ) -> Selection:
        """Choose the items of a pool that are most worth labelling.

        Args:
            name: Name or alias of a strategy.
            views: View name to its N rows; those that the strategy does not take are ignored.
            ids: N ids, in pool order.
            budget: Items wanted, at least 1; more than N gives all.
            params: Hyper-parameters of the strategy; those left out have their defaults.
            seed: Seed of its random generator.
            groups: (N,) number of the group of each row, for `per_group`.
            logits: Whether probs, draws and labelled_probs hold logits, whose softmax is then
                taken first. It is never guessed from the numbers.
            model: Digest of the model that made the views, for the record.

        Returns:
            The chosen ids, best first; of equal scores the lowest row first.

        Raises:
            UnknownStrategy: No strategy has that name.
            EmptyInput: The pool has no rows.
            ValidationFailed: The budget, the seed or a hyper-parameter is not allowed, or a
                view that the strategy needs is missing.
            ModelOutputInvalid: A view, or a score made from it, cannot be ranked.
        """
        known = self.get(name)
        given = check_params(known, params)
        if logits:
            given_as = {name: views[name] for name in DISTRIBUTIONS if name in views}
            views = {**views, **{name: softmax(view) for name, view in given_as.items()}}
        settled: dict[str, Any] = {
            "ids": ids, "budget": budget, "params": given, "seed": seed, "groups": groups,
            "model": model,
        }  # fmt: skip
        if known.kind == "picker":
            return pick(known, views, **settled)
        scores = score(known, views, given)
        return choose(known, scores, views=kept(views, Wrappers.of(given)), **settled)


def _key(name: str) -> str:
    return "".join(letter for letter in str(name).casefold() if letter.isalnum())


def to_json(strategy: Strategy) -> dict[str, Any]:
    """A strategy as it stands in the catalogue."""
    return {
        "name": strategy.name,
        "aliases": list(strategy.aliases),
        "family": strategy.family,
        "needs": list(strategy.needs),
        "labelled": list(strategy.labelled),
        "optional": list(strategy.optional),
        "cost": strategy.cost,
        "paper": strategy.paper,
        "params": {param.name: param.to_json() for param in strategy.params},
        "summary": strategy.summary,
        "use": strategy.use,
        "scales": scales(strategy),
    }


def common_to_json() -> dict[str, Any]:
    """The hyper-parameters that every strategy has beside its own, as the catalogue has them."""
    return {param.name: param.to_json() for param in COMMON}


REGISTRY = Registry()
"""The strategies of this library."""

strategy = REGISTRY.strategy
get = REGISTRY.get
strategies = REGISTRY.strategies
names = REGISTRY.names
run = REGISTRY.run

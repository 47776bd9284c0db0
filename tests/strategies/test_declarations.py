"""What a function may look like to be a strategy; all else fails when it is declared."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Annotated, Any, Literal

import numpy as np
import pytest

from alaas.core.arrays import Embeddings, Head, Labels, Probs, Scores
from alaas.strategies import Param, Picks, Range, Registry, Sizes, Work


def declare(function: Callable[..., Any], **changes: Any) -> Registry:
    registry = Registry()
    given = {"family": "toys", "cost": "O(N)", "paper": "Toy 2001", "use": "Never.", **changes}
    registry.strategy(**given)(function)
    return registry


def nothing(sizes: Sizes, params: Mapping[str, Any]) -> Work:
    return Work(flops=0, memory=0)


def toy_scorer(
    probs: Probs,
    *,
    power: Annotated[float, Range(0, None), "The exponent."] = 1.0,
    rounds: Annotated[int, Range(1, 9)] = 2,
    base: Literal["two", "e"] = "e",
    sharp: bool = False,
    note: str = "",
) -> Scores:
    """First line.

    Second paragraph.
    """
    return probs[:, 0]


def toy_picker(
    n: int,
    budget: int,
    rng: np.random.Generator,
    embeddings: Embeddings,
    labelled_embeddings: Embeddings,
    labels: Labels | None = None,
) -> Picks:
    """Picks."""
    return Picks(np.arange(budget), np.zeros(budget))


def test_a_scorer_is_read_from_its_signature() -> None:
    strategy = declare(toy_scorer, aliases=("Toy", "T")).get("T")
    assert (strategy.name, strategy.aliases) == ("toy_scorer", ("Toy", "T"))
    assert (strategy.kind, strategy.family) == ("scorer", "toys")
    assert (strategy.cost, strategy.paper, strategy.summary) == ("O(N)", "Toy 2001", "First line.")
    assert (strategy.needs, strategy.labelled, strategy.optional) == (("probs",), (), ())
    assert strategy.reserved == ()
    assert strategy.params == (
        Param("power", float, 1.0, minimum=0, help="The exponent."),
        Param("rounds", int, 2, minimum=1, maximum=9),
        Param("base", str, "e", choices=("two", "e")),
        Param("sharp", bool, False),
        Param("note", str, ""),
    )


def test_a_budget_makes_a_picker() -> None:
    strategy = declare(toy_picker, work=nothing).get("toy_picker")
    assert (strategy.kind, strategy.needs) == ("picker", ("embeddings",))
    assert (strategy.labelled, strategy.optional) == (("labelled_embeddings",), ("labels",))
    assert strategy.reserved == ("n", "budget", "rng")
    assert strategy.work is nothing


def test_the_function_is_returned_unchanged() -> None:
    decorate = Registry().strategy(family="toys", cost="O(N)", paper="Toy 2001", use="Never.")
    assert decorate(toy_scorer) is toy_scorer


def unknown_view(logits: Probs) -> Scores:
    """Doc."""
    return logits[:, 0]


def positional_only(probs: Probs, /) -> Scores:
    """Doc."""
    return probs[:, 0]


def starred(probs: Probs, *more: float) -> Scores:
    """Doc."""
    return probs[:, 0]


def bagged(probs: Probs, **more: float) -> Scores:
    """Doc."""
    return probs[:, 0]


def view_as_keyword(*, probs: Probs) -> Scores:
    """Doc."""
    return probs[:, 0]


def view_with_default(probs: Probs | None = None) -> Scores:
    """Doc."""
    return np.zeros(1)


def labelled_with_default(probs: Probs, budget: int, labels: Labels | int = 0) -> Scores:
    """Doc."""
    return probs[:, 0]


def labelled_scorer(probs: Probs, labels: Labels) -> Scores:
    """Doc."""
    return probs[:, 0]


def scorer_with_head(probs: Probs, head: Head) -> Scores:
    """Doc."""
    return probs[:, 0]


def budget_with_default(probs: Probs, budget: int = 3) -> Picks:
    """Doc."""
    return Picks(np.arange(budget), np.zeros(budget))


def no_view() -> Scores:
    """Doc."""
    return np.zeros(1)


def no_pool(budget: int) -> Picks:
    """Doc."""
    return Picks(np.arange(budget), np.zeros(budget))


def random_scorer(probs: Probs, rng: np.random.Generator) -> Scores:
    """Doc."""
    return rng.random(len(probs))


def no_default(probs: Probs, *, power: float) -> Scores:
    """Doc."""
    return probs[:, 0]


def wrong_default(probs: Probs, *, power: Annotated[float, Range(0, 1)] = 2.0) -> Scores:
    """Doc."""
    return probs[:, 0]


def default_of_another_type(probs: Probs, *, rounds: int = True) -> Scores:
    """Doc."""
    return probs[:, 0]


def no_annotation(probs: Probs, *, power=1.0) -> Scores:  # type: ignore[no-untyped-def]
    """Doc."""
    return probs[:, 0]


def odd_annotation(probs: Probs, *, powers: list[float] = []) -> Scores:  # noqa: B006
    """Doc."""
    return probs[:, 0]


def numbers_to_choose(probs: Probs, *, base: Literal[2, 10] = 2) -> Scores:
    """Doc."""
    return probs[:, 0]


def range_of_strings(probs: Probs, *, base: Annotated[str, Range(0, 1)] = "e") -> Scores:
    """Doc."""
    return probs[:, 0]


def odd_note(probs: Probs, *, power: Annotated[float, 3] = 1.0) -> Scores:
    """Doc."""
    return probs[:, 0]


@pytest.mark.parametrize(
    ("function", "message"),
    [
        (unknown_view, r"it takes logits: .*a positional parameter is a view \(probs, embeddings,"),
        (positional_only, "it takes probs"),
        (starred, r"it takes \*more"),
        (bagged, r"it takes \*\*more"),
        (view_as_keyword, "it takes probs"),
        (view_with_default, "probs is always given, so it must have no default"),
        (labelled_with_default, "labels may be missing, so its default must be None"),
        (labelled_scorer, "it takes labels but no budget"),
        (scorer_with_head, "it takes head but no budget"),
        (budget_with_default, "budget is always given, so it must have no default"),
        (no_view, "it takes no view, so it has no rows to score"),
        (no_pool, "it takes neither a view of the pool nor n"),
        (random_scorer, "it takes rng but no budget"),
        (no_default, "the hyper-parameter power has no default"),
        (wrong_default, "must be a finite number >= 0 and <= 1, got 2.0"),
        (default_of_another_type, "must be a whole number, got True"),
        (no_annotation, "power must be a bool, int, float, str or a Literal of strings, got None"),
        (odd_annotation, r"powers must be a .*, got list\[float\]"),
        (numbers_to_choose, "base must be a bool, int, float, str or a Literal of strings"),
        (range_of_strings, r"base: Range.* does not apply to a str"),
        (odd_note, "power: 3 does not apply to a float"),
    ],
    ids=lambda value: getattr(value, "__name__", ""),
)
def test_what_cannot_be_a_strategy_fails_when_declared(
    function: Callable[..., Any], message: str
) -> None:
    with pytest.raises(TypeError, match=f"^strategy {function.__name__}: .*{message}"):
        declare(function)


@pytest.mark.parametrize("missing", ["family", "cost", "paper", "use"])
def test_family_cost_and_paper_must_be_there(missing: str) -> None:
    with pytest.raises(TypeError, match=f"strategy toy_scorer: it has no {missing}"):
        declare(toy_scorer, **{missing: " "})


def test_a_picker_says_what_it_takes() -> None:
    with pytest.raises(TypeError, match="a picker needs `work`"):
        declare(toy_picker)


def test_a_hyper_parameter_of_all_strategies_is_no_strategys_own() -> None:
    def greedy(probs: Probs, *, max_pool: int = 3) -> Scores:
        """Doc."""
        return probs[:, 0]

    with pytest.raises(TypeError, match="every strategy has the hyper-parameter max_pool already"):
        declare(greedy)


def test_the_docstring_must_be_there() -> None:
    def silent(probs: Probs) -> Scores:
        return probs[:, 0]

    with pytest.raises(TypeError, match="strategy silent: it has no docstring"):
        declare(silent)


@pytest.mark.parametrize("alias", ["ToyScorer", "TOY-SCORER", "Toy", "toy"])
def test_a_name_belongs_to_one_strategy(alias: str) -> None:
    registry = declare(toy_scorer, aliases=("Toy",))
    before = registry.names()
    with pytest.raises(TypeError, match=f"toy_scorer has the name '{alias}' already"):
        registry.strategy(
            family="toys",
            aliases=(alias,),
            cost="O(N)",
            paper="Toy 2001",
            use="Never.",
            work=nothing,
        )(toy_picker)
    assert registry.names() == before

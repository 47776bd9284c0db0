"""``alaas strategies``: the ways to choose."""

from __future__ import annotations

import inspect
from typing import TYPE_CHECKING, Annotated

import typer

from alaas.cli import extras, options, output

if TYPE_CHECKING:
    from alaas.strategies import Strategy


_SIZE = "How long would it take?"


def strategies(  # noqa: PLR0917  # typer reads them by name
    name: Annotated[str | None, typer.Argument(metavar="[NAME]", help="Explain this one.")] = None,
    pool: Annotated[
        int | None,
        typer.Option(min=1, metavar="N", rich_help_panel=_SIZE, help="Items in the pool."),
    ] = None,
    budget: Annotated[
        int, typer.Option(min=1, metavar="K", rich_help_panel=_SIZE, help="Items to choose.")
    ] = 1000,
    classes: Annotated[
        int, typer.Option(min=1, metavar="C", rich_help_panel=_SIZE, help="Classes of the model.")
    ] = 10,
    dim: Annotated[
        int, typer.Option(min=1, metavar="D", rich_help_panel=_SIZE, help="Size of its embeddings.")
    ] = 512,
    as_json: options.Json = False,
) -> None:
    """List the ways to choose items, or explain one of them.

    With --pool, tells the memory and the time that each would take on this machine.
    """
    extras.need("alaas strategies", ("numpy",), extra="local")
    from alaas.strategies import registry

    if name is not None:
        chosen = registry.get(name)
        if as_json:
            output.show_json({**registry.to_json(chosen), "doc": _doc(chosen)})
        else:
            print(_explanation(chosen))
        if pool is not None and not as_json:
            memory, seconds = _estimate(chosen, pool, budget, classes, dim)
            print(f"\nOn this machine: {memory} beside its views, {seconds}, estimated.")
        return
    if as_json:
        output.show_json([registry.to_json(one) for one in registry.strategies()])
        return
    if pool is not None:
        table = output.table("name", "cost", "memory", "time")
        for one in registry.strategies():
            table.add_row(one.name, one.cost, *_estimate(one, pool, budget, classes, dim))
        output.show(table)
        return
    table = output.table("name", "needs", "cost", "what it prefers")
    for one in registry.strategies():
        table.add_row(one.name, ", ".join(one.needs) or "no model", one.cost, one.summary)
    output.show(table)


def _estimate(
    strategy: Strategy, pool: int, budget: int, classes: int, dim: int
) -> tuple[str, str]:
    """The memory and the time that a choice would take here, in words."""
    from alaas.strategies import registry
    from alaas.strategies.cost import Sizes, bytes_in_words, seconds_in_words

    passes = 10 if "draws" in strategy.needs else 0
    sizes = Sizes(N=pool, K=min(budget, pool), C=classes, D=dim, T=passes)
    work = strategy.work(sizes, registry.check_params(strategy, None))
    return bytes_in_words(work.memory), seconds_in_words(work.seconds)


def _doc(strategy: Strategy) -> str:
    return inspect.getdoc(strategy.function) or ""


def _explanation(strategy: Strategy) -> str:
    from alaas.strategies.preflight import scales
    from alaas.strategies.wrappers import COMMON

    facts = {
        "also called": ", ".join(strategy.aliases),
        "family": strategy.family,
        "needs": ", ".join(strategy.needs) or "no model",
        "cost": strategy.cost,
        "learns from": ", ".join(
            [*strategy.labelled, *(f"{v} if given" for v in strategy.optional)]
        ),
        "paper": strategy.paper,
        "when": strategy.use,
        "a million items": "yes"
        if scales(strategy)
        else "with max_pool"
        + ("" if all(param.name != "approx" for param in strategy.params) else " or approx"),
    }
    facts = {what: text for what, text in facts.items() if text}
    for param in (*strategy.params, *COMMON):
        facts[f"--param {param.name}=..."] = (
            f"{param.help} {param.allowed}; default {param.default!r}".strip()
        )
    width = max(map(len, facts))
    lines = [f"  {what:<{width}}  {text}" for what, text in facts.items()]
    return "\n".join([strategy.name, *lines, "", _doc(strategy)])

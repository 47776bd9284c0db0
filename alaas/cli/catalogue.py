"""``alaas strategies`` and ``alaas models``: what there is to choose from."""

from __future__ import annotations

import inspect
from typing import TYPE_CHECKING, Annotated, Any

import typer

from alaas.cli import extras, options, output

if TYPE_CHECKING:
    from alaas.strategies import Strategy


def strategies(
    name: Annotated[str | None, typer.Argument(metavar="[NAME]", help="Explain this one.")] = None,
    as_json: options.Json = False,
) -> None:
    """List the ways to choose items, or explain one of them."""
    extras.need("alaas strategies", ("numpy",), extra="local")
    from alaas.strategies import registry

    if name is not None:
        chosen = registry.get(name)
        if as_json:
            output.show_json({**registry.to_json(chosen), "doc": _doc(chosen)})
        else:
            print(_explanation(chosen))
        return
    if as_json:
        output.show_json([registry.to_json(one) for one in registry.strategies()])
        return
    table = output.table("name", "needs", "cost", "what it prefers")
    for one in registry.strategies():
        table.add_row(one.name, ", ".join(one.needs) or "no model", one.cost, one.summary)
    output.show(table)


def _doc(strategy: Strategy) -> str:
    return inspect.getdoc(strategy.function) or ""


def _explanation(strategy: Strategy) -> str:
    facts = {
        "also called": ", ".join(strategy.aliases),
        "family": strategy.family,
        "needs": ", ".join(strategy.needs) or "no model",
        "cost": strategy.cost,
        "paper": strategy.paper,
    }
    for param in strategy.params:
        facts[f"--param {param.name}=..."] = (
            f"{param.help} {param.allowed}; default {param.default!r}".strip()
        )
    width = max(map(len, facts))
    lines = [f"  {what:<{width}}  {text}" for what, text in facts.items()]
    return "\n".join([strategy.name, *lines, "", _doc(strategy)])


def models(as_json: options.Json = False) -> None:
    """List the classifiers of torchvision and their weights, with size, accuracy and cache."""
    extras.need("alaas models", extras.LOCAL, extra="local")
    found = _models()
    if as_json:
        output.show_json(found)
        return
    table = output.table("model", "weights", "MB", "accuracy", "in cache")
    for model in found:
        for weights in model["weights"]:
            table.add_row(
                model["name"],
                weights["name"] + (" (default)" if weights["default"] else ""),
                f"{weights['megabytes']:.0f}",
                "" if weights["accuracy"] is None else f"{weights['accuracy']:.1f} %",
                "yes" if weights["cached"] else "no",
            )
    output.show(table)


def _models() -> list[dict[str, Any]]:
    """The classifiers by name, and of each its published weights, the default ones first."""
    from torchvision.models import get_model_weights

    from alaas.models import vision
    from alaas.models.weights import cached

    found = []
    for name in vision.names():
        published = get_model_weights(name)
        found.append(
            {
                "name": name,
                "weights": [
                    {
                        "name": one.name,
                        "default": one is published.DEFAULT,
                        "megabytes": one.meta["_file_size"],
                        # Top-1 on the validation set of ImageNet-1K, in percent.
                        "accuracy": one.meta["_metrics"].get("ImageNet-1K", {}).get("acc@1"),
                        "cached": cached(one.url).is_file(),
                    }
                    for one in sorted(published, key=lambda one: one is not published.DEFAULT)
                ],
            }
        )
    return found

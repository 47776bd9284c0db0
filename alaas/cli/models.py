"""``alaas models``: what there is, and whether a model works here."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from alaas.cli import extras, options, output

if TYPE_CHECKING:
    from alaas.models.trial import Trial

app = typer.Typer(
    help="List the classifiers of torchvision, or check any model.",
    invoke_without_command=True,
    context_settings={"help_option_names": ["-h", "--help"]},
)

_MIB = 1 << 20
_SHOWN = 5


@app.callback()
def models(context: typer.Context, as_json: options.Json = False) -> None:
    """List the classifiers of torchvision and their weights, with size, accuracy and cache.

    Models of other sources have too many names to be listed; `alaas models check` tries one.
    """
    if context.invoked_subcommand is not None:
        return
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


@app.command()
def check(
    name: Annotated[
        str | None,
        typer.Argument(metavar="[NAME]", help="The model; without one, that of --config."),
    ] = None,
    *,
    config: Annotated[
        Path | None,
        typer.Option("--config", "-c", metavar="FILE", help="YAML file with the configuration."),
    ] = None,
    hub: options.Hub = None,
    weights: options.Weights = None,
    device: options.Device = None,
    more: options.More = None,
    as_json: options.Json = False,
) -> None:
    """Load a model, have it predict noise, and tell what it is and how fast.

    Exit status 2 says that it does not work here, and why.
    """
    extras.need("alaas models check", extras.LOCAL, extra="local")
    from alaas.config import load
    from alaas.models.trial import try_out

    overrides = options.model_overrides(
        model=name, hub=hub, weights=weights, device=device, more=more
    )
    settings = load(config, overrides=overrides).settings.active_learning.strategy.model
    if not as_json:
        output.note(f"loading {settings.name} ...")
    trial = try_out(settings)
    if as_json:
        output.show_json(trial.to_json())
    else:
        _show(trial)


def _show(trial: Trial) -> None:
    table = output.table("what", "value")
    for what, value in _facts(trial).items():
        table.add_row(what, output.printable(value))
    output.show(table)


def _facts(trial: Trial) -> dict[str, str]:
    card = trial.card
    classes = "none"
    if card.classes:
        named = ", ".join(card.categories[:_SHOWN])
        more = ", ..." if len(card.categories) > _SHOWN else ""
        classes = f"{card.classes}" + (f": {named}{more}" if named else ", which have no names")
    prepared = ", ".join(
        f"{key} {value}" for key, value in card.preprocessing.model_dump(mode="json").items()
    )
    facts = {
        "model": f"{card.name} of {card.hub}, weights {card.weights}",
        "origin": card.origin,
        "digest": card.digest,
        "items": f"{card.modality}: {prepared}" if prepared else card.modality,
        "output": card.output,
        "classes": classes,
        "embeddings": f"{card.dim} dimensions" if card.dim else "none",
        "draws": card.draws,
        "views": ", ".join(card.views),
        "runs in": f"{card.runtime}, {card.precision}, on {trial.device}",
        "speed": f"{trial.per_second:,.1f} items a second, {trial.batch} at once",
        "weights": f"{trial.parameters:,} parameters, {trial.weights_bytes / _MIB:,.1f} MiB",
        "memory": f"{trial.memory_bytes / _MIB:,.0f} MiB at most, of this whole process",
    }
    return {what: value for what, value in facts.items() if value}


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

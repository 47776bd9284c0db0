"""Models that are there already, in the memory of whoever calls `alaas.select`."""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from pydantic import ValidationError
from torch import nn

from alaas.config import Characters, Inputs, ModelSettings, Vectors
from alaas.config.problems import dotted, problems
from alaas.core.errors import ConfigError, ModelUnavailable
from alaas.models import estimator, huggingface
from alaas.models.built import Built
from alaas.models.load import Model, ready, resolve_device
from alaas.models.python import inputs_of
from alaas.models.reason import reason
from alaas.models.runtimes.choice import options

HUB = "live"

_OF_FILES = frozenset(
    {"hub", "name", "weights", "revision", "task", "allow_code", "args", "kwargs", "model"}
)
"""Keys of the model section that say where a model lies, which is known of one that is here."""


@dataclass(frozen=True, slots=True)
class Live:
    """A model that is there already, and what has to be said of it.

    Attributes:
        model: A `torch.nn.Module`, an estimator of scikit-learn that is fitted, or a model of
            Transformers. It is copied, so that what is done to it here is not seen outside.
        settings: Keys of the model section of a configuration, such as ``preprocess``,
            ``output``, ``head`` or ``draws``.
        tokenizer: That of a model of Transformers for texts, or the image processor of one
            for pictures.
        categories: Names of its classes; by default what the model says.

    Example:
        >>> network = nn.Sequential(nn.Flatten(), nn.Linear(3 * 8 * 8, 10))
        >>> square = {"size": 8, "resize": 8, "mean": [0.5] * 3, "std": [0.25] * 3}
        >>> load(Live(network, {"preprocess": square})).card.classes
        10
    """

    model: Any
    settings: Mapping[str, Any] = field(default_factory=dict)
    tokenizer: Any = None
    categories: Sequence[str] = ()


def load(model: Any, *, dim: int | None = None) -> Model:
    """Make a model of this process ready to predict.

    Args:
        model: A `Live`; or the model itself; or a pair of a model of Transformers and its
            tokenizer; or None, by which vectors are embeddings already.
        dim: Numbers of an item, where these are vectors.

    Raises:
        ConfigError: The settings are wrong, or the model is none of these.
        ModelUnavailable: It cannot be run.
    """
    live = _live(model)
    settings = _settings(live)
    options(settings, resolve_device(settings.device))
    built = _built(live, settings, None if dim is None else Vectors(dim=dim))
    categories = tuple(map(str, live.categories)) or built.categories
    made = Built(
        built.network, built.inputs, categories, built.output,
        head=built.head, runtime=built.runtime,
    )  # fmt: skip
    return ready(made, settings, device=resolve_device(settings.device))


def _live(model: Any) -> Live:
    if isinstance(model, Live):
        return model
    if isinstance(model, tuple) and len(model) == 2:
        return Live(model[0], tokenizer=model[1])
    return Live(model)


def _settings(live: Live) -> ModelSettings:
    given = dict(live.settings)
    if wrong := sorted(_OF_FILES & given.keys()):
        raise ConfigError(f"model.{wrong[0]}: has no meaning for a model that is there already")
    # To convert one that is trained on between two queries takes longer than to run it.
    given = {"runtime": "torch", **given}
    try:
        # Of all hubs it is this one that says nothing of what is in a file.
        checked = ModelSettings.model_validate(given | {"hub": "onnx"})
    except ValidationError as error:
        found = problems(error, ModelSettings)
        raise ConfigError(
            "\n".join(f"model.{dotted(one.path)}: {one.message}" for one in found)
        ) from None
    name = "vectors" if live.model is None else type(live.model).__name__
    return checked.model_copy(update={"hub": HUB, "name": name, "weights": HUB})


def _built(live: Live, settings: ModelSettings, vectors: Vectors | None) -> Built:
    model = live.model
    if model is None:
        if vectors is None:
            raise ConfigError("model: only a pool of vectors goes without one")
        return Built(nn.Identity(), vectors, output="embedding")
    if isinstance(model, nn.Module) and _is_of_transformers(model):
        return _of_transformers(live, settings)
    if isinstance(model, nn.Module):
        return _of_torch(model, settings, vectors)
    if hasattr(model, "predict_proba") or hasattr(model, "predict"):
        inputs: Inputs = vectors or Characters()
        return estimator.build(model, inputs, output=settings.output)
    raise ConfigError(
        f"model: must be a name, a mapping, a torch.nn.Module, an estimator with predict_proba "
        f"or a model of Transformers with its tokenizer, got {type(model).__name__}"
    )


def _of_torch(network: nn.Module, settings: ModelSettings, vectors: Vectors | None) -> Built:
    name = type(network).__name__
    if vectors is not None and (settings.preprocess or settings.tokenizer):
        raise ConfigError(f"model: the pool has vectors, and {name} is said to take others")
    inputs = vectors or inputs_of(settings, name)
    try:
        own = copy.deepcopy(network)
    except Exception as error:  # as modules with tensors that are no parameters do
        raise ModelUnavailable(f"{name} cannot be copied: {reason(error)}") from error
    return Built(own, inputs, output="softmax" if settings.output == "auto" else settings.output)


def _is_of_transformers(network: nn.Module) -> bool:
    return hasattr(network, "save_pretrained") and hasattr(network, "config")


def _of_transformers(live: Live, settings: ModelSettings) -> Built:
    """By way of a folder, so that all that is true of a folder is true of it."""
    network: Any = live.model
    with TemporaryDirectory(prefix="alaas-live-") as folder:
        try:
            network.save_pretrained(folder)
            if live.tokenizer is not None:
                live.tokenizer.save_pretrained(folder)
        except Exception as error:  # some cannot be written, such as quantised ones
            name = type(network).__name__
            raise ModelUnavailable(f"{name} cannot be copied: {reason(error)}") from error
        named = {"hub": "huggingface", "name": str(Path(folder)), "weights": "default"}
        return huggingface.build(settings.model_copy(update=named))

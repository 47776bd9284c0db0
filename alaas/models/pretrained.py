"""Models of Transformers with weights that fit them, and no others."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any, Literal, TypeAlias

import torch

from alaas.config import ModelSettings
from alaas.core.errors import ModelUnavailable
from alaas.models import weights as files
from alaas.models.reason import reason
from alaas.models.vision import SEED

Kind: TypeAlias = Literal["text-classifier", "text-encoder", "image-classifier", "image-encoder"]
"""What a model is for."""


def load(settings: ModelSettings, config: Any, folder: Path, kind: Kind) -> Any:
    """Build a model with the weights that are asked for.

    Args:
        settings: The model section of the configuration.
        config: The configuration of Transformers.
        folder: Where its weights are.
        kind: What it is for.

    Raises:
        ModelUnavailable: It cannot be built; or weights are missing, are too many, have other
            shapes or cannot be read.
    """
    import transformers

    auto = {
        "text-classifier": transformers.AutoModelForSequenceClassification,
        "image-classifier": transformers.AutoModelForImageClassification,
    }.get(kind, transformers.AutoModel)
    if settings.weights == "default":
        return _pretrained(auto, settings, config, folder, kind)
    try:
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(SEED)
            model = auto.from_config(  # type: ignore[no-untyped-call]
                config, dtype=torch.float32, trust_remote_code=settings.allow_code
            )
    except Exception as error:  # whatever is in its configuration
        raise ModelUnavailable(f"{settings.name} cannot be built: {reason(error)}") from error
    if settings.weights != "none":
        files.fill(model, Path(settings.weights).expanduser(), settings.name)
    return model


def _pretrained(auto: Any, settings: ModelSettings, config: Any, folder: Path, kind: Kind) -> Any:
    try:
        model, info = auto.from_pretrained(
            folder,
            config=config,
            dtype=torch.float32,
            local_files_only=True,
            output_loading_info=True,
            trust_remote_code=settings.allow_code,
            use_safetensors=True,
            ignore_mismatched_sizes=True,  # they are told below, in one line
        )
    except Exception as error:  # a file that is broken, for one
        raise ModelUnavailable(f"{settings.name} cannot be loaded: {reason(error)}") from error
    # The pooler of an encoder is not used: embeddings are pooled here.
    missing = [one for one in sorted(info["missing_keys"]) if "pooler." not in one]
    if missing:
        raise ModelUnavailable(
            f"{settings.name} has no weights for a {kind.replace('-', ' ')}: "
            f"{_listed(missing)} missing"
        )
    if apart := sorted(str(one[0]) for one in info["mismatched_keys"]):
        raise ModelUnavailable(
            f"{settings.name} has weights of other shapes than its config.json says: "
            f"{_listed(apart)}"
        )
    if surplus := _surplus(model, info["unexpected_keys"]):
        raise ModelUnavailable(
            f"{settings.name} has weights that its config.json has no place for: {_listed(surplus)}"
        )
    return model


def _listed(names: list[str]) -> str:
    return ", ".join(names[:3]) + (f" and {len(names) - 3} more" if len(names) > 3 else "")


def _surplus(model: Any, keys: Iterable[str]) -> list[str]:
    """Weights of parts that a model has, and no place in them.

    Those of parts that it has not, such as the head of another task, are of no use to it. Nor
    are tensors beside its layers: earlier versions saved masks and positions there.
    """
    body = f"{model.base_model_prefix}."
    parts = {name for name, _ in (*model.named_children(), *model.base_model.named_children())}
    modules = {name.removeprefix(body): module for name, module in model.named_modules()}
    found = []
    for key in keys:
        name = key.removeprefix(body)
        parent = modules.get(name.rpartition(".")[0])
        beside = parent is not None and next(parent.children(), None) is not None
        if name.partition(".")[0] in parts and "pooler." not in name and not beside:
            found.append(key)
    return sorted(found)

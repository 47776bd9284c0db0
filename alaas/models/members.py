"""The further networks of an ensemble: like the model, with other weights."""

from __future__ import annotations

import copy
from collections.abc import Callable
from pathlib import Path

from torch import nn

from alaas.config import ModelSettings
from alaas.core.errors import ModelUnavailable
from alaas.models import weights as files
from alaas.models.built import Built
from alaas.models.reason import misfit


def members(
    built: Built,
    settings: ModelSettings,
    build: Callable[[ModelSettings], Built] | None = None,
) -> list[nn.Module]:
    """Load the members of an ensemble, beside the model itself.

    Args:
        built: The model.
        settings: The model section of the configuration, which names their checkpoints.
        build: What built the model, and builds it again with each of them as its weights; None
            for a model that was there already, whose copies get their tensors by name.

    Raises:
        ModelUnavailable: A checkpoint is not there or does not fit.
    """
    found = []
    for number, checkpoint in enumerate(settings.draws.checkpoints, start=2):
        if built.runtime is not None:
            raise ModelUnavailable(
                f"an ensemble needs networks of torch, and {settings.name} runs in {built.runtime}"
            )
        try:
            if build is None:
                found.append(_copied(built.network, checkpoint))
                continue
            member = build(settings.model_copy(update={"weights": checkpoint}))
        except ModelUnavailable as error:
            raise ModelUnavailable(f"member {number} of the ensemble: {error.detail}") from error
        if (member.inputs, member.output) != (built.inputs, built.output):
            raise ModelUnavailable(
                f"member {number} of the ensemble, {checkpoint!r}, takes or returns something "
                f"else than the model: set `preprocess` and `output`"
            )
        found.append(member.network)
    return found


def _copied(network: nn.Module, checkpoint: str) -> nn.Module:
    path = Path(checkpoint).expanduser()
    own = copy.deepcopy(network)
    try:
        own.load_state_dict(files.read(path))
    except RuntimeError as error:
        raise ModelUnavailable(f"{str(path)!r} does not fit: {misfit(error)}") from error
    return own

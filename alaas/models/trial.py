"""A model tried out: whether it predicts, how fast, and what it takes."""

from __future__ import annotations

import resource
import time
from dataclasses import dataclass
from typing import Any

import torch

from alaas.config import ModelSettings
from alaas.core.errors import ModelOutputInvalid, ModelUnavailable
from alaas.models.card import ModelCard
from alaas.models.entry import noise
from alaas.models.foreign import guarded
from alaas.models.load import Model, load
from alaas.models.microbatch import micro_batch

CANARY = 3
"""Items that every view is computed of."""

_ONE_PASS = ("probs", "embeddings", "predictions", "uncertainty")
"""What one pass gives; the first of them that there is, is timed."""


@dataclass(frozen=True, slots=True)
class Trial:
    """What came of it.

    Attributes:
        card: The model.
        device: The torch device that it was tried on.
        parameters: Numbers that it has learnt, as far as torch holds them.
        weights_bytes: What these take, with its buffers.
        batch: Items that went through it at once, B.
        per_second: Items a second, of noise, without reading and preparing them.
        memory_bytes: The most memory that this process has had, that of the device included.
    """

    card: ModelCard
    device: str
    parameters: int
    weights_bytes: int
    batch: int
    per_second: float
    memory_bytes: int

    def to_json(self) -> dict[str, Any]:
        """All of it, for programs."""
        measured = {name: getattr(self, name) for name in self.__slots__ if name != "card"}
        return {**self.card.to_json(), **measured}


def try_out(settings: ModelSettings, *, seconds: float = 1.0) -> Trial:
    """Load a model and have it predict noise.

    Args:
        settings: The model section of the configuration.
        seconds: How long to time it at least.

    Raises:
        MissingExtra: Something that it needs is not installed.
        ModelUnavailable: It cannot be loaded, or one of its views cannot be computed.
    """
    model = load(settings)
    classifier = model.classifier
    _sing(model)
    batch = noise(classifier.inputs, micro_batch(settings, classifier.inputs))
    needs = [name for name in _ONE_PASS if name in classifier.provides][:1]
    turns, started = 0, time.perf_counter()
    with guarded(f"{model.card.name} loads, but fails on {len(batch)} items at once"):
        while not turns or time.perf_counter() - started < seconds:
            classifier.views(batch, needs)
            turns += 1
    spent = time.perf_counter() - started
    tensors = [*classifier.network.parameters(), *classifier.network.buffers()]
    return Trial(
        card=model.card,
        device=str(classifier.device),
        parameters=sum(one.numel() for one in classifier.network.parameters()),
        weights_bytes=sum(one.numel() * one.element_size() for one in tensors),
        batch=len(batch),
        per_second=turns * len(batch) / spent,
        memory_bytes=_memory(classifier.device),
    )


def _sing(model: Model) -> None:
    """Compute every view of a few items."""
    classifier = model.classifier
    for name in model.card.views:
        try:
            with guarded(f"{model.card.name} loads, but its {name} fail"):
                classifier.views(noise(classifier.inputs, CANARY), [name], n_drop=2)
        except ModelOutputInvalid as error:
            raise ModelUnavailable(f"{model.card.name} loads, but {error.detail}") from error


def _memory(device: torch.device) -> int:
    own = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    if device.type != "cuda":
        return own
    return own + torch.cuda.max_memory_allocated(device)

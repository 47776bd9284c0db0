"""The one place that turns the model section of a configuration into a network."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch

from alaas.config import ModelSettings, Preprocessing
from alaas.core.errors import ModelUnavailable
from alaas.models import huggingface, python, vision
from alaas.models.built import Built
from alaas.models.card import ModelCard
from alaas.models.classifier import Classifier
from alaas.models.microbatch import micro_batch
from alaas.models.runtimes.choice import choose, options

_HUBS: dict[str, Callable[[ModelSettings], Built]] = {
    "torchvision": vision.build,
    "huggingface": huggingface.build,
    "python": python.build,
}


@dataclass(frozen=True, slots=True)
class Model:
    """A network that is ready to predict, and its card."""

    classifier: Classifier
    card: ModelCard


def load(
    settings: ModelSettings, *, device: str | None = None, threads: int | None = None
) -> Model:
    """Load a model.

    Args:
        settings: The model section of the configuration.
        device: Overrides the device of `settings`.
        threads: Threads to compute with, > 0, of torch in this whole process and of the
            runtime; None leaves torch as it is, and the runtime takes as many.

    Raises:
        MissingExtra: The runtime that is asked for is not installed.
        ModelUnavailable: It cannot be loaded; the message says what to do.
    """
    device = device or resolve_device(settings.device)
    options(settings, device)  # what cannot be is said before anything is loaded
    if threads is not None:
        torch.set_num_threads(threads)
    built = _HUBS[settings.hub](settings)
    inputs = built.inputs
    if isinstance(inputs, Preprocessing):
        inputs = inputs.model_copy(update={"decode": settings.decode})
    classifier = Classifier(
        built.network,
        inputs,
        device=device,
        output=built.output,
        head=settings.head,
        margins=settings.margins,
        most=micro_batch(settings, inputs),
    )
    digest = classifier.digest()
    classifier.engine = choose(classifier, settings, digest=digest)
    card = ModelCard(
        name=settings.name,
        hub=settings.hub,
        weights=settings.weights,
        digest=digest,
        classes=classifier.classes,
        categories=built.categories if len(built.categories) == classifier.classes else (),
        dim=classifier.dim,
        preprocessing=inputs,
        views=classifier.provides,
        runtime=classifier.engine.runtime,
        precision=classifier.engine.precision,
        output=built.output,
        origin=built.origin,
    )
    return Model(classifier, card)


def resolve_device(name: str) -> str:
    """The torch device for a configured name: ``auto`` takes an accelerator where there is one.

    Raises:
        ModelUnavailable: The machine has no such device.
    """
    if name == "auto":
        if torch.cuda.is_available():
            return "cuda"
        return "mps" if torch.backends.mps.is_available() else "cpu"
    if name.startswith("cuda"):
        count = torch.cuda.device_count()
        index = int(name.partition(":")[2] or 0)
        if index >= count:
            raise ModelUnavailable(f"device {name} is not there: torch sees {count} CUDA devices")
    if name == "mps" and not torch.backends.mps.is_available():
        raise ModelUnavailable("device mps is not there")
    return name

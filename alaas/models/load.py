"""The one place that turns the model section of a configuration into a network."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch

from alaas.config import Inputs, ModelSettings, Preprocessing, Tokenization
from alaas.core.errors import ModelUnavailable
from alaas.models import huggingface, onnx_file, python, timm, torchhub, vision
from alaas.models.built import Built
from alaas.models.card import ModelCard
from alaas.models.classifier import Classifier
from alaas.models.members import members
from alaas.models.microbatch import micro_batch
from alaas.models.runtimes.choice import choose, options
from alaas.models.tasks import REDUCED, Reduction

_HUBS: dict[str, Callable[[ModelSettings], Built]] = {
    "torchvision": vision.build,
    "huggingface": huggingface.build,
    "timm": timm.build,
    "onnx": onnx_file.build,
    "python": python.build,
}
"""Every hub of `alaas.config.model.HUBS`; any other one is a repository of torch.hub."""


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
    build = _HUBS.get(settings.hub, torchhub.build)
    return ready(build(settings), settings, device=device, build=build)


def ready(
    built: Built,
    settings: ModelSettings,
    *,
    device: str,
    build: Callable[[ModelSettings], Built] | None = None,
) -> Model:
    """Make what a hub gave ready to predict.

    Args:
        built: The network.
        settings: The model section of the configuration.
        device: Where to run it, `resolve_device` of what is configured; what torch does not
            run stays on the CPU.
        build: What builds it with other weights, where there are such.

    Raises:
        MissingExtra: The runtime that is asked for is not installed.
        ModelUnavailable: It cannot be run.
    """
    _check_meaning(settings, built.inputs)
    if built.runtime is not None:
        device = "cpu"
    inputs = built.inputs
    if isinstance(inputs, Preprocessing):
        inputs = inputs.model_copy(update={"decode": settings.decode})
    classifier = Classifier(
        built.network,
        inputs,
        device=device,
        output=built.output,
        head=settings.head or built.head,
        margins=settings.margins,
        drawing=settings.draws,
        members=members(built, settings, build),
        reduction=Reduction(settings.reduction, settings.top_k),
        most=micro_batch(settings, inputs),
    )
    if built.output == "detection":
        settings = _by_torch(settings)
    digest, source = classifier.digest(), classifier.source
    if built.runtime is None:
        classifier.engine = choose(classifier, settings, digest=digest)
    else:
        classifier.engine.runtime = built.runtime
    card = ModelCard(
        name=settings.name,
        hub=settings.hub,
        weights=settings.weights,
        digest=digest,
        classes=0 if built.output == "value" else classifier.classes,
        categories=built.categories if len(built.categories) == classifier.classes else (),
        dim=classifier.dim,
        preprocessing=inputs,
        views=classifier.provides,
        runtime=classifier.engine.runtime,
        precision=classifier.engine.precision,
        output=built.output,
        draws="" if source is None else source.phrase,
        head_draws=_head_draws(classifier),
        most_draws=0 if source is None else source.most or 0,
        reduction=str(classifier.reduction) if built.output in REDUCED else "",
        origin=built.origin,
        head=classifier.head,
        margins=classifier.margins_of,
    )
    return Model(classifier, card)


def _check_meaning(settings: ModelSettings, inputs: Inputs) -> None:
    """Refuse what is said of items of another kind, and would change nothing.

    Raises:
        ModelUnavailable: Something of the kind is set.
    """
    texts = isinstance(inputs, Tokenization)
    pooled = settings.hub in {"huggingface", "live"} or (settings.hub == "onnx" and texts)
    for key, idle in (
        ("preprocess", not isinstance(inputs, Preprocessing) and settings.preprocess is not None),
        ("tokenizer", not texts and settings.tokenizer is not None),
        ("max_tokens", not texts and settings.max_tokens is not None),
        ("pooling", not pooled and settings.pooling != "auto"),
    ):
        if idle:
            raise ModelUnavailable(
                f"`{key}` has no meaning for {settings.name}, which takes {inputs.modality}s and "
                f"is of hub {settings.hub}"
            )


def _head_draws(classifier: Classifier) -> str:
    """How draws come of stored embeddings; those of several labels are not stored as such."""
    source = classifier.source
    if source is None or source.again is None or classifier.parts.output != "softmax":
        return ""
    return str(source.again)


def _by_torch(settings: ModelSettings) -> ModelSettings:
    """The settings of a model that returns boxes, whose number no other runtime leaves open."""
    if settings.runtime not in {"auto", "torch"}:
        raise ModelUnavailable(
            f"runtime {settings.runtime} cannot run a model that returns boxes: "
            f"set `runtime` to auto or torch"
        )
    return settings.model_copy(update={"runtime": "torch", "compile": False})


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

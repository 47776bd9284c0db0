"""Take the fastest runtime that is installed and runs the model as torch does."""

from __future__ import annotations

import hashlib
import json
import logging
from collections.abc import Callable
from dataclasses import dataclass
from importlib import metadata
from importlib.util import find_spec
from typing import get_args

import numpy as np
import torch
from numpy.typing import NDArray

from alaas.config import ModelSettings
from alaas.core.errors import MissingExtra, ModelUnavailable
from alaas.models import kept
from alaas.models.card import Precision, Runtime
from alaas.models.classifier import Classifier
from alaas.models.entry import noise
from alaas.models.foreign import guarded
from alaas.models.reason import reason
from alaas.models.runtimes.engine import Engine, Unsupported
from alaas.models.runtimes.pytorch import TorchEngine

TOLERANCE = {"fp32": 1e-4, "fp16": 0.02, "bf16": 0.1}
"""How far a runtime may be from torch in fp32, as a share of the largest number there."""

FASTEST: tuple[Runtime, ...] = ("openvino", "onnxruntime", "torch")
"""On a processor, as `benchmarks/inference.py` finds them."""

_EXTRAS: dict[Runtime, tuple[str, tuple[str, ...]]] = {
    "openvino": ("openvino", ("openvino",)),
    "onnxruntime": ("onnx", ("onnxruntime", "onnx")),
    "torch": ("local", ("torch",)),
}

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Choice:
    """What the settings come to on a device.

    Attributes:
        runtimes: What to try, best first.
        precision: The number format to compute in.
    """

    runtimes: tuple[Runtime, ...]
    precision: Precision


def options(settings: ModelSettings, device: str) -> Choice:
    """What may run a model on a device.

    Args:
        settings: The model section of the configuration.
        device: A torch device, such as ``cpu`` or ``cuda:1``.

    Raises:
        MissingExtra: The runtime that is asked for is not installed.
        ModelUnavailable: It does not run on that device.
    """
    if settings.hub == "onnx":
        return _of_a_file(settings)
    kind = device.partition(":")[0]
    automatic: Precision = "fp16" if kind == "cuda" else "fp32"
    precision = automatic if settings.precision == "auto" else settings.precision
    asked = settings.runtime
    if asked == "auto":
        # To compile is a wish for torch.
        elsewhere = kind != "cpu" or settings.compile
        return Choice(("torch",) if elsewhere else FASTEST, precision)
    if asked != "torch" and kind != "cpu":
        raise ModelUnavailable(
            f"runtime {asked} runs on the CPU only, and the device is {device}: "
            f"set `runtime` to auto or torch"
        )
    if not _installed(asked):
        raise MissingExtra(f"runtime {asked} is not installed: {_command(asked)}")
    return Choice((asked,), precision)


def _of_a_file(settings: ModelSettings) -> Choice:
    """ONNX Runtime is what there is for a file of its own."""
    if settings.runtime not in {"auto", "onnxruntime"}:
        raise ModelUnavailable(
            f"an ONNX file runs in onnxruntime as it is, and `runtime` is {settings.runtime}"
        )
    if settings.precision not in {"auto", "fp32"}:
        raise ModelUnavailable(
            f"an ONNX file has a precision of its own, and `precision` is {settings.precision}"
        )
    if settings.device not in {"auto", "cpu"}:
        raise ModelUnavailable(f"ONNX files run on the CPU only, and `device` is {settings.device}")
    if not _installed("onnxruntime"):
        raise MissingExtra(f"ONNX files need onnxruntime: {_command('onnxruntime')}")
    return Choice(("onnxruntime",), "fp32")


def choose(classifier: Classifier, settings: ModelSettings, *, digest: str) -> Engine:
    """Build the engine of a classifier.

    Args:
        classifier: The network, on its device.
        settings: The model section of the configuration.
        digest: The classifier's digest, under which conversions are kept.

    Raises:
        MissingExtra: The runtime that is asked for is not installed.
        ModelUnavailable: It cannot run the model.
    """
    choice = options(settings, str(classifier.device))
    faults = []
    for runtime in choice.runtimes:
        if not _installed(runtime):
            faults.append(f"{runtime} is not installed ({_command(runtime)})")
            continue
        try:
            engine = _built(classifier, settings, runtime, choice.precision, digest)
        except Unsupported as error:
            fault = f"{runtime} does not run it: {error}"
            if len(choice.runtimes) == 1:
                raise ModelUnavailable(f"{settings.name} cannot be run, {fault}") from error
            log.warning("%s: %s; the next runtime is tried", settings.name, fault)
            faults.append(fault)
            continue
        why = "; ".join(faults) if faults else "the fastest there is"
        log.log(
            logging.INFO if settings.runtime == "auto" else logging.DEBUG,
            "%s runs in %s, %s, on %s: %s",
            settings.name, runtime, choice.precision, classifier.device,
            why if settings.runtime == "auto" else "as configured",
        )  # fmt: skip
        return engine
    raise AssertionError("torch is always there")


def _installed(runtime: Runtime) -> bool:
    return all(find_spec(module) is not None for module in _EXTRAS[runtime][1])


def _command(runtime: Runtime) -> str:
    return f"pip install 'alaas[{_EXTRAS[runtime][0]}]'"


def _built(
    classifier: Classifier,
    settings: ModelSettings,
    runtime: Runtime,
    precision: Precision,
    digest: str,
) -> Engine:
    """An engine that does as torch does.

    Raises:
        Unsupported: It does not, or cannot be built.
    """
    if runtime != "torch":
        return _converted(classifier, runtime, precision, digest)
    engine = TorchEngine(
        classifier.forward,
        device=classifier.device,
        precision=precision,
        compiled=settings.compile,
    )
    return _agreeing(lambda: engine, classifier) if settings.compile else engine


def _converted(
    classifier: Classifier, runtime: Runtime, precision: Precision, digest: str
) -> Engine:
    """An engine that was converted, now or at an earlier start."""

    def build() -> Engine:
        forward, example = classifier.forward, noise(classifier.inputs, 2)
        free = (0, 1) if classifier.inputs.modality == "text" else (0,)
        threads = torch.get_num_threads()
        if runtime == "openvino":
            from alaas.models.runtimes.openvino import OpenVINOEngine

            return OpenVINOEngine(
                forward, example, free=free, threads=threads, precision=precision, key=key
            )
        from alaas.models.runtimes.onnx import ONNXEngine

        return ONNXEngine(
            forward, example, free=free, threads=threads, precision=precision, key=key
        )

    key = _key(classifier, digest, runtime)
    if kept.find(key) is not None:
        try:
            return _agreeing(build, classifier)
        except Unsupported:
            kept.forget(key)  # it may be broken; if not, the next attempt says so
    return _agreeing(build, classifier)


def _key(classifier: Classifier, digest: str, runtime: Runtime) -> str:
    """What a conversion depends on."""
    versions = [metadata.version(package) for package in (runtime, "torch")]
    spec = classifier.inputs.model_dump(mode="json", exclude={"file"})
    said = json.dumps([digest, spec, runtime, versions], sort_keys=True)
    return hashlib.blake2b(said.encode(), digest_size=16).hexdigest()


def _agreeing(build: Callable[[], Engine], classifier: Classifier) -> Engine:
    """What `build` gives, if it computes what torch does in fp32.

    The batch has another length than the example that a module was traced with, and texts of
    several lengths: a recording may have lost sight of where a text ends. It also is the
    first pass, which OpenVINO does not survive on two threads at once.
    """
    probe = noise(classifier.inputs, 3 if classifier.inputs.modality == "text" else 1)
    try:
        engine = build()
        found = engine.run(probe)
    except Unsupported:
        raise
    except Exception as error:  # whatever a converter or a compiler raises
        raise Unsupported(reason(error)) from error
    with guarded("the model fails"):
        expected = TorchEngine(classifier.forward, device=classifier.device).run(probe)
    allowed = TOLERANCE[engine.precision]
    for name, rows, wanted in zip(classifier.forward.names, found, expected, strict=True):
        off = distance(rows, wanted)
        if not off <= allowed:
            raise Unsupported(f"its {name} are {off:.2g} from those of torch, allowed is {allowed}")
    return engine


def distance(found: NDArray[np.float32], wanted: NDArray[np.float32]) -> float:
    """The largest difference, as a share of the largest number that is wanted."""
    if found.shape != wanted.shape:
        return np.inf
    same = found == wanted  # infinities, too
    apart = np.abs(np.where(same, 0, found) - np.where(same, 0, wanted)).max(initial=0)
    largest = np.abs(wanted[np.isfinite(wanted)]).max(initial=0)
    return float(apart / largest) if apart else 0.0


assert set(_EXTRAS) == set(get_args(Runtime)) - {"sklearn"} == set(FASTEST)

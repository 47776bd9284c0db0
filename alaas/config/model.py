"""The model, and how its predictions are drawn."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Annotated, Any, Literal

from pydantic import Field, StrictBool, field_validator, model_validator

from alaas.config.preprocessing import Preprocessing
from alaas.config.values import (
    Device,
    OneOrMany,
    Phrase,
    Positive,
    PositiveOrAuto,
    Section,
    Text,
    refuse,
)

DEFAULT = "default"
"""The name under which a server has the model of queries that name none."""

DIGEST = re.compile(r"[0-9a-f]{16}")
"""What the digest of a model looks like."""

HUBS = ("torchvision", "huggingface", "timm", "onnx", "python")
"""Where models come from, beside the repositories of torch.hub."""

COMMIT = re.compile(r"[0-9a-f]{40}")
REPOSITORY = re.compile(r"[\w.-]+/[\w.-]+:" + COMMIT.pattern)
"""A repository of torch.hub: its owner, its name and the commit."""

_HUB_PHRASE = f"{', '.join(HUBS)}, or owner/repository:commit of torch.hub"

_ONLY_OF = {
    "revision": "huggingface, timm",
    "allow_code": "huggingface, torch.hub",
    "tokenizer": "huggingface, onnx, python, torch.hub",
    "task": "huggingface",
}
"""The hubs of which some keys say anything."""


class OldKwargs(Section):
    """Arguments of the model as earlier versions took them."""

    pretrained: StrictBool | None = None
    """Old key: false means ``weights: none``, true ``weights: default``; `weights` goes first."""


class DrawsSettings(Section):
    """Where several predictions of one item come from, for strategies that read them."""

    by: Literal["dropout", "dropconnect", "ensemble", "augment"] = "dropout"
    """dropout of units, dropconnect of weights, an ensemble of checkpoints, or augmentation."""

    p: Annotated[float, Field(gt=0, lt=1), Phrase("a number above 0 and below 1")] | None = None
    """Share that is dropped; null takes that of the dropout layers, and 0.5 where it is none's."""

    layers: Annotated[tuple[Text, ...], OneOrMany()] = ()
    """Names or types of the layers that drop, such as encoder.layer or Linear; none means all."""

    head_only: StrictBool = False
    """Whether only the last linear layer drops, so that all draws together cost one pass."""

    checkpoints: Annotated[tuple[Text, ...], OneOrMany()] = ()
    """What `weights` would be for each further member of an ensemble, such as files."""

    @model_validator(mode="after")
    def _fits(self) -> DrawsSettings:
        if (self.by == "ensemble") != bool(self.checkpoints):
            raise refuse(
                "checkpoints", "are what an ensemble consists of, and nothing else has any"
            )
        if self.by in {"ensemble", "augment"}:
            for key in ("p", "layers", "head_only"):
                if getattr(self, key):
                    raise refuse(key, f"has no meaning where draws are by {self.by}")
        if self.head_only and self.layers:
            raise refuse("layers", "has no meaning with head_only")
        return self


class ModelSettings(Section):
    """The model whose predictions the strategy reads."""

    hub: Annotated[Text, Phrase(_HUB_PHRASE)] = "torchvision"
    """Where the model comes from; python is a function of your own, onnx a file."""

    name: Text = "resnet18"
    """Its name in the hub; or a folder (huggingface), a file (onnx), module:factory (python)."""

    weights: Text = "default"
    """default, a name of weights, none (random, seeded), or the path of a file."""

    revision: Text | None = None
    """Branch, tag or commit of the hub's repository; null for the newest that is there."""

    allow_code: StrictBool = False
    """Whether code of the hub's repository may run; its commit must be named in full."""

    preprocess: Preprocessing | None = None
    """How a picture is prepared; null takes what the weights ask for."""

    tokenizer: Text | None = None
    """Name or folder of the tokenizer of a text model; null takes the model's own."""

    task: Text | None = None
    """Task of Transformers, such as text-classification or feature-extraction; null to find out."""

    max_tokens: Positive | None = None
    """Longest text in tokens, > 0; what is beyond is cut off. null for the model's own limit."""

    pooling: Literal["auto", "mean", "cls"] = "auto"
    """How an encoder's tokens become one embedding; auto takes the model's own, or mean."""

    output: Literal[
        "auto", "softmax", "sigmoid", "embedding", "value", "segmentation", "detection"
    ] = "auto"
    """What it returns: logits of one class or of several, embeddings, values, maps or boxes."""

    reduction: Literal["mean", "max", "sum", "top_k"] = "mean"
    """How the uncertainties of an item's labels, pixels or boxes become that of the item."""

    top_k: Positive = 10
    """How many of them reduction top_k takes the mean of, > 0."""

    head: Text | None = None
    """Name of the layer whose input the embeddings are; null finds the last linear one."""

    margins: Literal["auto", "input", "embedding"] = "auto"
    """What DeepFool changes; auto is the input of a picture model, and else the embedding."""

    draws: DrawsSettings = DrawsSettings()
    """Where several predictions of one item come from."""

    batch_size: PositiveOrAuto = "auto"
    """Items that go through the model at once, > 0, or auto."""

    device: Device = "auto"
    """Where the model runs: auto, cpu, mps, cuda or cuda:N."""

    runtime: Literal["auto", "torch", "openvino", "onnxruntime"] = "auto"
    """What runs the model; auto takes the fastest one that is installed and supports it."""

    precision: Literal["auto", "fp32", "bf16", "fp16"] = "auto"
    """Number format of the model's arithmetic; auto is fp32 on a CPU and fp16 on CUDA."""

    decode: Literal["exact", "fast"] = "exact"
    """exact decodes a picture as torchvision's own preprocessing does, fast nearly so."""

    compile: StrictBool = False
    """Whether runtime torch compiles the network first, which takes a minute at the start."""

    args: Annotated[tuple[str, ...], OneOrMany()] = ()
    """Old key, accepted and not used."""

    kwargs: OldKwargs = OldKwargs()
    """Old keys; of these only `pretrained` is known."""

    model: str | None = None
    """Old key, accepted and not used."""

    @model_validator(mode="before")
    @classmethod
    def _old_keys(cls, given: Any) -> Any:
        if not isinstance(given, Mapping):
            return given
        given = dict(given)
        kwargs = given.get("kwargs")
        pretrained = kwargs.get("pretrained") if isinstance(kwargs, Mapping) else None
        if "weights" not in given and isinstance(pretrained, bool):
            given["weights"] = "default" if pretrained else "none"
        # These two made a model one of Transformers, whatever the hub was called.
        images = str(given.get("hub", "pytorch/vision")).partition(":")[0] == "pytorch/vision"
        if images and (given.get("tokenizer") or given.get("task")):
            given["hub"] = "huggingface"
        return given

    @field_validator("hub")
    @classmethod
    def _known_hub(cls, hub: str) -> str:
        owner = hub.partition(":")[0].partition("/")[0]
        if hub.partition(":")[0] == "pytorch/vision":
            return "torchvision"
        if owner in {"huggingface", "transformers", "sentence-transformers"}:
            return "huggingface"
        if hub not in HUBS and not REPOSITORY.fullmatch(hub):
            raise ValueError(
                f"must be {_HUB_PHRASE} with the commit in full (40 hexadecimal digits), "
                f"got {hub!r}"
            )
        return hub

    @model_validator(mode="after")
    def _keys_have_a_meaning(self) -> ModelSettings:
        hub = "torch.hub" if REPOSITORY.fullmatch(self.hub) else self.hub
        for key, hubs in _ONLY_OF.items():
            if getattr(self, key) and hub not in hubs.split(", "):
                raise refuse(key, f"has no meaning with hub {self.hub}; it has with {hubs}")
        return self

    @model_validator(mode="after")
    def _python_is_complete(self) -> ModelSettings:
        if self.hub != "python":
            return self
        module, _, factory = self.name.partition(":")
        if not (module and factory):
            raise refuse(
                "name", f"must be like 'module:factory' with hub python, got {self.name!r}"
            )
        if self.preprocess is None and self.tokenizer is None:
            raise refuse(
                "preprocess",
                "is required with hub python, whose weights carry none (or `tokenizer`, for texts)",
            )
        return self

    @model_validator(mode="after")
    def _code_is_allowed(self) -> ModelSettings:
        if REPOSITORY.fullmatch(self.hub) and not self.allow_code:
            raise refuse("allow_code", f"must be true: {self.hub} is code that would run here")
        pinned = COMMIT.fullmatch(self.revision or "")
        if self.allow_code and self.hub == "huggingface" and not pinned:
            raise refuse(
                "revision", "must be a commit in full (40 hexadecimal digits) with allow_code"
            )
        return self

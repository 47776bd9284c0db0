"""Models of Transformers, for pictures and texts: from the hub, from its cache, from a folder."""

from __future__ import annotations

import json
import logging
import os
from pathlib import Path
from typing import Any, Literal

import torch
from torch import Tensor, nn

from alaas.config import Inputs, ModelSettings
from alaas.core.arrays import PADDING
from alaas.core.errors import MissingExtra, ModelUnavailable
from alaas.models import processor, tokenizer
from alaas.models import weights as files
from alaas.models.built import Built
from alaas.models.output import Output
from alaas.models.reach import unreachable
from alaas.models.reason import misfit, reason
from alaas.models.vision import SEED

log = logging.getLogger(__name__)

# What tells of a model, and weights in a format that cannot hold code.
_FILES = ["*.json", "*.txt", "*.model", "*.safetensors", "*/config.json"]

_Kind = Literal["text-classifier", "text-encoder", "image-classifier", "image-encoder"]

_TASKS: dict[str, _Kind] = {
    "text-classification": "text-classifier",
    "sentiment-analysis": "text-classifier",
    "feature-extraction": "text-encoder",
    "sentence-similarity": "text-encoder",
    "fill-mask": "text-encoder",
    "image-classification": "image-classifier",
    "image-feature-extraction": "image-encoder",
}


def build(settings: ModelSettings) -> Built:
    """Load a model with its weights and what prepares its input.

    `settings.name` is a folder, or the name of a repository of the hub, which is downloaded
    unless the cache has it. Weights must be safetensors.

    Raises:
        MissingExtra: ``alaas[huggingface]`` is not installed.
        ModelUnavailable: There is no such model, no way to get it, or it cannot be loaded.
    """
    try:
        import transformers
    except ImportError as error:
        raise MissingExtra(
            "models of Transformers need alaas[huggingface]: pip install 'alaas[huggingface]'"
        ) from error
    transformers.utils.logging.disable_progress_bar()  # type: ignore[no-untyped-call]
    folder = _folder(settings.name, settings.revision, code=settings.allow_code)
    try:
        config = transformers.AutoConfig.from_pretrained(
            folder, local_files_only=True, trust_remote_code=settings.allow_code
        )
    except Exception as error:  # whatever is in the file
        raise ModelUnavailable(f"{settings.name} cannot be read: {reason(error)}") from error
    kind = _kind(settings, config, folder)
    pooling = _Pooling.read(settings, folder) if kind == "text-encoder" else _Pooling("mean")
    model = _loaded(settings, config, folder, kind)
    inputs: Inputs
    if kind in {"image-classifier", "image-encoder"}:
        inputs = settings.preprocess or processor.read(folder, settings.name)
        network: nn.Module = _Pictures(model, encodes=kind == "image-encoder")
    else:
        inputs = tokenizer.find(
            str(folder if settings.tokenizer is None else _folder(settings.tokenizer, None)),
            max_tokens=settings.max_tokens,
            longest=_longest(config, folder),
        )
        known = model.get_input_embeddings().weight.shape[0]
        if inputs.vocabulary > known:
            raise ModelUnavailable(
                f"the tokenizer has {inputs.vocabulary} tokens and {settings.name} knows "
                f"{known} of them: it is not its tokenizer"
            )
        network = _texts(model, config, inputs.pad, kind, pooling)
    names = getattr(config, "id2label", None) or {}
    categories = tuple(str(names[key]) for key in sorted(names))
    return Built(
        network,
        inputs,
        categories=categories if kind.endswith("classifier") else (),
        output=_output(settings, config, kind),
        origin=_origin(folder),
    )


def _folder(name: str, revision: str | None, *, code: bool = False) -> Path:
    """Where the files of a model are, downloaded if need be."""
    path = Path(name).expanduser()
    if path.is_dir():
        return path
    from huggingface_hub import constants, snapshot_download
    from huggingface_hub.errors import LocalEntryNotFoundError

    patterns = [*_FILES, "*.py"] if code else _FILES
    try:
        return Path(
            snapshot_download(
                name, revision=revision, allow_patterns=patterns, local_files_only=True
            )
        )
    except LocalEntryNotFoundError:
        pass
    except Exception as error:  # it is no name, for one
        raise ModelUnavailable(f"there is no model {name!r}: {reason(error)}") from error
    fault = "HF_HUB_OFFLINE is set" if constants.HF_HUB_OFFLINE else unreachable(constants.ENDPOINT)
    if fault is None:
        try:
            return Path(snapshot_download(name, revision=revision, allow_patterns=patterns))
        except Exception as error:  # noqa: BLE001  # a network, a server, a disk
            fault = reason(error)
    raise ModelUnavailable(
        f"{name} is neither a folder nor in the cache {os.fspath(constants.HF_HUB_CACHE)}, and "
        f"{constants.ENDPOINT} does not give it ({fault}). Offline, set `name` to a folder with "
        f"its config.json, model.safetensors and tokenizer.json"
    )


def _kind(settings: ModelSettings, config: Any, folder: Path) -> _Kind:
    if settings.task is not None:
        if settings.task not in _TASKS:
            raise ModelUnavailable(f"task {settings.task!r} is not one of {', '.join(_TASKS)}")
        return _TASKS[settings.task]
    if (folder / "modules.json").is_file():  # of sentence-transformers
        return "text-encoder"
    (first, *_) = getattr(config, "architectures", None) or [""]
    if "ForImageClassification" in first:
        return "image-classifier"
    if "ForSequenceClassification" in first:
        return "text-classifier"
    return "image-encoder" if hasattr(config, "num_channels") else "text-encoder"


def _loaded(settings: ModelSettings, config: Any, folder: Path, kind: _Kind) -> Any:
    import transformers

    auto = {
        "text-classifier": transformers.AutoModelForSequenceClassification,
        "image-classifier": transformers.AutoModelForImageClassification,
    }.get(kind, transformers.AutoModel)
    code = settings.allow_code
    if settings.weights == "default":
        try:
            model, info = auto.from_pretrained(
                folder,
                config=config,
                dtype=torch.float32,
                local_files_only=True,
                output_loading_info=True,
                trust_remote_code=code,
                use_safetensors=True,
            )
        except Exception as error:  # a file that is missing, broken, or pickled
            raise ModelUnavailable(
                f"{settings.name} cannot be loaded from safetensors: {reason(error)}"
            ) from error
        # The pooler of an encoder is not used: embeddings are pooled here.
        missing = [one for one in sorted(info["missing_keys"]) if "pooler." not in one]
        if missing:
            raise ModelUnavailable(
                f"{settings.name} is no {kind.replace('-', ' ')}: its weights lack "
                f"{', '.join(missing[:3])}{' ...' if missing[3:] else ''}"
            )
        if surplus := sorted(info["unexpected_keys"]):
            log.info("%s: %d weights are not used, such as %s", settings.name, len(surplus),
                     surplus[0])  # fmt: skip
        return model
    try:
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(SEED)
            model = auto.from_config(config, trust_remote_code=code)  # type: ignore[no-untyped-call]
    except Exception as error:  # as above
        raise ModelUnavailable(f"{settings.name} cannot be built: {reason(error)}") from error
    if settings.weights != "none":
        path = Path(settings.weights).expanduser()
        try:
            model.load_state_dict(files.read(path))
        except RuntimeError as error:
            raise ModelUnavailable(
                f"{str(path)!r} does not fit {settings.name}: {misfit(error)}"
            ) from error
    return model


def _output(settings: ModelSettings, config: Any, kind: _Kind) -> Output:
    if kind.endswith("encoder"):
        return "embedding"
    if settings.output != "auto":
        return settings.output
    # The model's own configuration states it; its numbers would not tell.
    stated: dict[str | None, Output] = {
        "multi_label_classification": "sigmoid",
        "regression": "value",
    }
    return stated.get(getattr(config, "problem_type", None), "softmax")


def _origin(folder: Path) -> str:
    """The commit, which is what the cache calls the folder."""
    return folder.name if folder.parent.name == "snapshots" else ""


def _longest(config: Any, folder: Path) -> int | None:
    """Tokens that a model takes."""
    said = _json(folder / "sentence_bert_config.json").get("max_seq_length")
    if said:
        return int(said)
    positions = getattr(config, "max_position_embeddings", None)
    if positions is None:
        return None
    # RoBERTa counts positions from behind its padding token's.
    offset = config.pad_token_id + 1 if "roberta" in config.model_type else 0
    return int(positions) - offset


def _json(path: Path) -> dict[str, Any]:
    try:
        read = json.loads(path.read_text("utf-8"))
    except (OSError, ValueError):
        return {}
    return read if isinstance(read, dict) else {}


class _Pooling:
    """How tokens become one embedding."""

    def __init__(self, mode: Literal["mean", "cls"], *, unit: bool = False) -> None:
        self.mode, self.unit = mode, unit

    @classmethod
    def read(cls, settings: ModelSettings, folder: Path) -> _Pooling:
        """What is asked for, or what a folder of sentence-transformers says."""
        stated = _json(folder / "1_Pooling" / "config.json")
        mode: Literal["mean", "cls"] = "cls" if stated.get("pooling_mode_cls_token") else "mean"
        if settings.pooling != "auto":
            mode = settings.pooling
        try:
            modules = json.loads((folder / "modules.json").read_text("utf-8"))
            unit = any(one["type"].endswith("Normalize") for one in modules)
        except (OSError, ValueError, KeyError, TypeError):
            unit = False
        return cls(mode, unit=unit)


def _texts(model: Any, config: Any, pad: int, kind: _Kind, pooling: _Pooling) -> nn.Module:
    if kind == "text-encoder":
        return _TextEncoder(model, pad, pooling)
    if hasattr(model, "score"):
        return _LastToken(model, pad)
    return _TextClassifier(model, pad)


def _ids(tokens: Tensor, pad: int) -> tuple[Tensor, Tensor]:
    mask = tokens != PADDING
    return tokens.masked_fill(~mask, pad), mask


class _TextClassifier(nn.Module):
    """(B, L) tokens to (B, C) logits."""

    def __init__(self, model: nn.Module, pad: int) -> None:
        super().__init__()
        self.model, self.pad = model, pad

    def forward(self, tokens: Tensor) -> Tensor:
        """Logits."""
        ids, mask = _ids(tokens, self.pad)
        logits: Tensor = self.model(input_ids=ids, attention_mask=mask.long()).logits
        return logits


class _LastToken(nn.Module):
    """A decoder that is a classifier: the last token of a text has read all of it."""

    def __init__(self, model: Any, pad: int) -> None:
        super().__init__()
        self.body, self.score, self.pad = model.base_model, model.score, pad

    def forward(self, tokens: Tensor) -> Tensor:
        """Logits."""
        ids, mask = _ids(tokens, self.pad)
        hidden = self.body(input_ids=ids, attention_mask=mask.long()).last_hidden_state
        last = mask.sum(dim=1) - 1
        logits: Tensor = self.score(hidden[torch.arange(len(hidden), device=hidden.device), last])
        return logits


class _TextEncoder(nn.Module):
    """(B, L) tokens to (B, D) embeddings."""

    def __init__(self, model: nn.Module, pad: int, pooling: _Pooling) -> None:
        super().__init__()
        self.model, self.pad = model, pad
        self.mode, self.unit = pooling.mode, pooling.unit

    def forward(self, tokens: Tensor) -> Tensor:
        """Embeddings."""
        ids, mask = _ids(tokens, self.pad)
        hidden: Tensor = self.model(input_ids=ids, attention_mask=mask.long()).last_hidden_state
        if self.mode == "cls":
            pooled = hidden[:, 0]
        else:
            weight = mask.unsqueeze(2).to(hidden.dtype)
            pooled = (hidden * weight).sum(dim=1) / weight.sum(dim=1).clamp(min=1)
        return nn.functional.normalize(pooled, dim=1) if self.unit else pooled


class _Pictures(nn.Module):
    """(B, 3, H, W) pixels to (B, C) logits or, of an encoder, (B, D) embeddings."""

    def __init__(self, model: nn.Module, *, encodes: bool) -> None:
        super().__init__()
        self.model, self.encodes = model, encodes

    def forward(self, pixels: Tensor) -> Tensor:
        """Logits or embeddings."""
        made = self.model(pixel_values=pixels)
        if not self.encodes:
            logits: Tensor = made.logits
            return logits
        hidden: Tensor = made.last_hidden_state
        # A convolutional network has a map, a transformer has tokens, the class's first.
        return hidden.mean(dim=(2, 3)) if hidden.ndim == 4 else hidden[:, 0]

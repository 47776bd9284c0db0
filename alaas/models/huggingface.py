"""Models of Transformers, for pictures and texts: from the hub, from its cache, from a folder."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from torch import nn

from alaas.config import Inputs, ModelSettings, Tokenization
from alaas.core.errors import MissingExtra, ModelUnavailable
from alaas.models import processor, repository, sentences, tokenizer
from alaas.models import transformer as networks
from alaas.models.built import Built
from alaas.models.output import Output
from alaas.models.pretrained import Kind, load
from alaas.models.reason import reason

TASKS: dict[str, Kind] = {
    "text-classification": "text-classifier",
    "sentiment-analysis": "text-classifier",
    "feature-extraction": "text-encoder",
    "sentence-similarity": "text-encoder",
    "fill-mask": "text-encoder",
    "image-classification": "image-classifier",
    "image-feature-extraction": "image-encoder",
}
"""The tasks of Transformers that a choice can be made by."""

_OUTPUTS: dict[str | None, Output] = {
    None: "softmax",
    "single_label_classification": "softmax",
    "multi_label_classification": "sigmoid",
    "regression": "value",
}
"""What a configuration calls its problem."""


def build(settings: ModelSettings) -> Built:
    """Load a model with its weights and what prepares its input.

    `settings.name` is a folder, or the name of a repository of the hub, which is downloaded
    unless the cache has it. Weights must be safetensors.

    Raises:
        MissingExtra: ``alaas[huggingface]`` is not installed.
        ModelUnavailable: There is no such model, no way to get it, or it cannot be loaded.
    """
    try:
        import transformers  # noqa: F401
    except ImportError as error:
        raise MissingExtra(
            "models of Transformers need alaas[huggingface]: pip install 'alaas[huggingface]'"
        ) from error
    own = settings.weights == "default"
    if settings.revision and not settings.allow_code and Path(settings.name).expanduser().is_dir():
        raise ModelUnavailable(
            f"`revision` has no meaning for the folder {settings.name!r}, which has only one"
        )
    folder = repository.model(
        settings.name, settings.revision, weights=own, code=settings.allow_code
    )
    with _quietly():
        recipe = sentences.read(folder, settings.name)
        config = _config(settings, recipe.body)
        kind = _kind(settings, config, folder)
        _check_meaning(settings, kind)
        if own:
            repository.check_weights(recipe.body, settings.name)
        model = load(settings, config, recipe.body, kind)
        inputs: Inputs
        if kind.startswith("image"):
            inputs = settings.preprocess or processor.read(folder, settings.name)
            network = _pictures(model, settings, kind)
        else:
            inputs = _tokens(settings, config, model, recipe)
            network = _texts(model, settings, recipe, inputs.pad, kind)
    names = getattr(config, "id2label", None) or {}
    categories = tuple(str(names[key]) for key in sorted(names))
    return Built(
        network,
        inputs,
        categories=categories if kind.endswith("classifier") else (),
        output=_output(settings, config, kind),
        origin=repository.origin(folder),
    )


@contextmanager
def _quietly() -> Iterator[None]:
    """Without the bars and reports of Transformers: what matters of them is an error of ours."""
    from transformers.utils import logging

    level, bars = logging.get_verbosity(), logging.is_progress_bar_enabled()
    logging.set_verbosity_error()  # type: ignore[no-untyped-call]
    logging.disable_progress_bar()  # type: ignore[no-untyped-call]
    try:
        yield
    finally:
        logging.set_verbosity(level)
        if bars:
            logging.enable_progress_bar()  # type: ignore[no-untyped-call]


def _config(settings: ModelSettings, folder: Path) -> Any:
    import transformers

    try:
        return transformers.AutoConfig.from_pretrained(
            folder, local_files_only=True, trust_remote_code=settings.allow_code
        )
    except Exception as error:  # whatever is in the file
        raise ModelUnavailable(f"{settings.name} cannot be read: {reason(error)}") from error


def _kind(settings: ModelSettings, config: Any, folder: Path) -> Kind:
    """What a model is for: as it is asked for, or as its own files say."""
    import transformers

    if settings.task is not None and settings.task not in TASKS:
        raise ModelUnavailable(f"task {settings.task!r} is not one of {', '.join(TASKS)}")
    (first, *_) = getattr(config, "architectures", None) or [""]
    if settings.task is not None:
        kind = TASKS[settings.task]
    elif sentences.is_one(folder):
        kind = "text-encoder"
    elif "ForImageClassification" in first:
        kind = "image-classifier"
    elif "ForSequenceClassification" in first:
        kind = "text-classifier"
    else:
        kind = "image-encoder" if hasattr(config, "num_channels") else "text-encoder"
    known = {
        "text-classifier": transformers.MODEL_FOR_SEQUENCE_CLASSIFICATION_MAPPING,
        "image-classifier": transformers.MODEL_FOR_IMAGE_CLASSIFICATION_MAPPING,
    }
    if kind in known:
        fits = type(config) in known[kind] or bool(getattr(config, "auto_map", None))
    else:
        fits = (kind == "image-encoder") == hasattr(config, "num_channels")
    if not fits:
        raise ModelUnavailable(
            f"{settings.name}, {first or config.model_type}, is no {kind.replace('-', ' ')}: "
            f"set `task` to what it is, or to null"
        )
    return kind


def _check_meaning(settings: ModelSettings, kind: Kind) -> None:
    """Refuse what would change nothing of a model of that kind.

    Raises:
        ModelUnavailable: Something of the kind is set.
    """
    said = (
        f"{settings.name} is loaded as {'an' if kind[0] == 'i' else 'a'} {kind.replace('-', ' ')}"
    )
    encodes = kind.endswith("encoder")
    if encodes and settings.output not in {"auto", "embedding"}:
        raise ModelUnavailable(
            f"{said}, which returns embeddings, and `output` is {settings.output}: set `task` to "
            f"that of a classifier, or load what returns it with hub python"
        )
    if settings.pooling != "auto" and not encodes:
        raise ModelUnavailable(f"{said}, of which nothing is pooled: `pooling` has no meaning")


def _tokens(
    settings: ModelSettings, config: Any, model: Any, recipe: sentences.Recipe
) -> Tokenization:
    """What makes tokens that a model knows."""
    stated = [one for one in (recipe.longest, _longest(config, model)) if one is not None]
    inputs = tokenizer.find(
        settings.tokenizer or str(recipe.body),
        max_tokens=settings.max_tokens,
        longest=min(stated, default=None),
    )
    known = model.get_input_embeddings().weight.shape[0]
    if inputs.vocabulary > known:
        raise ModelUnavailable(
            f"the tokenizer has {inputs.vocabulary} tokens and {settings.name} knows "
            f"{known} of them: it is not its tokenizer"
        )
    # Some models find out by the token itself where a text has ended.
    pad = getattr(config, "pad_token_id", None)
    return inputs if pad is None else inputs.model_copy(update={"pad": pad})


def _longest(config: Any, model: Any) -> int | None:
    """Tokens that a model takes, where it has an end."""
    positions = getattr(config, "max_position_embeddings", None)
    if not isinstance(positions, int) or positions <= 0:
        return None
    # RoBERTa and its kin count positions from behind that of their padding token.
    for name, layer in model.named_modules():
        if name.endswith("position_embeddings") and getattr(layer, "padding_idx", None) is not None:
            return positions - int(layer.padding_idx) - 1
    return positions


def _texts(
    model: Any, settings: ModelSettings, recipe: sentences.Recipe, pad: int, kind: Kind
) -> nn.Module:
    if kind == "text-encoder":
        if getattr(model.config, "is_encoder_decoder", False):
            model = model.get_encoder()
        stated = recipe.pooling or "mean"
        pooling = stated if settings.pooling == "auto" else settings.pooling
        return networks.TextEncoder(model, pad, pooling, recipe.after)
    if isinstance(getattr(model, "score", None), nn.Linear):
        padding = getattr(model.config, "pad_token_id", None)
        return networks.LastTokenClassifier(model, pad, padding=padding)
    return networks.TextClassifier(model, pad)


def _pictures(model: Any, settings: ModelSettings, kind: Kind) -> nn.Module:
    if kind == "image-classifier":
        return networks.ImageClassifier(model)
    # A token of no place but of the whole picture, where there is one.
    whole = any(name.endswith("cls_token") for name, _ in model.named_parameters())
    if settings.pooling == "cls" and not whole:
        raise ModelUnavailable(f"{settings.name} has no class token: set `pooling` to mean")
    pooling = settings.pooling
    if pooling == "auto":
        pooling = "cls" if whole else "mean"
    return networks.ImageEncoder(model, pooling)


def _output(settings: ModelSettings, config: Any, kind: Kind) -> Output:
    if kind.endswith("encoder"):
        return "embedding"
    if settings.output != "auto":
        return settings.output
    # The model's own configuration states it; its numbers would not tell.
    stated = getattr(config, "problem_type", None)
    if stated is None and config.num_labels == 1:
        raise ModelUnavailable(
            f"{settings.name} returns one number and does not say what it is: set `output` to "
            f"sigmoid, for the logit of a probability, or to value"
        )
    return _OUTPUTS.get(stated, "softmax")

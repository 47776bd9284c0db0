"""Models of Transformers with random weights and next to no parameters, and tokenizers of theirs.

What a test wants of one it writes into a folder, as `save_pretrained` does.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import torch
import transformers
from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, processors

from alaas.config import LimitsSettings, ModelSettings
from alaas.core.types import Batch, Raw, Raws
from alaas.data.prepare import prepare
from alaas.models.card import ModelCard
from alaas.models.load import Model, load

WORDS = [
    "a", "the", "film", "story", "is", "was", "not", "very", "good", "bad", "dull", "bright",
    "moving", "and", "or", "of", "in", "with", "without", "plot", "actor", "voice", "music",
    "ending", "scene", ",", ".", "!",
]  # fmt: skip
LABELS = ("negative", "neutral", "positive")
TEXTS = [
    "the film was very good !",
    "bad",
    "a moving story with a bright ending , and music of the actor in a scene without plot .",
    "not good , not bad",
    "a dull voice",
    "the story is the plot and the plot is the story",
    "unheard words of a film",
]
MOST = 48
"""Tokens that the models below take."""


def write_tokenizer(
    folder: Path, *, frame: tuple[str, str] | None = ("[CLS]", "[SEP]"), pad: str | None = "[PAD]",
    words: Sequence[str] = WORDS, most: int | None = MOST,
) -> int:  # fmt: skip
    """Write a tokenizer that knows whole words; how many tokens it has is returned."""
    special = [*([pad] if pad else []), "[UNK]", *(frame or ())]
    vocabulary = {word: number for number, word in enumerate([*special, *words])}
    made = Tokenizer(models.WordLevel(vocabulary, unk_token="[UNK]"))
    made.normalizer = normalizers.Lowercase()
    made.pre_tokenizer = pre_tokenizers.Whitespace()
    if frame:
        made.post_processor = processors.TemplateProcessing(
            single=f"{frame[0]} $A {frame[1]}",
            special_tokens=[(name, vocabulary[name]) for name in frame],
        )
    kept = transformers.PreTrainedTokenizerFast(
        tokenizer_object=made, unk_token="[UNK]", pad_token=pad,
        **({"model_max_length": most} if most else {}),
    )  # fmt: skip
    kept.save_pretrained(folder)
    return len(vocabulary)


def _labels(labels: Sequence[str]) -> dict[str, Any]:
    return {
        "id2label": dict(enumerate(labels)),
        "label2id": {label: number for number, label in enumerate(labels)},
    }


def _bert(**more: Any) -> Any:
    return transformers.BertConfig(
        hidden_size=32, num_hidden_layers=2, num_attention_heads=4, intermediate_size=48,
        max_position_embeddings=MOST, pad_token_id=0, **more,
    )  # fmt: skip


def _distilbert(**more: Any) -> Any:
    return transformers.DistilBertConfig(
        dim=32, n_layers=2, n_heads=4, hidden_dim=48, max_position_embeddings=MOST,
        pad_token_id=0, **more,
    )  # fmt: skip


def _roberta(**more: Any) -> Any:
    return transformers.RobertaConfig(
        hidden_size=32, num_hidden_layers=2, num_attention_heads=4, intermediate_size=48,
        max_position_embeddings=MOST + 1, pad_token_id=0, type_vocab_size=1, **more,
    )  # fmt: skip


def _gpt2(**more: Any) -> Any:
    return transformers.GPT2Config(
        n_embd=32, n_layer=2, n_head=4, n_positions=MOST, bos_token_id=0, eos_token_id=0, **more
    )


def _llama(**more: Any) -> Any:
    return transformers.LlamaConfig(
        hidden_size=32, num_hidden_layers=2, num_attention_heads=4, num_key_value_heads=2,
        intermediate_size=48, max_position_embeddings=MOST, bos_token_id=0, eos_token_id=0, **more,
    )  # fmt: skip


CONFIGS: dict[str, Callable[..., Any]] = {
    "bert": _bert, "distilbert": _distilbert, "roberta": _roberta, "gpt2": _gpt2, "llama": _llama,
}  # fmt: skip
HEADS = {
    "bert": "classifier", "distilbert": "classifier", "roberta": "classifier.out_proj",
    "gpt2": "score", "llama": "score",
}  # fmt: skip
"""The last linear layer of each."""


def write_classifier(
    folder: Path, kind: str = "bert", *, labels: Sequence[str] = LABELS, **config: Any
) -> Path:
    """Write a classifier of texts with its tokenizer."""
    decodes = kind in {"gpt2", "llama"}
    size = write_tokenizer(
        folder, frame=None if decodes else ("[CLS]", "[SEP]"), pad=None if decodes else "[PAD]"
    )
    made = CONFIGS[kind](**{"vocab_size": size, **_labels(labels), **config})
    return _write(transformers.AutoModelForSequenceClassification, made, folder)


def write_encoder(folder: Path, kind: str = "bert", **config: Any) -> Path:
    """Write an encoder of texts with its tokenizer."""
    size = write_tokenizer(folder)
    return _write(transformers.AutoModel, CONFIGS[kind](vocab_size=size, **config), folder)


def _write(auto: Any, config: Any, folder: Path) -> Path:
    with torch.random.fork_rng():
        torch.manual_seed(5)
        model = auto.from_config(config)
        for parameter in model.parameters():  # so that predictions differ from text to text
            if parameter.ndim > 1:
                torch.nn.init.normal_(parameter, std=0.3)
    model.save_pretrained(folder)
    return folder


def write_pictures(folder: Path, config: Any, processor: Any, *, encodes: bool = False) -> Path:
    """Write a model of pictures with its image processor."""
    auto = transformers.AutoModel if encodes else transformers.AutoModelForImageClassification
    if not encodes:
        config.id2label, config.label2id = _labels(LABELS).values()
    processor.save_pretrained(folder)
    return _write(auto, config, folder)


def settings(folder: Path | str, **more: Any) -> ModelSettings:
    """The model section of a configuration."""
    given = {"hub": "huggingface", "name": str(folder), "device": "cpu", "runtime": "torch"}
    return ModelSettings.model_validate({**given, **more})


def loaded(folder: Path | str, **more: Any) -> Model:
    """A model, run by torch."""
    return load(settings(folder, **more))


def tokens(texts: Sequence[str], card: ModelCard) -> Batch:
    """What *preprocess* makes of texts."""
    raws = [Raw(str(row), text.encode(), is_text=True) for row, text in enumerate(texts)]
    return prepare(Raws(0, tuple(raws)), card.preprocessing, LimitsSettings())


def views(model: Model, texts: Sequence[str], *names: str) -> dict[str, Any]:
    """Views of texts, as one micro-batch."""
    return model.classifier.views(tokens(texts, model.card).array, names)

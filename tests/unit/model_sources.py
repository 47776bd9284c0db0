"""A small model of every source, and what each of them computes.

    PYTHONPATH=.:tests/unit python tests/unit/model_sources.py

prints the table of `docs/models.md`; a test compares both.
"""

from __future__ import annotations

import os
import tempfile
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

from alaas.config import ModelSettings
from alaas.core.errors import ModelUnavailable
from alaas.models import live
from alaas.models.entry import noise
from alaas.models.load import Model, load

VIEWS = ("probs", "embeddings", "grads", "margins")
DRAWS: Mapping[str, Mapping[str, Any]] = {
    "dropout": {},
    "head only": {"head_only": True},
    "dropconnect": {"by": "dropconnect"},
    "augment": {"by": "augment"},
}
"""Name in the table of each way to draw, and its settings. An ensemble takes two files."""

COMMIT = "0123456789abcdef0123456789abcdef01234567"
SQUARE = {"size": 8, "resize": 8, "mean": [0.5] * 3, "std": [0.25] * 3}


@dataclass(frozen=True, slots=True)
class Source:
    """A source of models, for one kind of items.

    Attributes:
        name: What it is called in the configuration, or in `alaas.select`.
        kind: What of it this is.
        load: Loads one, with more settings.
    """

    name: str
    kind: str
    load: Callable[[Mapping[str, Any]], Model]


def network() -> nn.Module:
    """Eight by eight pixels to three classes, with dropout."""
    torch.manual_seed(0)
    return nn.Sequential(
        nn.Conv2d(3, 4, 3), nn.ReLU(), nn.Flatten(), nn.Linear(144, 6), nn.ReLU(),
        nn.Dropout(0.5), nn.Linear(6, 3),
    )  # fmt: skip


class Reader(nn.Module):
    """Tokens to two classes, with dropout."""

    def __init__(self) -> None:
        super().__init__()
        self.words, self.drop, self.fc = nn.Embedding(8, 5), nn.Dropout(0.5), nn.Linear(5, 2)

    def forward(self, tokens: torch.Tensor) -> torch.Tensor:
        """Logits."""
        there = (tokens >= 0).unsqueeze(2)
        hidden = (self.words(tokens.clamp(min=0)) * there).sum(dim=1) / there.sum(dim=1)
        logits: torch.Tensor = self.fc(self.drop(hidden))
        return logits


def sources(folder: Path) -> Iterator[Source]:
    """Every source, with files in a folder."""
    tokenizer = _tokenizer(folder / "tokenizer")

    def named(hub: str, name: str, **rest: Any) -> Callable[[Mapping[str, Any]], Model]:
        def made(more: Mapping[str, Any]) -> Model:
            given = {"hub": hub, "name": name, "device": "cpu", "runtime": "auto", **rest, **more}
            if hub != "onnx":
                given["runtime"] = "torch"
            return load(ModelSettings.model_validate(given))

        return made

    small = {"weights": "none", "preprocess": {**SQUARE, "size": 32, "resize": 32}}
    yield Source("torchvision", "image classifier", named("torchvision", "resnet18", **small))
    for kind, path in _of_transformers(folder, tokenizer):
        yield Source("huggingface", kind, named("huggingface", str(path)))
    yield Source("timm", "image classifier", named("timm", "test_resnet", **small))
    yield from _onnx(folder, tokenizer, named)
    mine = "model_sources"
    yield Source("python", "network for images",
                 named("python", f"{mine}:network", preprocess=SQUARE))  # fmt: skip
    yield Source("python", "network for texts",
                 named("python", f"{mine}:Reader", tokenizer=str(tokenizer)))  # fmt: skip
    yield Source("owner/repository:commit", "network for images", named(
        _torch_hub(folder), "network", allow_code=True, preprocess=SQUARE))  # fmt: skip
    yield from _live(tokenizer)


def _live(tokenizer: Path) -> Iterator[Source]:
    from sklearn.ensemble import RandomForestClassifier
    from sklearn.feature_extraction.text import TfidfVectorizer
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import make_pipeline

    def here(model: Any, dim: int | None = None, **said: Any) -> Callable[[Any], Model]:
        return lambda more: live.load(live.Live(model, {**said, "device": "cpu", **more}), dim=dim)

    rows = np.random.default_rng(0).normal(size=(60, 5))
    labels = (rows[:, 0] > 0).astype(int) + (rows[:, 1] > 0)
    texts = ["a good film", "a bad film", "good fun", "bad luck"]
    flat = nn.Sequential(nn.Linear(5, 6), nn.ReLU(), nn.Dropout(0.5), nn.Linear(6, 3))
    letters = TfidfVectorizer(analyzer="char")  # noise has no words
    reading = make_pipeline(letters, LogisticRegression()).fit(texts, [1, 0, 1, 0])
    module = "live torch module"
    yield Source(module, "network for images", here(network(), preprocess=SQUARE))
    yield Source(module, "network for texts", here(Reader(), tokenizer=str(tokenizer)))
    yield Source(module, "network for vectors", here(flat, 5))
    linear = LogisticRegression().fit(rows, labels)
    yield Source("live estimator", "linear, for vectors", here(linear, 5))
    forest = RandomForestClassifier(5, random_state=0).fit(rows, labels)
    yield Source("live estimator", "forest, for vectors", here(forest, 5))
    yield Source("live estimator", "linear pipeline for texts", here(reading))
    yield Source("an array alone", "vectors", here(None, 5))


def _tokenizer(folder: Path) -> Path:
    from tokenizers import Tokenizer, models, pre_tokenizers
    from transformers import PreTrainedTokenizerFast

    words = ["[PAD]", "[UNK]", "a", "good", "bad", "film", "fun", "luck"]
    tokens = Tokenizer(models.WordLevel({one: at for at, one in enumerate(words)}, "[UNK]"))
    tokens.pre_tokenizer = pre_tokenizers.Whitespace()
    PreTrainedTokenizerFast(  # type: ignore[no-untyped-call]
        tokenizer_object=tokens, unk_token="[UNK]", pad_token="[PAD]"
    ).save_pretrained(str(folder))
    return folder


def _of_transformers(folder: Path, tokenizer: Path) -> Iterator[tuple[str, Path]]:
    import transformers

    torch.manual_seed(0)
    text = transformers.BertConfig(  # type: ignore[call-arg]
        vocab_size=8, hidden_size=16, num_hidden_layers=1, num_attention_heads=2,
        intermediate_size=16, max_position_embeddings=32, num_labels=3,
    )  # fmt: skip
    image = transformers.ViTConfig(  # type: ignore[call-arg]
        image_size=16, patch_size=8, hidden_size=16, num_hidden_layers=1, num_attention_heads=2,
        intermediate_size=16, num_labels=3,
    )  # fmt: skip
    models: dict[str, Any] = {
        "image classifier": transformers.ViTForImageClassification(image),
        "image encoder": transformers.ViTModel(image),
        "text classifier": transformers.BertForSequenceClassification(text),
        "text encoder": transformers.BertModel(text),
    }
    processor = transformers.ViTImageProcessor(size={"height": 16, "width": 16})
    reader = transformers.AutoTokenizer.from_pretrained(str(tokenizer))
    for kind, model in models.items():
        path = folder / kind.replace(" ", "-")
        model.save_pretrained(str(path))
        (processor if kind.startswith("image") else reader).save_pretrained(str(path))
        yield kind, path


def _onnx(folder: Path, tokenizer: Path, named: Callable[..., Any]) -> Iterator[Source]:
    from onnx import TensorProto
    from onnx_files import network as graph
    from onnx_files import written

    images = written(folder / "images.onnx", graph(("B", 3, 4, 4)))
    square = {**SQUARE, "size": 4, "resize": 4}
    yield Source("onnx", "network for images", named("onnx", str(images), preprocess=square))
    texts = graph(("B", 1), taken="input_ids", kind=TensorProto.INT64)
    texts.graph.node[0].input[0] = "one"
    _mean_of_tokens(texts)
    path = str(written(folder / "texts.onnx", texts))
    yield Source("onnx", "network for texts", named("onnx", path, tokenizer=str(tokenizer)))
    vectors = written(folder / "vectors.onnx", graph(("B", 5)))
    yield Source("onnx", "network for vectors", named("onnx", str(vectors)))


def _mean_of_tokens(model: Any) -> None:
    """Makes a graph of one number begin with the mean of (B, L) tokens."""
    from onnx import TensorProto, helper

    given = model.graph.input[0].type.tensor_type.shape.dim[1]
    given.ClearField("dim_value")
    given.dim_param = "L"
    model.graph.node.insert(0, helper.make_node("Cast", ["input_ids"], ["real"], to=1))
    model.graph.node.insert(
        1, helper.make_node("ReduceMean", ["real"], ["one"], axes=[1], keepdims=1)
    )
    assert TensorProto.FLOAT == 1


def _torch_hub(folder: Path) -> str:
    """A repository in the cache of torch.hub."""
    os.environ["TORCH_HOME"] = str(folder / "torch")
    path = folder / "torch" / "hub" / f"some_repository_{COMMIT}"
    path.mkdir(parents=True)
    (path / "hubconf.py").write_text("from model_sources import network\n")
    return f"some/repository:{COMMIT}"


def cells(source: Source) -> tuple[str, list[str]]:
    """What an item is, and the views and draws that were computed of three."""
    model = source.load({})
    rows = noise(model.card.preprocessing, 3)
    found = []
    for view in VIEWS:
        if view in model.card.views:
            made = model.classifier.views(rows, (view,))[view]
            assert len(made) == 3
            assert np.isfinite(made).all()
        found.append("yes" if view in model.card.views else "")
    found.append(", ".join(name for name in DRAWS if _draws(source, DRAWS[name])))
    return model.card.modality, found


def _draws(source: Source, settings: Mapping[str, Any]) -> bool:
    """Whether there are draws, which differ."""
    try:
        model = source.load({"draws": settings})
    except ModelUnavailable:
        return False
    if "draws" not in model.card.views:
        return False
    rows = noise(model.card.preprocessing, 3)
    made = model.classifier.views(rows, ("draws",), n_drop=8)["draws"]
    assert len(np.unique(made, axis=1)[0]) > 1, (source, settings)
    return True


def table() -> str:
    """The table, as Markdown."""
    head = ["source", "model", "items", *VIEWS, "draws"]
    lines = [head, ["---"] * len(head)]
    before = os.environ.get("TORCH_HOME")
    try:
        with tempfile.TemporaryDirectory() as folder:
            for source in sources(Path(folder)):
                modality, found = cells(source)
                lines.append([source.name, source.kind, modality, *found])
    finally:
        os.environ.pop("TORCH_HOME", None)
        if before is not None:
            os.environ["TORCH_HOME"] = before
    return "".join("| " + " | ".join(line) + " |\n" for line in lines)


if __name__ == "__main__":
    print(table(), end="")

"""ONNX files: what ONNX Runtime makes of them, and which files are refused."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
import torch
from numpy.testing import assert_allclose
from onnx import TensorProto, helper, numpy_helper
from onnx_files import CLASSES, HIDDEN, computed, network, written
from tiny_transformers import write_tokenizer

import alaas
from alaas.config import ModelSettings, Vectors
from alaas.core.errors import MissingExtra, ModelUnavailable, ViewUnavailable
from alaas.models.entry import Normalisation, noise
from alaas.models.load import load

SQUARE = {"size": 4, "mean": [0.5, 0.4, 0.3], "std": [0.25, 0.2, 0.3]}
PIXELS = ("B", 3, 4, 4)


def settings(path: Path, **rest: Any) -> ModelSettings:
    return ModelSettings.model_validate({"hub": "onnx", "name": str(path), "device": "cpu", **rest})


def refusal(path: Path, **rest: Any) -> str:
    with pytest.raises(ModelUnavailable) as caught:
        load(settings(path, **rest))
    assert "\n" not in caught.value.detail
    return caught.value.detail


def softmax(logits: Any) -> Any:
    powers = np.exp(logits - logits.max(axis=1, keepdims=True))
    return powers / powers.sum(axis=1, keepdims=True)


def test_pictures(tmp_path: Path) -> None:
    path = written(tmp_path / "m.onnx", network(PIXELS))
    model = load(settings(path, preprocess=SQUARE))
    spec = model.card.preprocessing
    batch = noise(spec, 7)
    normalised = Normalisation(spec)(torch.from_numpy(batch))  # type: ignore[arg-type]
    hidden, logits = computed(normalised.contiguous().numpy(), 48)
    views = model.classifier.views(batch, ("probs", "embeddings"))
    assert_allclose(views["probs"], softmax(logits), atol=1e-5)
    assert_allclose(views["embeddings"], hidden, atol=1e-5)
    card = model.card
    assert card.views == ("probs", "embeddings")
    assert (card.runtime, card.precision, card.output) == ("onnxruntime", "fp32", "softmax")
    assert (card.classes, card.dim, card.modality) == (CLASSES, HIDDEN, "image")


def test_vectors(tmp_path: Path) -> None:
    model = load(settings(written(tmp_path / "m.onnx", network(("B", 5)))))
    assert model.card.preprocessing == Vectors(dim=5)
    batch = noise(model.card.preprocessing, 9)
    hidden, logits = computed(batch, 5)
    views = model.classifier.views(batch, ("probs", "embeddings"))
    assert_allclose(views["probs"], softmax(logits), atol=1e-5)
    assert_allclose(views["embeddings"], hidden, atol=1e-5)


def test_a_file_for_a_fixed_number_of_rows(tmp_path: Path) -> None:
    free = load(settings(written(tmp_path / "free.onnx", network(("B", 5)))))
    fixed = load(settings(written(tmp_path / "fixed.onnx", network((4, 5)))))
    for rows in (1, 4, 6):
        batch = noise(free.card.preprocessing, rows)
        assert_allclose(
            fixed.classifier.views(batch, ("probs",))["probs"],
            free.classifier.views(batch, ("probs",))["probs"],
            atol=1e-6,
        )


@pytest.mark.parametrize(
    ("kind", "tolerance"), [(TensorProto.DOUBLE, 1e-5), (TensorProto.FLOAT16, 5e-3)]
)
def test_other_kinds_of_numbers(tmp_path: Path, kind: int, tolerance: float) -> None:
    model = load(settings(written(tmp_path / "m.onnx", network(("B", 5), kind=kind))))
    batch = noise(model.card.preprocessing, 6)
    _, logits = computed(batch, 5)
    assert_allclose(
        model.classifier.views(batch, ("probs",))["probs"], softmax(logits), atol=tolerance
    )


@pytest.mark.parametrize("last", ["Softmax", "LogSoftmax", "Sigmoid"])
def test_what_a_graph_ends_in_is_not_done_twice(tmp_path: Path, last: str) -> None:
    path = written(tmp_path / "m.onnx", network(("B", 5), outputs=["made so"], last=last))
    model = load(settings(path))
    batch = noise(model.card.preprocessing, 6)
    _, logits = computed(batch, 5)
    wanted = 1 / (1 + np.exp(-logits)) if last == "Sigmoid" else softmax(logits)
    assert model.card.output == ("sigmoid" if last == "Sigmoid" else "softmax")
    found = model.classifier.views(batch, ("probs",))["probs"]
    assert_allclose(found, wanted, atol=1e-5)
    other = "softmax" if last == "Sigmoid" else "sigmoid"
    said = refusal(path, output=other)
    assert said == (
        f"the output 'made so' of '{path}' comes out of {last}, and `output` is {other}"
    )


def chain(*kinds: tuple[str, list[str], dict[str, Any]]) -> list[onnx.NodeProto]:
    """Operations one after the other, from ``more`` to ``made more``."""
    names = ["more", *(f"step {number}" for number in range(len(kinds) - 1)), "made more"]
    return [
        helper.make_node(kind, [source, *beside], [made], **said)
        for (kind, beside, said), source, made in zip(kinds, names, names[1:], strict=False)
    ]


CAST = ("Cast", [], {"to": TensorProto.FLOAT})
FLATTEN = ("Flatten", [], {"axis": 1})
RESHAPE = ("Reshape", ["shape"], {})
APART = ("Unsqueeze", ["last"], {})
TOGETHER = ("Squeeze", ["last"], {})
ROWS = {
    "shape": np.array([-1, CLASSES], np.int64),
    "last": np.array([2], np.int64),
}


@pytest.mark.parametrize(
    "kinds",
    [
        [CAST],
        [FLATTEN],
        [RESHAPE],
        [APART, TOGETHER],
        [("Identity", [], {})],
        [CAST, RESHAPE, CAST],
    ],
)
@pytest.mark.parametrize("last", ["Softmax", "Sigmoid"])
def test_nor_where_its_numbers_are_only_passed_on(
    tmp_path: Path, last: str, kinds: list[Any]
) -> None:
    graph = network(("B", 5), outputs=["logits"], last=last, after=chain(*kinds))
    graph.graph.initializer.extend(
        numpy_helper.from_array(array, name) for name, array in ROWS.items()
    )
    model = load(settings(written(tmp_path / "m.onnx", graph)))
    batch = noise(model.card.preprocessing, 6)
    _, logits = computed(batch, 5)
    wanted = 1 / (1 + np.exp(-logits)) if last == "Sigmoid" else softmax(logits)
    found = model.classifier.views(batch, ("probs",))["probs"]
    assert_allclose(found, wanted, atol=1e-5)


@pytest.mark.parametrize("last", ["Softmax", "LogSoftmax"])
@pytest.mark.parametrize("after", [[], [CAST]])
def test_probabilities_of_items_are_none_of_classes(
    tmp_path: Path, last: str, after: list[Any]
) -> None:
    graph = network(("B", 5), outputs=["logits"], last=last, axis=0, after=chain(*after))
    path = written(tmp_path / "m.onnx", graph)
    assert refusal(path) == (
        f"the output 'logits' of '{path}' comes out of {last}, and the numbers of an item do not "
        f"sum up to 1: its axis must be that of the classes"
    )


def test_several_classes_are_stated(tmp_path: Path) -> None:
    path = written(tmp_path / "m.onnx", network(("B", 5)))
    model = load(settings(path, output="sigmoid"))
    batch = noise(model.card.preprocessing, 6)
    _, logits = computed(batch, 5)
    found = model.classifier.views(batch, ("probs",))["probs"]
    assert_allclose(found, 1 / (1 + np.exp(-logits)), atol=1e-5)


@pytest.mark.parametrize(
    ("outputs", "output"), [(["embeddings"], "auto"), (["logits", "embeddings"], "embedding")]
)
def test_an_encoder(tmp_path: Path, outputs: list[str], output: str) -> None:
    path = written(tmp_path / "m.onnx", network(("B", 5), outputs=outputs))
    model = load(settings(path, output=output))
    assert (model.card.views, model.card.output) == (("embeddings",), "embedding")
    batch = noise(model.card.preprocessing, 6)
    hidden, _ = computed(batch, 5)
    assert_allclose(model.classifier.views(batch, ("embeddings",))["embeddings"], hidden, atol=1e-5)


def test_the_output_called_logits_goes_first(tmp_path: Path) -> None:
    path = written(tmp_path / "m.onnx", network(("B", 5), outputs=["embeddings", "logits"]))
    assert load(settings(path)).card.classes == CLASSES
    path = written(tmp_path / "n.onnx", network(("B", 5), outputs=["embeddings", "scores"]))
    assert load(settings(path)).card.classes == CLASSES


def test_the_digest_is_that_of_the_content(tmp_path: Path) -> None:
    first = load(settings(written(tmp_path / "a.onnx", network(("B", 5))))).card.digest
    same = load(settings(written(tmp_path / "b.onnx", network(("B", 5))))).card.digest
    changed = network(("B", 5))
    changed.graph.initializer[1].raw_data = bytes(HIDDEN * CLASSES * 4)
    assert same == first
    assert load(settings(written(tmp_path / "c.onnx", changed))).card.digest != first


def reader(path: Path) -> Path:
    """An encoder of texts, from (B, L) tokens to (B, L, 4)."""
    table = np.random.default_rng(0).normal(size=(16, 4)).astype(np.float32)
    graph = helper.make_graph(
        [helper.make_node("Gather", ["table", "input_ids"], ["embeddings"])],
        "a table of words",
        [helper.make_tensor_value_info("input_ids", TensorProto.INT64, ["B", "L"])],
        [helper.make_tensor_value_info("embeddings", TensorProto.FLOAT, ["B", "L", 4])],
        [numpy_helper.from_array(table, "table")],
    )
    opsets = [helper.make_opsetid("", 17)]
    return written(path, helper.make_model(graph, opset_imports=opsets, ir_version=8))


def test_the_pooling_is_a_part_of_what_a_model_is(tmp_path: Path) -> None:
    write_tokenizer(tmp_path, words=["a", "good", "film"])
    path = reader(tmp_path / "m.onnx")
    mean, first, auto = (
        load(settings(path, tokenizer=str(tmp_path), pooling=pooling))
        for pooling in ("mean", "cls", "auto")
    )
    batch = noise(mean.card.preprocessing, 3)
    one, other = (
        model.classifier.views(batch, ("embeddings",))["embeddings"] for model in (mean, first)
    )
    assert np.abs(one - other).max() > 0.1
    assert mean.card.digest == auto.card.digest != first.card.digest
    assert mean.card.space == auto.card.space != first.card.space


class TestFilesBeside:
    """Weights that lie in a file of their own."""

    def split(self, folder: Path, *, location: str = "weights.bin", scale: float = 1) -> Path:
        model = network(("B", 5))
        for one in model.graph.initializer:
            one.raw_data = (np.frombuffer(one.raw_data, np.float32) * np.float32(scale)).tobytes()
        folder.mkdir(exist_ok=True)
        path = folder / "m.onnx"
        onnx.save(model, path, save_as_external_data=True, location="weights.bin", size_threshold=0)
        if location != "weights.bin":
            written_again = onnx.load(path, load_external_data=False)
            for one in written_again.graph.initializer:
                for entry in one.external_data:
                    if entry.key == "location":
                        entry.value = location
            path.write_bytes(written_again.SerializeToString())
        return path

    def test_in_its_own_folder(self, tmp_path: Path) -> None:
        whole = load(settings(written(tmp_path / "m.onnx", network(("B", 5)))))
        split = load(settings(self.split(tmp_path / "split")))
        batch = noise(whole.card.preprocessing, 6)
        assert_allclose(
            split.classifier.views(batch, ("probs",))["probs"],
            whole.classifier.views(batch, ("probs",))["probs"],
            atol=1e-6,
        )

    def test_they_are_in_the_digest(self, tmp_path: Path) -> None:
        one = load(settings(self.split(tmp_path / "one"))).card.digest
        other = load(settings(self.split(tmp_path / "other", scale=2))).card.digest
        assert one != other

    @pytest.mark.parametrize("location", ["../weights.bin", "/tmp/weights.bin", "a/../../w.bin"])
    def test_outside_it_they_are_refused(self, tmp_path: Path, location: str) -> None:
        said = refusal(self.split(tmp_path / "split", location=location))
        assert said.endswith(f"wants its weights from {location!r}, outside its own folder")

    def test_that_are_not_there(self, tmp_path: Path) -> None:
        path = self.split(tmp_path / "split")
        (tmp_path / "split" / "weights.bin").unlink()
        assert refusal(path).endswith("has its weights in 'weights.bin': no such file")


class TestRefused:
    def test_what_is_no_file(self, tmp_path: Path) -> None:
        said = refusal(tmp_path / "gone.onnx")
        assert said == f"there is no ONNX file '{tmp_path}/gone.onnx'"

    def test_what_is_no_onnx(self, tmp_path: Path) -> None:
        (tmp_path / "m.onnx").write_bytes(b"\x80\x04 no protocol buffer at all \xff\xff")
        assert refusal(tmp_path / "m.onnx").startswith(f"'{tmp_path}/m.onnx' is no ONNX file: ")

    def test_what_onnx_runtime_does_not_open(self, tmp_path: Path) -> None:
        model = network(("B", 5))
        model.graph.node[3].op_type = "NoSuchOperation"
        said = refusal(written(tmp_path / "m.onnx", model))
        assert said.startswith(f"ONNX Runtime does not open '{tmp_path}/m.onnx': ")

    def test_a_file_cut_short(self, tmp_path: Path) -> None:
        path = written(tmp_path / "m.onnx", network(("B", 5)))
        path.write_bytes(path.read_bytes()[:-40])
        assert refusal(path).startswith((f"'{path}' is no ONNX", "ONNX Runtime does not open"))

    @pytest.mark.parametrize(
        ("shape", "rest", "said"),
        [
            (PIXELS, {}, "takes pictures: `preprocess` must say their size, mean and std"),
            (PIXELS, {"preprocess": {**SQUARE, "size": 8}},
             "takes (B, 3, 4, 4); preprocess.size is [8, 8]"),
            (("B", 4, 4, 3), {"preprocess": SQUARE},
             "takes x (B, 4, 4, 3); it must be (B, 3, H, W) for pictures or (B, D) for vectors"),
            (("B", 4, 3), {}, "must be (B, 3, H, W) for pictures or (B, D) for vectors"),
            (("B", 5), {"preprocess": SQUARE}, "takes vectors, (B, 5): `preprocess` is none"),
            (("B", "D"), {}, "does not say how many numbers a vector has, it takes (B, D)"),
        ],
    )  # fmt: skip
    def test_shapes(self, tmp_path: Path, shape: Any, rest: dict[str, Any], said: str) -> None:
        assert said in refusal(written(tmp_path / "m.onnx", network(shape)), **rest)

    def test_several_inputs(self, tmp_path: Path) -> None:
        model = network(("B", 5))
        model.graph.input.append(helper.make_tensor_value_info("y", TensorProto.FLOAT, ["B", 5]))
        assert "takes x (B, 5), y (B, 5); it must be one input" in refusal(
            written(tmp_path / "m.onnx", model)
        )

    def test_an_input_of_texts(self, tmp_path: Path) -> None:
        path = written(tmp_path / "m.onnx", network(("B", 5), kind=TensorProto.BOOL))
        assert "takes tensor(bool) as 'x'; numbers are given" in refusal(path)

    def test_an_output_of_whole_numbers(self, tmp_path: Path) -> None:
        model = network(("B", 5), outputs=["label"])
        del model.graph.node[-1], model.graph.output[:]
        model.graph.node.append(helper.make_node("ArgMax", ["made"], ["label"], axis=1))
        model.graph.output.append(helper.make_tensor_value_info("label", TensorProto.INT64, None))
        said = refusal(written(tmp_path / "m.onnx", model))
        assert "the output 'label' of" in said
        assert said.endswith("name the output of logits 'logits'")

    @pytest.mark.parametrize(
        ("rest", "said"),
        [
            ({"weights": "none"}, "`weights` has no meaning for an ONNX file, which is whole"),
            ({"max_tokens": 9}, "`max_tokens` has no meaning for "),
            ({"pooling": "cls"}, "`pooling` has no meaning for "),
            ({"head": "fc"}, "`head` has no meaning for an ONNX file"),
            ({"runtime": "openvino"}, "runs in onnxruntime as it is, and `runtime` is openvino"),
            ({"precision": "bf16"}, "has a precision of its own, and `precision` is bf16"),
            ({"margins": "input"}, "margins of inputs need logits with a gradient there"),
        ],
    )
    def test_settings(self, tmp_path: Path, rest: dict[str, Any], said: str) -> None:
        assert said in refusal(written(tmp_path / "m.onnx", network(("B", 5))), **rest)

    def test_without_the_extra(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        path = written(tmp_path / "m.onnx", network(("B", 5)))
        monkeypatch.setitem(sys.modules, "onnxruntime", None)
        with pytest.raises(MissingExtra, match=r"pip install 'alaas\[onnx\]'"):
            load(settings(path))


def test_the_whole_path_with_vectors(tmp_path: Path) -> None:
    path = written(tmp_path / "m.onnx", network(("B", 5)))
    rows = np.random.default_rng(1).normal(size=(60, 5)).astype(np.float32)
    _, logits = computed(rows, 5)
    result = alaas.select(rows, 7, model={"hub": "onnx", "name": str(path)})
    wanted = np.argsort(softmax(logits).max(axis=1), kind="stable")[:7]
    assert result.ids == [str(row) for row in wanted]
    with pytest.raises(ViewUnavailable, match=r"m\.onnx"):
        alaas.select(rows, 7, strategy="deep_fool", model={"hub": "onnx", "name": str(path)})

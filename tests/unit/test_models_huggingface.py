"""Models of Transformers that lie in a folder, against what Transformers itself computes."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import transformers
from numpy.testing import assert_allclose
from safetensors.torch import load_file, save_file
from tiny_transformers import (
    HEADS,
    LABELS,
    MOST,
    TEXTS,
    loaded,
    settings,
    tokens,
    views,
    write_classifier,
    write_encoder,
    write_tokenizer,
)

from alaas.core.errors import ModelUnavailable
from alaas.models import live
from alaas.models.load import load

KINDS = list(HEADS)


def alone(folder: Path, kind: str) -> dict[str, np.ndarray[Any, Any]]:
    """Logits and what the head receives, of each text alone, without any code of ours."""
    model = transformers.AutoModelForSequenceClassification.from_pretrained(folder).eval()
    tokenizer = transformers.AutoTokenizer.from_pretrained(folder)
    entered: list[torch.Tensor] = []
    head = model.get_submodule(HEADS[kind])
    head.register_forward_pre_hook(lambda _, given: entered.append(given[0]))
    with torch.inference_mode():
        logits = [
            model(**tokenizer(text, truncation=True, max_length=MOST, return_tensors="pt")).logits
            for text in TEXTS
        ]
    last = [one[:, -1] if one.ndim == 3 else one for one in entered]
    return {"logits": torch.cat(logits).numpy(), "embeddings": torch.cat(last).numpy()}


@pytest.mark.parametrize("kind", KINDS)
def test_a_classifier_of_texts_predicts_as_it_does_alone(tmp_path: Path, kind: str) -> None:
    folder = write_classifier(tmp_path, kind)
    wanted = alone(folder, kind)
    model = loaded(folder)
    found = views(model, TEXTS, "probs", "embeddings", "head")
    probs = torch.from_numpy(wanted["logits"]).softmax(1).numpy()
    assert probs.std(axis=0).max() > 0.05  # texts differ
    assert_allclose(found["probs"], probs, atol=1e-6)
    assert_allclose(found["embeddings"], wanted["embeddings"], atol=1e-5)
    weight, bias = found["head"][:, :-1], found["head"][:, -1]
    assert_allclose(found["embeddings"] @ weight.T + bias, wanted["logits"], atol=1e-4)
    card = model.card
    assert (card.classes, card.categories, card.output) == (3, LABELS, "softmax")
    assert card.modality == "text"
    assert {"probs", "embeddings", "grads", "margins"} <= set(card.views)


@pytest.mark.parametrize("kind", ["gpt2", "llama"])
def test_a_decoder_that_names_its_padding(tmp_path: Path, kind: str) -> None:
    # Token 5 pads, and stands in texts, too: as the last of one it is passed over.
    folder = write_classifier(tmp_path, kind, pad_token_id=5)
    assert_allclose(
        views(loaded(folder), TEXTS, "probs")["probs"],
        torch.from_numpy(alone(folder, kind)["logits"]).softmax(1).numpy(),
        atol=1e-6,
    )


@pytest.mark.parametrize("kind", KINDS)
def test_neither_order_nor_company_changes_a_prediction(tmp_path: Path, kind: str) -> None:
    model = loaded(write_classifier(tmp_path, kind))
    whole = views(model, TEXTS, "probs")["probs"]
    order = np.random.default_rng(0).permutation(len(TEXTS))
    assert_allclose(views(model, [TEXTS[row] for row in order], "probs")["probs"], whole[order],
                    atol=1e-6)  # fmt: skip
    for row, text in enumerate(TEXTS):
        assert_allclose(views(model, [text], "probs")["probs"][0], whole[row], atol=1e-6)


@pytest.mark.parametrize("runtime", ["torch", "openvino", "onnxruntime"])
def test_company_does_not_change_embeddings_of_all_tokens(tmp_path: Path, runtime: str) -> None:
    folder = write_classifier(tmp_path)
    head = "model.bert.encoder.layer.1"
    model = loaded(folder, head=head, runtime=runtime)
    whole = views(model, TEXTS, "embeddings")["embeddings"]
    assert whole.std(axis=0).max() > 0.05
    by_hand = transformers.AutoModelForSequenceClassification.from_pretrained(folder).eval()
    tokenizer = transformers.AutoTokenizer.from_pretrained(folder)
    for row, text in enumerate(TEXTS):
        found = tokenizer(text, truncation=True, max_length=MOST, return_tensors="pt")
        with torch.inference_mode():
            hidden = by_hand(**found, output_hidden_states=True).hidden_states[1]
        assert_allclose(whole[row], hidden[0].mean(dim=0), atol=1e-5)
        assert_allclose(views(model, [text], "embeddings")["embeddings"][0], whole[row], atol=1e-5)


def test_an_item_of_several_labels(tmp_path: Path) -> None:
    folder = write_classifier(tmp_path, problem_type="multi_label_classification")
    model = loaded(folder)
    wanted = torch.from_numpy(alone(folder, "bert")["logits"]).sigmoid().numpy()
    assert model.card.output == "sigmoid"
    found = views(model, TEXTS, "probs")["probs"]
    assert_allclose(found, wanted, atol=1e-6)
    assert not np.allclose(found.sum(axis=1), 1)


def test_one_number_is_not_guessed_at(tmp_path: Path) -> None:
    folder = write_classifier(tmp_path, labels=["it"])
    assert "set `output` to sigmoid" in refusal(folder)
    assert loaded(folder, output="sigmoid").card.output == "sigmoid"


@pytest.mark.parametrize("pooling", ["auto", "mean", "cls"])
def test_an_encoder_of_texts(tmp_path: Path, pooling: str) -> None:
    folder = write_encoder(tmp_path)
    plain = transformers.AutoModel.from_pretrained(folder).eval()
    tokenizer = transformers.AutoTokenizer.from_pretrained(folder)
    with torch.inference_mode():
        hidden = [plain(**tokenizer(text, return_tensors="pt")).last_hidden_state for text in TEXTS]
    wanted = [one[0, 0] if pooling == "cls" else one[0].mean(dim=0) for one in hidden]
    model = loaded(folder, pooling=pooling)
    assert (model.card.classes, model.card.dim, model.card.categories) == (0, 32, ())
    assert model.card.views == ("embeddings",)
    found = views(model, TEXTS, "embeddings")["embeddings"]
    assert_allclose(found, torch.stack(wanted).numpy(), atol=1e-5)


def test_the_pooling_is_a_part_of_what_a_model_is(tmp_path: Path) -> None:
    folder = write_encoder(tmp_path)
    digests = {loaded(folder, pooling=one).card.digest for one in ("mean", "cls")}
    assert len(digests) == 2


def test_the_configuration_is_a_part_of_what_a_model_is(tmp_path: Path) -> None:
    folder = write_encoder(tmp_path / "one")
    shutil.copytree(folder, tmp_path / "copy")
    before = loaded(folder)
    assert loaded(tmp_path / "copy").card.space == before.card.space
    plain = transformers.AutoModel.from_pretrained(folder)
    tokenizer = transformers.AutoTokenizer.from_pretrained(folder)
    here = live.load(live.Live(plain, tokenizer=tokenizer))
    assert here.card.digest == before.card.digest
    path = folder / "config.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), "num_attention_heads": 2}))
    after = loaded(folder)
    one, other = (views(model, TEXTS, "embeddings")["embeddings"] for model in (before, after))
    assert not np.allclose(one, other, atol=1e-3)
    assert after.card.digest != before.card.digest
    assert after.card.space != before.card.space


def test_a_classifier_as_an_encoder(tmp_path: Path) -> None:
    folder = write_classifier(tmp_path)
    model = loaded(folder, task="feature-extraction")
    assert model.card.views == ("embeddings",)
    assert model.card.categories == ()


def test_an_encoder_of_two_halves_is_its_first(tmp_path: Path) -> None:
    size = write_tokenizer(tmp_path)
    config = transformers.T5Config(
        vocab_size=size, d_model=16, d_kv=4, d_ff=24, num_layers=1, num_heads=2, pad_token_id=0,
        decoder_start_token_id=0,
    )  # fmt: skip
    whole = transformers.T5Model(config).eval()
    whole.save_pretrained(tmp_path)
    tokenizer = transformers.AutoTokenizer.from_pretrained(tmp_path)
    with torch.inference_mode():
        wanted = [
            whole.encoder(**tokenizer(text, return_tensors="pt")).last_hidden_state[0].mean(dim=0)
            for text in TEXTS
        ]
    found = views(loaded(tmp_path), TEXTS, "embeddings")["embeddings"]
    assert_allclose(found, torch.stack(wanted).numpy(), atol=1e-5)


def test_a_text_is_cut_at_what_the_model_takes(tmp_path: Path) -> None:
    for kind in ("bert", "roberta"):
        folder = write_classifier(tmp_path / kind, kind)
        # The model alone says it: the tokenizer knows no end.
        write_tokenizer(folder, most=None)
        model = loaded(folder)
        assert model.card.to_json()["preprocessing"]["max_tokens"] == MOST
        batch = tokens(["the film " * 200, "bad"], model.card)
        assert batch.array.shape == (2, MOST)
        assert batch.cut == 1
        assert np.isfinite(model.classifier.views(batch.array, ["probs"])["probs"]).all()


def test_fewer_tokens_can_be_asked_for(tmp_path: Path) -> None:
    folder = write_classifier(tmp_path)
    model = loaded(folder, max_tokens=5)
    batch = tokens(TEXTS, model.card)
    assert batch.array.shape == (len(TEXTS), 5)
    assert batch.cut == 5
    assert (batch.array[batch.array[:, 4] >= 0][:, 4] == 3).all()  # what ends a text is there


def test_random_weights_are_the_same_everywhere(tmp_path: Path) -> None:
    folder = write_classifier(tmp_path)
    (folder / "model.safetensors").unlink()
    torch.manual_seed(1)
    first = loaded(folder, weights="none").card.digest
    torch.manual_seed(2)
    assert loaded(folder, weights="none").card.digest == first


def test_weights_of_a_file_of_their_own(tmp_path: Path) -> None:
    folder = write_classifier(tmp_path / "model")
    own = loaded(folder).card.digest
    file = tmp_path / "other.safetensors"
    shutil.move(folder / "model.safetensors", file)
    assert loaded(folder, weights=str(file)).card.digest == own
    state = load_file(file)
    state["surplus"] = state.pop("classifier.bias")
    save_file(state, file)
    said = refusal(folder, weights=str(file))
    assert "does not fit" in said
    assert "classifier.bias" in said


def refusal(folder: Path | str, **more: Any) -> str:
    """The one line with which a model is refused."""
    with pytest.raises(ModelUnavailable) as caught:
        load(settings(folder, **more))
    assert caught.value.code == "model_unavailable"
    assert "\n" not in caught.value.detail
    return caught.value.detail


class TestRefusals:
    @pytest.fixture
    def folder(self, tmp_path: Path) -> Path:
        return write_classifier(tmp_path)

    def change(self, folder: Path, **more: Any) -> None:
        """Change what the folder says of its model."""
        path = folder / "config.json"
        path.write_text(json.dumps({**json.loads(path.read_text()), **more}))

    def test_of_pickled_weights(self, folder: Path) -> None:
        state = load_file(folder / "model.safetensors")
        (folder / "model.safetensors").unlink()
        torch.save(state, folder / "pytorch_model.bin")
        said = refusal(folder)
        assert "in pytorch_model.bin only, which is pickled and could run code" in said
        assert "save them as safetensors" in said

    def test_of_no_weights(self, folder: Path) -> None:
        (folder / "model.safetensors").unlink()
        assert "has no weights: there is no model.safetensors in it" in refusal(folder)

    def test_of_broken_weights(self, folder: Path) -> None:
        (folder / "model.safetensors").write_bytes(b"no tensors")
        assert "cannot be loaded: " in refusal(folder)

    def test_of_weights_that_lack_the_head(self, folder: Path) -> None:
        state = load_file(folder / "model.safetensors")
        del state["classifier.weight"], state["classifier.bias"]
        save_file(state, folder / "model.safetensors", metadata={"format": "pt"})
        assert refusal(folder).endswith(
            "has no weights for a text classifier: classifier.bias, classifier.weight missing"
        )

    def test_of_more_layers_than_the_configuration_has(self, folder: Path) -> None:
        self.change(folder, num_hidden_layers=1)
        said = refusal(folder)
        assert "has weights that its config.json has no place for: bert.encoder.layer.1." in said
        assert said.endswith(" more")

    def test_of_a_weight_that_a_layer_has_no_place_for(self, folder: Path) -> None:
        state = load_file(folder / "model.safetensors")
        state["bert.encoder.layer.0.output.dense.scale"] = torch.ones(1)
        save_file(state, folder / "model.safetensors", metadata={"format": "pt"})
        assert refusal(folder).endswith("place for: bert.encoder.layer.0.output.dense.scale")

    def test_not_of_masks_and_positions_that_earlier_versions_saved(self, folder: Path) -> None:
        digest = loaded(folder).card.digest
        state = load_file(folder / "model.safetensors")
        state["bert.embeddings.position_ids"] = torch.arange(MOST)
        state["bert.encoder.layer.0.attention.self.mask"] = torch.ones(MOST)
        save_file(state, folder / "model.safetensors", metadata={"format": "pt"})
        assert loaded(folder).card.digest == digest

    def test_of_weights_of_another_shape(self, folder: Path) -> None:
        self.change(folder, id2label={0: "no", 1: "yes"}, label2id={"no": 0, "yes": 1})
        said = refusal(folder)
        assert "weights of other shapes than its config.json says: classifier." in said

    def test_of_a_task_that_it_was_not_made_for(self, folder: Path) -> None:
        for task in ("image-classification", "image-feature-extraction"):
            said = refusal(folder, task=task)
            assert "BertForSequenceClassification, is no image" in said
            assert "set `task`" in said

    def test_of_a_task_that_nothing_is_chosen_by(self, folder: Path) -> None:
        said = refusal(folder, task="text-generation")
        assert said.startswith("task 'text-generation' is not one of text-classification, ")

    def test_of_a_folder_without_a_tokenizer(self, folder: Path) -> None:
        for path in folder.glob("*token*"):
            path.unlink()
        said = refusal(folder)
        assert "there is no tokenizer in" in said
        assert "set `tokenizer`" in said

    def test_of_a_tokenizer_that_is_another_models(self, folder: Path, tmp_path: Path) -> None:
        write_tokenizer(tmp_path / "other", words=[f"word{number}" for number in range(99)])
        said = refusal(folder, tokenizer=str(tmp_path / "other"))
        assert said.startswith("the tokenizer has 103 tokens and ")
        assert said.endswith(" knows 32 of them: it is not its tokenizer")

    def test_of_more_tokens_than_the_model_takes(self, folder: Path) -> None:
        said = refusal(folder, max_tokens=MOST + 1)
        assert said == f"max_tokens is {MOST + 1}; the model takes {MOST} at most"

    def test_of_a_folder_that_is_no_model(self, tmp_path: Path) -> None:
        (tmp_path / "empty").mkdir()
        assert "cannot be read: " in refusal(tmp_path / "empty")
        (tmp_path / "empty" / "config.json").write_text("{")
        assert "cannot be read: " in refusal(tmp_path / "empty")

    def test_of_a_path_where_nothing_is(self, tmp_path: Path) -> None:
        assert refusal(tmp_path / "gone").startswith(f"there is no folder '{tmp_path}/gone'")

    @pytest.mark.parametrize("output", ["softmax", "sigmoid", "segmentation", "value"])
    def test_of_an_encoder_that_is_to_return_something_else(
        self, tmp_path: Path, output: str
    ) -> None:
        folder = write_encoder(tmp_path / "encoder")
        assert refusal(folder, output=output).startswith(
            f"{folder} is loaded as a text encoder, which returns embeddings, and `output` is "
            f"{output}: set `task` to that of a classifier, or "
        )
        assert loaded(folder, output="embedding").card.output == "embedding"

    @pytest.mark.parametrize("pooling", ["mean", "cls"])
    def test_of_the_pooling_of_a_classifier(self, folder: Path, pooling: str) -> None:
        assert refusal(folder, pooling=pooling) == (
            f"{folder} is loaded as a text classifier, of which nothing is pooled: `pooling` has "
            f"no meaning"
        )

    def test_of_how_pictures_are_prepared(self, folder: Path) -> None:
        square = {"size": 8, "mean": [0.5] * 3, "std": [0.5] * 3}
        assert refusal(folder, preprocess=square) == (
            f"`preprocess` has no meaning for {folder}, which takes texts and is of hub huggingface"
        )

    def test_of_the_revision_of_a_folder(self, folder: Path) -> None:
        assert refusal(folder, revision="main") == (
            f"`revision` has no meaning for the folder '{folder}', which has only one"
        )

    def test_of_a_layer_that_is_not_there(self, folder: Path) -> None:
        assert "no layer 'classifer'" in refusal(folder, head="classifer")

    def test_of_a_head_of_an_encoder(self, folder: Path) -> None:
        said = refusal(folder, head="classifier", task="feature-extraction")
        assert (
            said == "the model returns embeddings itself: leave out `head`, which is 'classifier'"
        )


def test_weights_of_another_task_are_left_out(tmp_path: Path) -> None:
    size = write_tokenizer(tmp_path)
    config = transformers.BertConfig(
        vocab_size=size, hidden_size=16, num_hidden_layers=1, num_attention_heads=2,
        intermediate_size=24, max_position_embeddings=MOST,
    )  # fmt: skip
    transformers.BertForMaskedLM(config).save_pretrained(tmp_path)
    assert loaded(tmp_path).card.views == ("embeddings",)
    assert "has no weights for a text classifier" in refusal(tmp_path, task="text-classification")


def test_code_beside_a_model_does_not_run(tmp_path: Path) -> None:
    folder = write_classifier(tmp_path)
    path = folder / "config.json"
    mark = tmp_path / "it-ran"
    (folder / "own.py").write_text(f"open({str(mark)!r}, 'w').close()\n")
    stated = dict.fromkeys(("AutoConfig", "AutoModelForSequenceClassification"), "own.Own")
    document = {**json.loads(path.read_text()), "model_type": "own", "auto_map": stated}
    path.write_text(json.dumps(document))
    assert "cannot be read: " in refusal(folder)
    assert not mark.exists()

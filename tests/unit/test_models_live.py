"""Models that are there already: networks, estimators, and arrays without any."""

from __future__ import annotations

import copy
import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.testing import assert_allclose
from pictures import encoded, picture
from sklearn.decomposition import TruncatedSVD
from sklearn.ensemble import RandomForestClassifier
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.linear_model import LinearRegression, LogisticRegression
from sklearn.model_selection import GridSearchCV
from sklearn.multiclass import OneVsRestClassifier
from sklearn.multioutput import ClassifierChain
from sklearn.neural_network import MLPClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.svm import LinearSVC
from torch import nn

import alaas
from alaas.config import Characters
from alaas.core.errors import ConfigError, EmptyInput, ValidationFailed, ViewUnavailable
from alaas.core.errors import ModelUnavailable as Unavailable
from alaas.core.wire import Item
from alaas.models import live
from alaas.models.live import Live
from alaas.strategies import registry

ROWS = np.random.default_rng(0).normal(size=(120, 6)).astype(np.float32)
LABELS = (ROWS[:, 0] > 0).astype(int) + (ROWS[:, 1] > 0)
SQUARE = {"size": 8, "resize": 8, "mean": [0.5] * 3, "std": [0.25] * 3}
TEXTS = [f"{'good' if row % 2 else 'bad'} film number {row} is äöü 漢" for row in range(40)]


def best(probs: Any, budget: int) -> list[str]:
    ids = [str(row) for row in range(len(probs))]
    return list(registry.run("least_confidence", {"probs": probs}, ids=ids, budget=budget).ids)


def network() -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(6, 9), nn.ReLU(), nn.Dropout(0.4), nn.Linear(9, 3))


class Always:
    """Only the methods of an estimator: it says the same of every item."""

    def __init__(self, *probs: float) -> None:
        self.probs = probs

    def predict_proba(self, items: Any) -> Any:
        return np.tile(self.probs, (len(items), 1))


class TestVectorsAlone:
    """An array without a model: the vectors are the embeddings."""

    @pytest.mark.parametrize("strategy", ["KCenter", "TypiClust", "k_means"])
    def test_are_embeddings(self, strategy: str) -> None:
        ids = [str(row) for row in range(len(ROWS))]
        wanted = registry.run(strategy, {"embeddings": ROWS}, ids=ids, budget=9, seed=4)
        assert tuple(alaas.select(ROWS, 9, strategy=strategy, seed=4).ids) == wanted.ids

    def test_can_be_chosen_at_random(self) -> None:
        assert len(set(alaas.select(ROWS, 9, strategy="Random").ids)) == 9

    @pytest.mark.parametrize(
        "rows", [ROWS.astype(np.float64), torch.from_numpy(ROWS), np.asfortranarray(ROWS)]
    )
    def test_of_any_library(self, rows: Any) -> None:
        wanted = alaas.select(ROWS, 5, strategy="KCenter").ids
        assert alaas.select(rows, 5, strategy="KCenter").ids == wanted

    def test_that_are_labelled(self) -> None:
        """The coverage of what is labelled already moves the choice away from it."""
        far = np.vstack([ROWS, np.full((1, 6), 50, np.float32)])
        assert "120" in alaas.select(far, 2, strategy="KCenter").ids
        assert "120" not in alaas.select(far, 2, strategy="KCenter", labelled=(far[-1:], [0])).ids

    def test_have_no_probabilities(self) -> None:
        with pytest.raises(ViewUnavailable) as caught:
            alaas.select(ROWS, 5)
        assert caught.value.detail == (
            "least_confidence needs the view probs, and vectors has only embeddings: it has no "
            "classes; k_center, for one, needs none"
        )

    def test_that_are_not_finite_are_failures(self) -> None:
        rows = ROWS.copy()
        rows[7, 2] = np.nan
        result = alaas.select(rows, 119, strategy="KCenter")
        assert [(one.id, one.code) for one in result.failures] == [("7", "not_finite")]
        assert "7" not in result.ids

    @pytest.mark.parametrize(
        ("rows", "said"),
        [
            (ROWS[0], "got the shape (6,) of float32"),
            (ROWS[:, :, None], "got the shape (120, 6, 1) of float32"),
            (ROWS[:, :0], "got the shape (120, 0) of float32"),
            (ROWS.astype(str), "got the shape (120, 6) of <U"),
        ],
    )
    def test_of_another_shape(self, rows: Any, said: str) -> None:
        with pytest.raises(ValidationFailed) as caught:
            alaas.select(rows, 5, strategy="KCenter")
        assert caught.value.detail.startswith("an array must be (N, D), N vectors of D > 0")
        assert said in caught.value.detail

    def test_none_of_them(self) -> None:
        with pytest.raises(EmptyInput):
            alaas.select(ROWS[:0], 5, strategy="KCenter")

    def test_labels_that_are_too_few(self) -> None:
        with pytest.raises(ValidationFailed, match="3 labelled vectors have 2 labels"):
            alaas.select(ROWS, 5, strategy="KCenter", labelled=(ROWS[:3], [0, 1]))


class TestNetworks:
    def test_over_vectors(self) -> None:
        module = network()
        with torch.inference_mode():
            probs = module.eval()(torch.from_numpy(ROWS)).softmax(1).numpy()
        assert alaas.select(ROWS, 8, model=module).ids == best(probs, 8)

    @pytest.mark.parametrize("strategy", ["badge", "bald", "deep_fool", "KCenter"])
    def test_have_every_view(self, strategy: str) -> None:
        result = alaas.select(ROWS, 8, strategy=strategy, model=network(), seed=1)
        assert len(set(result.ids)) == 8
        assert alaas.select(ROWS, 8, strategy=strategy, model=network(), seed=1).ids == result.ids

    def test_are_left_as_they_were(self) -> None:
        module = network().train()
        before = copy.deepcopy(module.state_dict())
        alaas.select(ROWS, 8, strategy="bald", model=module)
        assert all(one.training for one in module.modules())
        assert all(one.requires_grad for one in module.parameters())
        assert all(torch.equal(before[name], one) for name, one in module.state_dict().items())
        assert not any(one._forward_hooks or one._forward_pre_hooks for one in module.modules())

    def test_are_not_mistaken_for_what_they_were(self) -> None:
        module = network()
        before = alaas.select(ROWS, 8, model=module)
        nn.init.normal_(module.get_parameter("0.weight"))
        after = alaas.select(ROWS, 8, model=module)
        assert before.receipt.model != after.receipt.model
        assert before.ids != after.ids

    def test_over_pictures(self, tmp_path: Path) -> None:
        for row in range(12):
            (tmp_path / f"{row}.png").write_bytes(encoded(picture(8, 8, seed=row)))
        torch.manual_seed(0)
        module = nn.Sequential(nn.Flatten(), nn.Linear(192, 10))
        model = Live(module, {"preprocess": SQUARE}, categories=[f"c{n}" for n in range(10)])
        assert len(alaas.select(tmp_path, 3, model=model)) == 3
        card = live.load(model).card
        assert (card.hub, card.name, card.categories[9]) == ("live", "Sequential", "c9")
        assert card.runtime == "torch"

    def test_with_what_is_said_of_them(self) -> None:
        module = network()
        card = live.load(Live(module, {"head": "0", "output": "sigmoid"}), dim=6).card
        assert (card.dim, card.output) == (6, "sigmoid")

    @pytest.mark.parametrize(
        ("model", "dim", "said"),
        [
            (network(), None, "Sequential does not say what it takes: for pictures `preprocess`"),
            (network(), 5, "the model fails on an input of 5: RuntimeError: mat1 and mat2 shapes"),
            (Live(network(), {"head": "fc"}), 6, "the model has no layer 'fc'"),
        ],
    )
    def test_that_do_not_fit(self, model: Any, dim: int | None, said: str) -> None:
        with pytest.raises(Unavailable) as caught:
            live.load(model, dim=dim)
        assert caught.value.detail.startswith(said)

    @pytest.mark.parametrize(
        ("model", "said"),
        [
            (nn.LazyLinear(3), "LazyLinear cannot be made ready on cpu: ValueError: Attempted to"),
            (nn.Linear(6, 3, device="meta"), "Linear cannot be made ready on cpu: NotImplemented"),
        ],
    )
    def test_that_are_not_ready_to_run(self, model: Any, said: str) -> None:
        with pytest.raises(Unavailable) as caught:
            live.load(Live(model, {"device": "cpu"}), dim=6)
        assert caught.value.detail.startswith(said)
        assert "\n" not in caught.value.detail

    @pytest.mark.filterwarnings("ignore:.*torch.jit.*is deprecated")
    def test_that_are_scripts_of_torch(self) -> None:
        script = torch.jit.script(nn.Linear(6, 3))
        with pytest.raises(
            Unavailable, match="cannot be made ready on cpu: RuntimeError: requires"
        ):
            live.load(Live(script, {"device": "cpu"}), dim=6)

    def test_that_fail_on_more_items_than_one(self) -> None:
        class Single(nn.Linear):
            def forward(self, input: torch.Tensor) -> torch.Tensor:  # noqa: A002
                if len(input) > 1:
                    raise ValueError("one at a time\nonly")
                return super().forward(input)

        with pytest.raises(Unavailable, match=r"^Single fails: ValueError: one at a time$"):
            alaas.select(ROWS, 3, model=Single(6, 3))

    def test_that_cannot_be_copied(self) -> None:
        module = network()
        module.made = module.get_parameter("0.weight") * 2  # no leaf
        with pytest.raises(Unavailable, match="Sequential cannot be copied: RuntimeError: Only"):
            live.load(module, dim=6)


class TestEstimators:
    @pytest.mark.parametrize(
        ("make", "views"),
        [
            (LogisticRegression, {"probs", "embeddings", "head", "grads", "margins"}),
            (lambda: make_pipeline(StandardScaler(), LogisticRegression()),
             {"probs", "embeddings", "head", "grads", "margins"}),
            (lambda: RandomForestClassifier(20, random_state=0), {"probs", "embeddings"}),
        ],
    )  # fmt: skip
    @pytest.mark.parametrize("classes", [2, 3])
    def test_over_vectors(self, make: Callable[[], Any], views: set[str], classes: int) -> None:
        fitted = make().fit(ROWS, np.minimum(LABELS, classes - 1))
        model = live.load(fitted, dim=6)
        found = model.classifier.views(ROWS, ("probs", "embeddings"))
        assert_allclose(found["probs"], fitted.predict_proba(ROWS), atol=1e-5)
        before = fitted[:-1].transform(ROWS) if hasattr(fitted, "steps") else ROWS
        assert_allclose(found["embeddings"], before, atol=1e-6)
        assert views <= set(model.card.views)
        assert ("grads" in views) == ("grads" in model.card.views)
        assert (model.card.runtime, model.card.classes) == ("sklearn", classes)
        assert alaas.select(ROWS, 9, model=fitted).ids == best(found["probs"], 9)

    def test_margins_are_distances_to_the_border(self) -> None:
        fitted = LogisticRegression().fit(ROWS, LABELS > 0)
        found = live.load(fitted, dim=6).classifier.views(ROWS, ("margins",))["margins"]
        wanted = np.abs(fitted.decision_function(ROWS)) / np.linalg.norm(fitted.coef_)
        assert_allclose(found, wanted, rtol=1e-3, atol=1e-5)

    def test_a_linear_one_whose_probabilities_are_others(self) -> None:
        """One against the rest: normalised sigmoids, so no layer with a softmax behind it."""
        fitted = OneVsRestClassifier(LogisticRegression()).fit(ROWS, LABELS)
        model = live.load(fitted, dim=6)
        assert set(model.card.views) == {"probs", "embeddings"}
        found = model.classifier.views(ROWS, ("probs",))["probs"]
        assert_allclose(found, fitted.predict_proba(ROWS), atol=1e-6)

    def test_probabilities_of_nought(self) -> None:
        fitted = RandomForestClassifier(1, random_state=0).fit(ROWS, LABELS)
        found = live.load(fitted, dim=6).classifier.views(ROWS, ("probs",))["probs"]
        assert set(np.unique(found)) == {0.0, 1.0}

    @pytest.mark.parametrize(
        "make",
        [
            lambda: OneVsRestClassifier(LogisticRegression()),
            lambda: OneVsRestClassifier(RandomForestClassifier(1, random_state=0)),
            lambda: ClassifierChain(LogisticRegression()),
            lambda: MLPClassifier(8, solver="lbfgs", max_iter=20, random_state=0),
            lambda: make_pipeline(StandardScaler(), OneVsRestClassifier(LogisticRegression())),
        ],
    )
    @pytest.mark.parametrize("output", ["auto", "sigmoid"])
    @pytest.mark.filterwarnings("ignore:lbfgs failed to converge")
    def test_several_classes_an_item(self, make: Callable[[], Any], output: str) -> None:
        fitted = make().fit(ROWS, np.eye(3, dtype=int)[LABELS])
        model = live.load(Live(fitted, {"output": output}), dim=6)
        assert model.card.output == "sigmoid"
        found = model.classifier.views(ROWS, ("probs",))["probs"]
        assert_allclose(found, fitted.predict_proba(ROWS), atol=1e-5)

    def test_several_classes_an_item_as_its_rows_tell(self) -> None:
        assert live.load(Always(0.9, 0.9), dim=6).card.output == "sigmoid"
        assert live.load(Always(0.9, 0.1), dim=6).card.output == "softmax"
        assert live.load(Always(0.0, 0.0), dim=6).card.output == "softmax"  # it says nothing

    def test_values(self) -> None:
        fitted = LinearRegression().fit(ROWS, ROWS[:, 0] * 3)
        model = live.load(fitted, dim=6)
        assert model.card.output == "value"
        found = model.classifier.views(ROWS, ("predictions",))["predictions"]
        assert_allclose(found, ROWS[:, 0] * 3, atol=1e-4)

    def test_over_texts(self) -> None:
        fitted = make_pipeline(TfidfVectorizer(), LogisticRegression()).fit(
            TEXTS, [row % 2 for row in range(40)]
        )
        model = live.load(fitted)
        assert model.card.preprocessing == Characters()
        pool = [Item(str(row), text=text) for row, text in enumerate(TEXTS)]
        result = alaas.select([*pool, Item("e", text=" "), Item("b", blob=b"no")], 40, model=fitted)
        wanted = 1 - fitted.predict_proba(TEXTS).max(axis=1)
        scores = dict(zip(result.ids, result.scores, strict=True))
        assert_allclose([scores[str(row)] for row in range(40)], wanted, atol=1e-5)
        assert [(one.id, one.code) for one in result.failures] == [
            ("e", "empty_text"), ("b", "wrong_modality"),
        ]  # fmt: skip

    def test_embeddings_of_texts(self) -> None:
        steps = TfidfVectorizer(), TruncatedSVD(5, random_state=0), LogisticRegression()
        fitted = make_pipeline(*steps).fit(TEXTS, [row % 2 for row in range(40)])
        assert live.load(fitted).card.dim == 5
        pool = [Item(str(row), text=text) for row, text in enumerate(TEXTS)]
        assert len(alaas.select(pool, 4, strategy="badge", model=fitted)) == 4

    @pytest.mark.parametrize("as_step", [False, True])
    def test_a_search_is_what_it_found(self, as_step: bool) -> None:
        search = GridSearchCV(LogisticRegression(), {"C": [0.1, 1.0]}, cv=2)
        fitted = (make_pipeline(StandardScaler(), search) if as_step else search).fit(ROWS, LABELS)
        model = live.load(fitted, dim=6)
        found = model.classifier.views(ROWS, ("probs", "margins"))
        assert_allclose(found["probs"], fitted.predict_proba(ROWS), atol=1e-5)
        again = copy.deepcopy(fitted).fit(ROWS, LABELS)  # which took another time
        assert live.load(again, dim=6).card.digest == model.card.digest
        other = copy.deepcopy(fitted).fit(ROWS, LABELS > 0)
        assert live.load(other, dim=6).card.digest != model.card.digest

    def test_labels_are_what_they_were_fitted_on(self) -> None:
        names = np.array(["cat", "dog", "emu"])
        fitted = LogisticRegression().fit(ROWS, names[LABELS])
        assert live.load(fitted, dim=6).card.categories == ("cat", "dog", "emu")
        by_name = alaas.select(
            ROWS, 6, strategy="bait", model=fitted, labelled=(ROWS[:9], names[LABELS[:9]])
        )
        fitted_on_numbers = LogisticRegression().fit(ROWS, LABELS + 5)
        by_number = alaas.select(
            ROWS, 6, strategy="bait", model=fitted_on_numbers, labelled=(ROWS[:9], LABELS[:9] + 5)
        )
        assert by_name.ids == by_number.ids

    def test_are_told_apart(self) -> None:
        first, other = LogisticRegression().fit(ROWS, LABELS), LogisticRegression(C=0.1)
        digest = live.load(first, dim=6).card.digest
        assert live.load(copy.deepcopy(first), dim=6).card.digest == digest
        assert live.load(other.fit(ROWS, LABELS), dim=6).card.digest != digest

    @pytest.mark.parametrize(
        "make", [LogisticRegression, lambda: OneVsRestClassifier(LogisticRegression())]
    )
    def test_a_copy_is_the_same(self, make: Callable[[], Any]) -> None:
        fitted = make().fit(ROWS, LABELS > 0)
        digest = live.load(fitted, dim=6).card.digest
        assert live.load(copy.deepcopy(fitted), dim=6).card.digest == digest
        assert live.load(pickle.loads(pickle.dumps(fitted)), dim=6).card.digest == digest

    @pytest.mark.parametrize(
        ("model", "said"),
        [
            (LinearSVC(), "LinearSVC has no predict_proba: calibrate it"),
            (LogisticRegression(), "LogisticRegression fails: NotFittedError: "),
            (LogisticRegression().fit(ROWS[:, :4], LABELS), "LogisticRegression fails: ValueError"),
            (Live(LogisticRegression().fit(ROWS, LABELS), {"output": "sigmoid"}),
             "LogisticRegression has output softmax, and `output` is sigmoid"),
            (Live(Always(0.9, 0.9), {"output": "softmax"}),
             "Always has output sigmoid, and `output` is softmax"),
            (RandomForestClassifier(1).fit(ROWS, np.stack([LABELS, LABELS > 0], axis=1)),
             "RandomForestClassifier was fitted on 2 things at once, and gives an array for each"),
        ],
    )  # fmt: skip
    def test_that_cannot_be_used(self, model: Any, said: str) -> None:
        with pytest.raises(Unavailable) as caught:
            live.load(model, dim=6)
        assert caught.value.detail.startswith(said)
        assert "\n" not in caught.value.detail


class TestOfTransformers:
    """A model and its tokenizer, as a pair."""

    @pytest.fixture
    def pair(self) -> tuple[Any, Any]:
        from tokenizers import Tokenizer, models, pre_tokenizers
        from transformers import (
            BertConfig,
            BertForSequenceClassification,
            PreTrainedTokenizerFast,
        )

        words = ["[PAD]", "[UNK]", "good", "bad", "film", "number"]
        tokens = Tokenizer(models.WordLevel({one: n for n, one in enumerate(words)}, "[UNK]"))
        tokens.pre_tokenizer = pre_tokenizers.Whitespace()
        tokenizer = PreTrainedTokenizerFast(  # type: ignore[no-untyped-call]
            tokenizer_object=tokens, unk_token="[UNK]", pad_token="[PAD]"
        )
        torch.manual_seed(0)
        config = BertConfig(  # type: ignore[call-arg]
            vocab_size=6, hidden_size=16, num_hidden_layers=1, num_attention_heads=2,
            intermediate_size=16, max_position_embeddings=32, num_labels=3,
        )  # fmt: skip
        return BertForSequenceClassification(config), tokenizer

    def test_chooses_as_a_plain_loop_does(self, pair: tuple[Any, Any]) -> None:
        model, tokenizer = pair
        pool = [Item(str(row), text=text) for row, text in enumerate(TEXTS)]
        result = alaas.select(pool, 40, model=pair)
        scores = dict(zip(result.ids, result.scores, strict=True))
        with torch.inference_mode():
            for row, text in enumerate(TEXTS):
                logits = model.eval()(**tokenizer(text, return_tensors="pt")).logits
                assert abs(scores[str(row)] - (1 - logits.softmax(1).max().item())) < 1e-5

    def test_without_its_tokenizer(self, pair: tuple[Any, Any]) -> None:
        with pytest.raises(Unavailable, match="tokenizer"):
            live.load(pair[0])


class TestRefused:
    @pytest.mark.parametrize("key", ["hub", "name", "weights", "revision", "allow_code"])
    def test_keys_of_files(self, key: str) -> None:
        with pytest.raises(ConfigError) as caught:
            live.load(Live(network(), {key: "x"}), dim=6)
        assert caught.value.detail == (
            f"model.{key}: has no meaning for a model that is there already"
        )

    def test_a_wrong_key_names_the_right_one(self) -> None:
        with pytest.raises(ConfigError, match=r"model\.ouput: unknown key; did you mean 'output'"):
            live.load(Live(network(), {"ouput": "sigmoid"}), dim=6)

    @pytest.mark.parametrize("model", [3, object(), [network()], b"resnet18"])
    def test_what_is_no_model(self, model: Any) -> None:
        with pytest.raises(ConfigError, match=r"model: must be a name, a mapping, a torch"):
            alaas.select(ROWS, 5, model=model)

    def test_vectors_for_a_network_that_is_said_to_take_pictures(self) -> None:
        with pytest.raises(ConfigError, match="the pool has vectors, and Sequential is said"):
            live.load(Live(network(), {"preprocess": SQUARE}), dim=6)

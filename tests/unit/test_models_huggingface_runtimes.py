"""Other runtimes than torch, on texts of several lengths."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.testing import assert_allclose
from numpy.typing import NDArray
from tiny_transformers import TEXTS, loaded, views, write_classifier, write_encoder

from alaas.core.arrays import PADDING
from alaas.models.runtimes.choice import _agreeing
from alaas.models.runtimes.engine import Unsupported
from alaas.models.runtimes.pytorch import TorchEngine


@pytest.fixture(autouse=True)
def cache(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> None:
    """Conversions are not kept where the user's are."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path_factory.mktemp("cache")))


@pytest.mark.parametrize("runtime", ["openvino", "onnxruntime"])
@pytest.mark.parametrize("kind", ["bert", "distilbert", "roberta", "gpt2", "llama"])
def test_a_classifier(tmp_path: Path, kind: str, runtime: str) -> None:
    pytest.importorskip(runtime)
    folder = write_classifier(tmp_path, kind)
    wanted = views(loaded(folder), TEXTS, "probs", "embeddings")
    model = loaded(folder, runtime=runtime)
    assert model.card.runtime == runtime
    found = views(model, TEXTS, "probs", "embeddings")
    assert_allclose(found["probs"], wanted["probs"], atol=1e-5)
    assert_allclose(found["embeddings"], wanted["embeddings"], atol=1e-4)
    # Lengths that the conversion has not seen.
    for text in TEXTS:
        assert_allclose(
            views(model, [text], "probs")["probs"][0], wanted["probs"][TEXTS.index(text)], atol=1e-5
        )


@pytest.mark.parametrize("pooling", ["mean", "cls"])
def test_an_encoder_by_the_fastest_there_is(
    tmp_path: Path, pooling: str, caplog: pytest.LogCaptureFixture
) -> None:
    pytest.importorskip("openvino")
    folder = write_encoder(tmp_path)
    wanted = views(loaded(folder, pooling=pooling), TEXTS, "embeddings")["embeddings"]
    with caplog.at_level(logging.INFO):
        model = loaded(folder, pooling=pooling, runtime="auto")
    assert model.card.runtime == "openvino"
    found = views(model, TEXTS, "embeddings")["embeddings"]
    assert_allclose(found, wanted, atol=1e-5)
    assert [one.levelname for one in caplog.records if "runs in openvino" in one.message] == [
        "INFO"
    ]
    assert not [one for one in caplog.records if one.levelno > logging.INFO]


def test_a_runtime_that_does_not_see_where_a_text_ends_is_found_out(tmp_path: Path) -> None:
    classifier = loaded(write_classifier(tmp_path)).classifier

    class Blind(TorchEngine):
        """Takes padding for words."""

        def run(self, batch: NDArray[Any]) -> list[NDArray[np.float32]]:
            return super().run(np.where(batch == PADDING, 5, batch))

    def build() -> Blind:
        return Blind(classifier.forward, device=classifier.device)

    with pytest.raises(Unsupported, match="from those of torch"):
        _agreeing(build, classifier)

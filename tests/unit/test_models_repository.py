"""Models of the hub by their names: from the cache, by download, and from nowhere."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from pathlib import Path

import pytest
from hub_server import COMMIT, Hub, serving_hub, write_cache
from huggingface_hub import constants
from test_models_sentences import MEAN
from test_models_sentences import write as write_steps
from tiny_transformers import TEXTS, loaded, settings, tokens, views, write_classifier

from alaas.core.errors import ModelUnavailable
from alaas.models import repository
from alaas.models.describe import describe
from alaas.models.load import load

NAME = "someone/reviews"


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """Where the hub's files are kept: nothing yet, and nobody answers."""
    unused = socket.socket()
    unused.bind(("127.0.0.1", 0))
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(constants, "ENDPOINT", f"http://127.0.0.1:{unused.getsockname()[1]}")
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    yield tmp_path / "cache"
    unused.close()


@pytest.fixture
def hub(cache: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Hub]:
    """A hub that answers."""
    with serving_hub() as running:
        monkeypatch.setattr(constants, "ENDPOINT", running.url)
        files = f"{running.url}/{{repo_id}}/resolve/{{revision}}/{{filename}}"
        monkeypatch.setattr(constants, "HUGGINGFACE_CO_URL_TEMPLATE", files)
        yield running


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A classifier of texts."""
    return write_classifier(tmp_path / "model")


def refusal(**more: str) -> str:
    with pytest.raises(ModelUnavailable) as caught:
        load(settings(**{"folder": NAME, **more}))
    assert "\n" not in caught.value.detail
    return caught.value.detail


def test_what_the_cache_has_needs_no_network(cache: Path, folder: Path) -> None:
    write_cache(cache, NAME, folder)
    model = loaded(NAME)
    assert model.card.origin == COMMIT
    assert model.card.name == NAME
    assert model.card.digest == loaded(folder).card.digest
    assert loaded(NAME, revision=COMMIT).card == model.card


def test_a_revision_by_its_name(cache: Path, folder: Path) -> None:
    write_cache(cache, NAME, folder, revision="v2")
    assert loaded(NAME, revision="v2").card.origin == COMMIT
    assert "nor in the cache" in refusal()


def test_what_is_nowhere(cache: Path) -> None:
    said = refusal()
    assert said.startswith(f"{NAME} is neither a folder nor in the cache {cache}, and http://127.")
    assert "does not give it (" in said
    assert "refused" in said
    assert "Offline, set `name` to a folder with config.json, model.safetensors, token" in said


def test_a_name_that_cannot_be_one(cache: Path) -> None:
    said = refusal(folder="no/such/thing")
    assert said.startswith("there is no folder 'no/such/thing', and no repository of the hub")


def test_offline_by_choice(hub: Hub, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    assert "does not give it (HF_HUB_OFFLINE is set)" in refusal()
    assert hub.asked == []


def test_a_download(hub: Hub, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (folder / "pytorch_model.bin").write_bytes(b"pickled")
    (folder / "onnx").mkdir()
    (folder / "onnx" / "model.safetensors").write_bytes(b"of another program")
    hub.repositories[NAME] = folder
    model = loaded(NAME)
    assert model.card.origin == COMMIT
    assert model.card.digest == loaded(folder).card.digest
    fetched = {path.rpartition("/")[2] for path in hub.asked if "/resolve/" in path}
    assert {"config.json", "model.safetensors", "tokenizer.json"} <= fetched
    assert "pytorch_model.bin" not in fetched
    assert not [path for path in hub.asked if "/onnx/model" in path]
    hub.asked.clear()
    assert loaded(NAME).card == model.card  # it is in the cache now
    assert hub.asked == []


def test_a_download_of_every_step(hub: Hub, tmp_path: Path) -> None:
    folder = write_steps(tmp_path / "steps", "Pooling", "Dense", **MEAN)
    hub.repositories[NAME] = folder
    model = loaded(NAME)
    assert model.card.dim == 7
    assert model.card.digest == loaded(folder).card.digest


def test_a_part_of_the_cache_is_completed(hub: Hub, cache: Path, folder: Path) -> None:
    hub.repositories[NAME] = folder
    snapshot = write_cache(cache, NAME, folder)
    (snapshot / "model.safetensors").unlink()
    assert loaded(NAME).card.digest == loaded(folder).card.digest


def test_a_part_of_the_cache_and_no_network(cache: Path, folder: Path) -> None:
    (write_cache(cache, NAME, folder) / "model.safetensors").unlink()
    assert refusal().startswith(f"{NAME} is only in part in the cache {cache}, and ")
    # Random weights need no file.
    assert loaded(NAME, weights="none").card.classes == 3


def test_why_the_hub_does_not_give_it(hub: Hub, folder: Path) -> None:
    assert "(it has no such repository, or a private one, for which HF_TOKEN" in refusal()
    hub.repositories[NAME] = folder
    assert "(the repository has no revision 'v9')" in refusal(revision="v9")
    hub.refuses[NAME] = (403, "GatedRepo")
    assert "(its terms must be accepted on its page first" in refusal()


def test_a_repository_without_safetensors(hub: Hub, folder: Path) -> None:
    (folder / "model.safetensors").rename(folder / "pytorch_model.bin")
    hub.repositories[NAME] = folder
    assert f"{NAME} has no weights: there is no model.safetensors in it" in refusal()


def test_a_tokenizer_of_another_repository(hub: Hub, folder: Path, tmp_path: Path) -> None:
    other = write_classifier(tmp_path / "other")
    for path in folder.glob("*token*"):
        path.unlink()
    hub.repositories["someone/tokens"] = other
    model = loaded(folder, tokenizer="someone/tokens")
    assert tokens(TEXTS, model.card).ids == tuple(map(str, range(len(TEXTS))))
    # Its weights are not wanted.
    assert not [path for path in hub.asked if path.endswith(".safetensors")]


def test_a_tokenizer_by_its_file(folder: Path, tmp_path: Path) -> None:
    whole = views(loaded(folder), TEXTS, "probs")["probs"]
    file = tmp_path / "words.json"
    (folder / "tokenizer.json").rename(file)
    found = views(loaded(folder, tokenizer=str(file)), TEXTS, "probs")["probs"]
    assert (found == whole).all()


def test_a_server_asks_the_hub_that_its_environment_names(
    tmp_path: Path, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with serving_hub() as hub:
        hub.repositories[NAME] = folder
        for name, value in {
            "HF_ENDPOINT": hub.url, "HF_HOME": str(tmp_path / "home"), "no_proxy": "127.0.0.1",
        }.items():  # fmt: skip
            monkeypatch.setenv(name, value)
        monkeypatch.delenv("HF_HUB_OFFLINE", raising=False)
        card = describe(settings(NAME))
    assert card.origin == COMMIT
    assert card.digest == loaded(folder).card.digest
    assert list((tmp_path / "home" / "hub").glob("models--someone--reviews"))


def test_a_folder_has_no_commit(folder: Path) -> None:
    assert repository.origin(folder) == ""

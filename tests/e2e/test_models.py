"""Several models behind one server: each query names the one that it wants."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import requests
from local_servers import MODEL
from tiny_transformers import WORDS, write_classifier

import alaas
from alaas.client import Client
from alaas.config import Settings
from alaas.core.errors import InvalidRequest
from alaas.server import Server

COUNT = 90
COARSE: dict[str, Any] = {
    **MODEL,
    "preprocess": {**MODEL["preprocess"], "size": 16, "resize": 16},
    "batch_size": 25,
}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A classifier of texts."""
    return write_classifier(tmp_path_factory.mktemp("model"), "distilbert")


@pytest.fixture(scope="module", params=["staged", "fused"])
def server(
    request: pytest.FixtureRequest, make_settings: Callable[..., Settings], folder: Path
) -> Iterator[Server]:
    """A server for pictures, in two sizes, and for texts."""
    settings = make_settings(protocol=["http", "grpc"], count=2, layout=request.param, replicas=2)
    tree = settings.model_dump(mode="json", exclude_unset=True)
    tree["active_learning"]["strategy"]["models"] = {
        "coarse": COARSE,
        "texts": {"hub": "huggingface", "name": str(folder), "device": "cpu"},
    }
    with Server(Settings.model_validate(tree)) as running:
        yield running


@pytest.fixture(scope="module")
def paths(photos: Path) -> list[str]:
    return [str(path) for path in sorted(photos.iterdir())[:COUNT]]


def test_each_query_gets_the_model_that_it_names(server: Server, paths: list[str]) -> None:
    digests = set()
    for url in server.urls.values():
        with Client(url) as client:
            for name, model in (("coarse", COARSE), (None, MODEL), ("default", MODEL)):
                # With what the other model has left in the store.
                for _ in range(2):
                    asked = client.query(paths, 7, strategy="margin", model=name)
                here = alaas.select(paths, 7, strategy="margin", model=model)
                assert [pick.uri for pick in asked] == list(here.ids)
                assert asked.scores == pytest.approx(here.scores, rel=1e-4)
                assert asked.receipt.model == here.receipt.model
                assert asked.warnings == ()
                assert asked.timings.stages["infer"].hits == COUNT
                digests.add(asked.receipt.model)
            # The networks are equal, and only their inputs differ.
            (digest,) = digests
            with pytest.raises(InvalidRequest, match="name default or coarse"):
                client.query(paths, 7, model=digest)


def test_texts_and_pictures_on_one_server(server: Server, folder: Path) -> None:
    texts = [" ".join(WORDS[row:] + WORDS[:row]) for row in range(20)]
    model = {"hub": "huggingface", "name": str(folder), "device": "cpu"}
    here = alaas.select([{"text": text} for text in texts], 4, strategy="entropy", model=model)
    with Client(server.urls["http"]) as client:
        there = client.query(
            [{"text": text} for text in texts], 4, strategy="entropy", model="texts"
        )
    assert [pick.text for pick in there] == [texts[int(name)] for name in here.ids]
    assert there.receipt.model == here.receipt.model


def test_a_name_that_is_not_served(server: Server, paths: list[str]) -> None:
    for url in server.urls.values():
        with Client(url) as client:
            with pytest.raises(
                InvalidRequest, match=r"'large'; there is default, coarse, texts"
            ) as no:
                client.query(paths, 3, model="large")
            assert (no.value.code, no.value.status) == ("unknown_model", 404)
            with pytest.raises(InvalidRequest, match="there is no model 'large'"):
                client.push(paths, "p", model="large")
            played = client.query(paths, 3, model="0" * 16)
            assert [warning.code for warning in played.warnings] == ["model_differs"]


def test_a_pool_is_chosen_from_with_the_model_that_it_was_pushed_for(
    server: Server, paths: list[str]
) -> None:
    with Client(server.urls["http"]) as client:
        pushed = client.push(paths, "coarse pictures", model="coarse")
        chosen = client.query(None, 6, pool="coarse pictures", strategy="margin")
        assert chosen.timings.stages["infer"].hits == COUNT
        sent = client.query(paths, 6, strategy="margin", model="coarse", cache=False)
        assert [pick.uri for pick in chosen] == [pick.uri for pick in sent]
        other = client.query(None, 6, pool="coarse pictures", strategy="margin", model="default")
        sent = client.query(paths, 6, strategy="margin", cache=False)
        assert [pick.uri for pick in other] == [pick.uri for pick in sent]
        assert pushed.pool.space in {pool.space for pool in client.pools()}


def test_a_job_names_a_model_too(server: Server, paths: list[str]) -> None:
    with Client(server.urls["http"]) as client:
        with pytest.raises(InvalidRequest, match="there is no model 'large'"):
            client.submit(paths, 3, model="large")
        done = client.submit(paths, 5, strategy="margin", model="coarse").result()
        asked = client.query(paths, 5, strategy="margin", model="coarse")
    assert [pick.uri for pick in done] == [pick.uri for pick in asked]
    assert done.warnings == ()


def test_the_list_of_models_says_how_to_ask_for_them(server: Server) -> None:
    listed = requests.get(f"{server.urls['http']}/models", timeout=60).json()["models"]
    shown = [(card["served_as"], card["modality"]) for card in listed]
    assert shown == [("default", "image"), ("coarse", "image"), ("texts", "text")]
    told = requests.get(f"{server.urls['http']}/info", timeout=60).json()["models"]
    assert [model["served_as"] for model in told] == ["default", "coarse", "texts"]

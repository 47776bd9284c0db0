"""Texts on every way: a service that is started as its users start it, the library, the shell."""

from __future__ import annotations

import csv
import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import requests
import torch
import transformers
import yaml
from local_servers import free_ports
from test_cli_serve import environment
from tiny_transformers import MOST, WORDS, write_classifier, write_encoder

import alaas
from alaas.client import Client
from alaas.core.errors import ModelUnavailable, ViewUnavailable
from alaas.core.wire import Item
from alaas.server import Server

POOL = 150
SHOWN = 12


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A classifier of texts."""
    return write_classifier(tmp_path_factory.mktemp("model"), "distilbert")


@pytest.fixture(scope="module")
def texts() -> list[str]:
    """Sentences of no sense, no two of them alike, the last one longer than the model takes."""
    rng = np.random.default_rng(0)
    made = {" ".join(rng.choice(WORDS, rng.integers(1, 40))) for _ in range(2 * POOL)}
    return [*sorted(made)[: POOL - 1], " ".join(WORDS * 3)]


@pytest.fixture(scope="module")
def uncertain(folder: Path, texts: list[str]) -> dict[str, float]:
    """Text to its least-confidence score, one at a time, without any code of ours."""
    model = transformers.AutoModelForSequenceClassification.from_pretrained(folder).eval()
    tokenizer = transformers.AutoTokenizer.from_pretrained(folder)
    with torch.inference_mode():
        return {
            text: 1 - model(
                **tokenizer(text, truncation=True, max_length=MOST, return_tensors="pt")
            ).logits.softmax(1).max().item()
            for text in texts
        }  # fmt: skip


def best(scores: dict[str, float]) -> list[str]:
    return sorted(scores, key=lambda text: -scores[text])[:SHOWN]


@pytest.fixture(scope="module")
def service(folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, str]]:
    """``alaas serve --config``, ready; scheme to address."""
    http, grpc = free_ports(2)
    document = {
        "name": "texts",
        "version": 1,
        "active_learning": {
            "strategy": {"model": {"hub": "huggingface", "name": str(folder)}},
            "al_worker": {
                "protocol": ["http", "ws", "grpc"], "host": "127.0.0.1",
                "port": [http, http, grpc],
                "replicas": 2,
            },
        },
        "store": {"url": str(tmp_path_factory.mktemp("store"))},
    }  # fmt: skip
    path = tmp_path_factory.mktemp("config") / "texts.yml"
    path.write_text(yaml.safe_dump(document))
    log = path.with_suffix(".log")
    with log.open("w") as stderr:
        process = subprocess.Popen(
            [sys.executable, "-m", "alaas", "serve", "--config", str(path)],
            stdout=subprocess.PIPE, stderr=stderr, text=True, start_new_session=True,
            env=environment("texts"),
        )  # fmt: skip
        try:
            assert process.stdout is not None
            ready = process.stdout.readline()
            assert ready.startswith("ready "), log.read_text()
            yield {
                scheme: f"{scheme}://127.0.0.1:{port}"
                for scheme, port in (("http", http), ("ws", http), ("grpc", grpc))
            }
        finally:
            process.terminate()
            assert process.wait(60) == 0
            process.stdout.close()
    said = log.read_text()
    assert "Traceback" not in said, said
    assert "TOKENIZERS_PARALLELISM" not in said, said


@pytest.mark.parametrize("protocol", ["http", "grpc"])
def test_a_service_chooses_the_least_certain_texts(
    service: dict[str, str], texts: list[str], uncertain: dict[str, float], protocol: str
) -> None:
    pool = [Item(str(row), text=text) for row, text in enumerate(texts)]
    with Client(service[protocol]) as client:
        assert client.query_by_text(texts, SHOWN) == best(uncertain)
        # What is stored is not read again, and nobody would see that a text is too long.
        result = client.query(pool, SHOWN, cache=False)
    assert [pick.text for pick in result] == best(uncertain)
    assert np.allclose(result.scores, [uncertain[text] for text in best(uncertain)], atol=1e-4)
    assert result.receipt.pool_size == POOL
    (warning,) = result.warnings
    assert warning.code == "texts_cut"
    assert warning.message == "1 text is longer than the model takes: the rest was not read"


def test_a_pool_of_texts_is_stored(
    service: dict[str, str], texts: list[str], uncertain: dict[str, float]
) -> None:
    pool = [Item(str(row), text=text) for row, text in enumerate(texts)]
    with Client(service["http"]) as client:
        pushed = client.push(pool, "texts", cache=False)
        assert [warning.code for warning in pushed.warnings] == ["texts_cut"]
        result = client.query(None, SHOWN, pool="texts")
        client.delete_pool("texts")
    assert [pick.text for pick in result] == best(uncertain)


def test_what_is_no_text_and_what_is_empty(service: dict[str, str], texts: list[str]) -> None:
    items = [
        Item("empty", text=" "),
        Item("picture", blob=b"\x89PNG\r\n\x1a\n"),
        *(Item(text, text=text) for text in texts[:10]),
    ]
    for url in service.values():
        with Client(url) as client:
            result = client.query(items, 3)
        found = {failure.id: (failure.stage, failure.code) for failure in result.failures}
        assert found == {
            "empty": ("preprocess", "empty_text"),
            "picture": ("preprocess", "wrong_modality"),
        }
        assert len(result) == 3


@pytest.mark.filterwarnings("ignore:1 items could not")
def test_an_empty_text_is_lost_alone(service: dict[str, str], texts: list[str]) -> None:
    """However it is sent."""
    lost = [("1", "empty_text")]

    def codes(result: Any) -> list[tuple[str, str]]:
        return [(failure.id, failure.code) for failure in result.failures]

    given = [texts[0], "", texts[1]]
    for url in service.values():
        with Client(url) as client:
            assert set(client.query_by_text(given, 2)) == {texts[0], texts[1]}
            pool = [{"text": text} for text in given]
            assert codes(client.query(pool, 2)) == lost
            assert codes(client.push(pool, "blank")) == lost
            client.delete_pool("blank")
    with Client(service["http"]) as client:
        assert codes(client.submit(pool, 2).wait(60)) == lost
    lines = [{"parameters": {"budget": 2}}, *({"text": text} for text in given)]
    answer = requests.post(
        f"{service['http']}/query",
        data="\n".join(map(json.dumps, lines)).encode(),
        headers={"Content-Type": "application/x-ndjson"},
        timeout=60,
    )
    assert [(one["id"], one["code"]) for one in answer.json()["failures"]] == lost


def test_other_views_of_texts(service: dict[str, str], texts: list[str]) -> None:
    pool = [Item(str(row), text=text) for row, text in enumerate(texts)]
    with Client(service["http"]) as client:
        for strategy in ("KCenter", "badge", "DeepFool", "MarginConfidence"):
            result = client.query(pool, SHOWN, strategy=strategy, seed=1)
            assert len({pick.text for pick in result}) == SHOWN, strategy


def test_the_library_chooses_the_same(
    tmp_path: Path, folder: Path, texts: list[str], uncertain: dict[str, float]
) -> None:
    pool = [Item(str(row), text=text) for row, text in enumerate(texts)]
    model = {"hub": "huggingface", "name": str(folder)}
    result = alaas.select(pool, SHOWN, model=model)
    assert [pick.text for pick in result] == best(uncertain)
    assert [warning.code for warning in result.warnings] == ["texts_cut"]
    table = tmp_path / "texts.tsv"
    table.write_text("id\ttext\na\tgood\nb\t\n")
    assert [one.id for one in alaas.select(table, 1, model=model).failures] == ["b"]


def test_an_encoder_chooses_by_its_embeddings_alone(tmp_path: Path, texts: list[str]) -> None:
    model = {"hub": "huggingface", "name": str(write_encoder(tmp_path))}
    pool = [Item(str(row), text=text) for row, text in enumerate(texts)]
    result = alaas.select(pool, SHOWN, strategy="KCenter", model=model)
    assert len(set(result.ids)) == SHOWN
    with pytest.raises(ViewUnavailable, match=r"needs the view probs, and .* only embeddings"):
        alaas.select(pool, SHOWN, model=model)


def test_the_shell_reads_a_table(
    tmp_path: Path, folder: Path, texts: list[str], uncertain: dict[str, float]
) -> None:
    table, out = tmp_path / "texts.csv", tmp_path / "picked.csv"
    with table.open("w", newline="") as file:
        csv.writer(file).writerows([["text", "label"], *([text, ""] for text in [*texts, ""])])
    ended = subprocess.run(
        [
            *(sys.executable, "-m", "alaas", "query", str(table), "--budget", str(SHOWN)),
            *("--hub", "huggingface", "--model", str(folder), "--out", str(out), "--no-cache"),
        ],
        capture_output=True, text=True, env=environment(), check=False, timeout=300,
    )  # fmt: skip
    assert ended.returncode == 4, ended.stderr  # one could not be ranked
    with out.open(newline="") as file:
        picked = [row["text"] for row in csv.DictReader(file)]
    assert picked == best(uncertain)
    assert "longer than the model takes" in ended.stderr
    assert "empty_text" in ended.stderr


def test_the_arguments_of_earlier_releases(
    folder: Path, texts: list[str], uncertain: dict[str, float]
) -> None:
    (port,) = free_ports(1)
    given: dict[str, Any] = {"port": port, "host": "127.0.0.1", "block": False}
    server = Server.start(
        model_name=str(folder), tokenizer=str(folder), transformers_task="text-classification",
        **given,
    )  # fmt: skip
    try:
        with Client(f"http://127.0.0.1:{port}") as client:
            assert client.query_by_text(texts, budget=SHOWN) == best(uncertain)
    finally:
        server.stop()
    with pytest.raises(ModelUnavailable, match="there is no folder"):
        Server.start(model_hub="huggingface/x", model_name="no/such/model", **given)

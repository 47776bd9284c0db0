"""The main job over every protocol, against a plain loop over the same network."""

from __future__ import annotations

import asyncio
import base64
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import requests
import torch
from local_servers import MODEL
from networks import tiny
from PIL import Image

import alaas
from alaas.client import Client
from alaas.core import errors
from alaas.server import Server
from alaas.strategies import Strategy, registry


@pytest.fixture(scope="module")
def uncertain(photos: Path) -> dict[str, float]:
    """Path to its least-confidence score, by a loop that shares no code with the service."""
    torch.manual_seed(0)
    network = tiny().eval()
    scores = {}
    with torch.inference_mode():
        for path in sorted(photos.iterdir()):
            pixels = torch.from_numpy(np.asarray(Image.open(path).convert("RGB")).copy())
            entering = (pixels.permute(2, 0, 1)[None].float() / 255 - 0.5) / 0.25
            scores[str(path)] = 1 - network(entering).softmax(1).max().item()
    return scores


def best(scores: dict[str, float], paths: list[str], budget: int) -> list[str]:
    return sorted(paths, key=lambda path: -scores[path])[:budget]


@pytest.mark.parametrize("count", [250, 5_000])
@pytest.mark.parametrize("protocol", ["http", "ws", "grpc"])
def test_picks_are_the_best_of_the_whole_pool(
    server: Server, uncertain: dict[str, float], protocol: str, count: int
) -> None:
    paths = list(uncertain)[:count]
    with Client(server.urls[protocol]) as client:
        result = client.query(paths, 20)
    assert [pick.uri for pick in result] == best(uncertain, paths, 20)
    assert np.allclose(result.scores, [uncertain[pick.uri] for pick in result], atol=1e-6)
    assert result.receipt.pool_size == count
    assert not result.failures
    assert all(timing.items == count for timing in result.timings.stages.values())


def test_both_engines_pick_the_same(server: Server, uncertain: dict[str, float]) -> None:
    paths = list(uncertain)[:1_000]
    for strategy in ("LC", "MC", "RC", "ES", "RS", "KCG"):
        here = alaas.select(paths, 25, strategy=strategy, model=MODEL, seed=3)
        with Client(server.urls["grpc"]) as client:
            there = client.query(paths, 25, strategy=strategy, seed=3)
        assert [pick.uri for pick in there] == list(here.ids), strategy
        assert there.receipt == here.receipt, strategy


@pytest.mark.parametrize("strategy", registry.strategies(), ids=lambda strategy: strategy.name)
def test_every_strategy_is_reached_from_everywhere(
    server: Server, uncertain: dict[str, float], strategy: Strategy
) -> None:
    paths = list(uncertain)[:150]
    known = [(path, row % 5) for row, path in enumerate(list(uncertain)[150:170])]
    asked: dict[str, Any] = {"strategy": strategy.name, "seed": 3, "n_drop": 6}
    if "predictions" in strategy.needs:
        with pytest.raises(errors.ViewUnavailable, match="needs the view predictions"):
            alaas.select(paths, 8, model=MODEL, labelled=known, **asked)
        return
    here = alaas.select(paths, 8, model=MODEL, labelled=known, **asked)
    assert len(set(here.ids)) == 8
    assert here.receipt.n_drop == (6 if "draws" in strategy.needs else 0)
    assert here.receipt.labelled_size == (20 if strategy.labelled or strategy.optional else 0)
    for protocol in ("http", "ws", "grpc"):
        with Client(server.urls[protocol]) as client:
            there = client.query(paths, 8, labelled=known, **asked)
        assert [pick.uri for pick in there] == list(here.ids), protocol
        assert there.receipt == here.receipt, protocol


def test_quotas_and_subsets_are_asked_for_like_any_parameter(
    server: Server, uncertain: dict[str, float]
) -> None:
    pool = [{"uri": path, "group": row % 4} for row, path in enumerate(list(uncertain)[:100])]
    params = {"per_group": 3, "max_pool": 80, "sampling": "power", "sampling_beta": 2.0}
    picked = []
    for protocol in ("http", "ws", "grpc"):
        with Client(server.urls[protocol]) as client:
            result = client.query(pool, 12, strategy="entropy", params=params, seed=5)
        assert result.receipt.params == params
        picked.append([pick.id for pick in result])
    assert picked[0] == picked[1] == picked[2]
    assert sorted(int(name) % 4 for name in picked[0]) == sorted([0, 1, 2, 3] * 3)


def test_what_cannot_be_done_is_refused_with_its_own_code(
    server: Server, uncertain: dict[str, float]
) -> None:
    paths = list(uncertain)[:20]
    refusals: list[tuple[dict[str, Any], type[errors.AlaasError]]] = [
        ({"strategy": "GSy"}, errors.ViewUnavailable),
        ({"strategy": "CAL"}, errors.ValidationFailed),
        ({"strategy": "entropy", "params": {"per_class": 1}}, errors.BudgetUnfillable),
        ({"strategy": "badge", "params": {"max_pool": 5}}, errors.ValidationFailed),
        ({"strategy": "power_bald", "params": {"beta": -1}}, errors.ValidationFailed),
        ({"strategy": "KCenter", "params": {"sampling": "power"}}, errors.ValidationFailed),
    ]
    for protocol in ("http", "grpc"):
        with Client(server.urls[protocol]) as client:
            for asked, kind in refusals:
                with pytest.raises(kind):
                    client.query(paths, 6, **asked)


def test_uris_blobs_and_paths_are_the_same_picture(
    server: Server, uncertain: dict[str, float], web: str
) -> None:
    paths = list(uncertain)[:60]
    wanted = best(uncertain, paths, 5)
    with Client(server.urls["http"]) as client:
        assert client.query_by_images(paths, budget=5) == wanted
        addresses = [f"{web}/{Path(path).name}" for path in paths]
        picked = client.query_by_uri(addresses, budget=5)
        assert [Path(uri).name for uri in picked] == [Path(path).name for path in wanted]
        files = [Path(path).as_uri() for path in paths]
        assert client.query_by_uri(files, budget=5) == [Path(path).as_uri() for path in wanted]


def test_texts_need_no_model(server: Server) -> None:
    texts = [f"sentence {number}" for number in range(30)]
    with Client(server.urls["http"]) as client:
        result = client.query([{"text": text} for text in texts], 4, strategy="RandomSampling")
        assert len(result) == 4
        assert result.receipt.model == ""
        with pytest.raises(errors.AllItemsFailed) as refused:
            client.query_by_text(texts, budget=4)
    assert "wrong_modality" in refused.value.errors[0].message


def test_a_receipt_posted_back_makes_the_same_selection(
    server: Server, uncertain: dict[str, float]
) -> None:
    data = [{"uri": path} for path in list(uncertain)[:300]]
    url = f"{server.urls['http']}/query"
    first = requests.post(
        url,
        json={"data": data, "parameters": {"budget": 9, "strategy": "RS", "seed": 11}},
        timeout=60,
    ).json()
    again = requests.post(
        url, json={"data": data, "parameters": first["receipt"]}, timeout=60
    ).json()
    assert again["data"] == first["data"]
    assert again["receipt"] == first["receipt"]
    assert again["warnings"] == []
    other = {**first["receipt"], "strategy": "LC", "model": "0" * 16}
    odd = requests.post(url, json={"data": data, "parameters": other}, timeout=60).json()
    assert [warning["code"] for warning in odd["warnings"]] == ["model_differs"]


@pytest.mark.parametrize(
    "body",
    [
        {"data": "URIS", "parameters": {"budget": 3.0, "n_drop": None}, "execEndpoint": "/query"},
        {"data": {"docs": "URIS"}, "parameters": {"budget": 3}, "exec_endpoint": "/query"},
        {
            "data": "URIS",
            "parameters": {"budget": 3, "nDrop": None, "colour": "blue"},
            "targetExecutor": None,
            "execEndpoint": "/query",
            "mood": "good",
        },
    ],
)
def test_old_requests_get_old_answers(
    server: Server, uncertain: dict[str, float], body: dict[str, Any]
) -> None:
    paths = list(uncertain)[:10]
    documents = [{"uri": path, "tags": {}, "mime_type": "image/png"} for path in paths]
    text = json.dumps(body).replace('"URIS"', json.dumps(documents))
    answer = requests.post(
        f"{server.urls['http']}/post",
        data=text,
        headers={"Content-Type": "application/json"},
        timeout=60,
    )
    assert answer.status_code == 200
    document = answer.json()
    assert [one["uri"] for one in document["data"]] == best(uncertain, paths, 3)
    assert [one["rank"] for one in document["data"]] == [0, 1, 2]
    assert all(one["id"] for one in document["data"])
    assert document["header"]["requestId"]
    assert document["header"]["execEndpoint"] == "/query"
    assert document["parameters"]["budget"] == 3


def test_blobs_come_back_as_they_were_sent(server: Server, photos: Path) -> None:
    blobs = [path.read_bytes() for path in sorted(photos.iterdir())[:5]]
    data = [{"blob": base64.b64encode(blob).decode()} for blob in blobs]
    answer = requests.post(
        f"{server.urls['http']}/query", json={"data": data, "parameters": {"budget": 2}}, timeout=60
    ).json()
    assert len(answer["data"]) == 2
    for one in answer["data"]:
        assert base64.b64decode(one["blob"]) == blobs[int(one["id"])]


def test_bad_items_are_failures_and_the_rest_is_ranked(
    server: Server, uncertain: dict[str, float], photos: Path, web: str
) -> None:
    good = list(uncertain)[:20]
    bad = [
        {"id": "missing", "uri": f"{photos}/nothing.png"},
        {"id": "outside", "uri": "/etc/hostname"},
        {"id": "gone", "uri": f"{web}/nothing.png"},
        {"id": "noise", "blob": base64.b64encode(b"not a picture").decode()},
        {"id": "broken", "blob": "***"},
        {"id": "scheme", "uri": "ftp://example.com/a.png"},
        {"id": "text", "text": "a sentence"},
    ]
    data = [*bad, *({"id": path, "uri": path} for path in good)]
    answer = requests.post(
        f"{server.urls['http']}/query", json={"data": data, "parameters": {"budget": 5}}, timeout=60
    ).json()
    assert [one["id"] for one in answer["data"]] == best(uncertain, good, 5)
    assert {one["id"]: one["code"] for one in answer["failures"]} == {
        "missing": "not_found",
        "outside": "uri_blocked",
        "gone": "upstream_not_found",
        "noise": "not_an_image",
        "broken": "invalid_blob",
        "scheme": "scheme_disabled",
        "text": "wrong_modality",
    }
    strict = requests.post(
        f"{server.urls['http']}/query",
        json={"data": data, "parameters": {"budget": 5, "on_item_error": "fail"}},
        timeout=60,
    )
    assert (strict.status_code, strict.json()["code"]) == (422, "item_failed")


def test_twenty_queries_at_once_keep_apart(server: Server, uncertain: dict[str, float]) -> None:
    paths = list(uncertain)

    async def ask(client: Client, part: int) -> list[str]:
        return await client.aquery_by_uri(paths[part * 100 : part * 100 + 100], budget=5)

    async def ask_all() -> list[list[str]]:
        with Client(server.urls["grpc"]) as client:
            return await asyncio.gather(*(ask(client, part) for part in range(20)))

    for part, picked in enumerate(asyncio.run(ask_all())):
        assert picked == best(uncertain, paths[part * 100 : part * 100 + 100], 5)


@pytest.mark.parametrize("protocol", ["ws", "grpc"])
def test_the_server_works_while_the_pool_still_arrives(
    server: Server, uncertain: dict[str, float], protocol: str
) -> None:
    """The rest of the pool is sent only after progress was seen on the first of it."""
    import threading

    paths = list(uncertain)[:1_500]
    moved = threading.Event()

    def pool() -> Any:
        yield from paths[:1_100]
        assert moved.wait(60), "no progress while the pool was still arriving"
        yield from paths[1_100:]

    with Client(server.urls[protocol]) as client:
        result = client.query(pool(), 7, on_progress=lambda progress: moved.set())
    assert [pick.uri for pick in result] == best(uncertain, paths, 7)

"""Several predictions of an item, asked of a real server."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import requests
from local_servers import MODEL

import alaas
from alaas.client import Client
from alaas.server import Server

COUNT = 120


def test_draws_of_the_head_come_of_what_another_strategy_has_stored(
    server: Server, photos: Path
) -> None:
    paths = [str(path) for path in sorted(photos.iterdir())[-COUNT:]]
    with Client(server.urls["http"]) as client:
        anew = client.query(paths, 5, strategy="bald", n_drop=30, seed=11, cache=False)
        client.query(paths, 5, strategy="entropy")
        found = client.query(paths, 5, strategy="bald", n_drop=30, seed=11)
    assert found.timings.stages["infer"].hits == COUNT
    assert anew.timings.stages["infer"].hits == 0
    assert found.receipt == anew.receipt
    assert found.receipt.n_drop == 30
    assert found.ids == anew.ids
    assert np.allclose(found.scores, anew.scores, rtol=1e-3)
    assert min(found.scores) > 0
    here = alaas.select(paths, 5, strategy="bald", n_drop=30, seed=11, model=MODEL)
    assert list(here.ids) == [pick.uri for pick in found]


def test_the_card_says_where_draws_come_from(server: Server) -> None:
    (card,) = requests.get(f"{server.urls['http']}/models", timeout=60).json()["models"]
    assert card["draws"] == "dropout"
    assert card["head_draws"] == "dropout 0.25"  # the only dropout is that before the head
    assert card["most_draws"] == 0

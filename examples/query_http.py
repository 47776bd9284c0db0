"""Ask a server over plain HTTP, as a program in any language would.

    python examples/query_http.py [PORT]

Starts a server of its own, which may read one folder, and posts the paths of its pictures.
"""

from __future__ import annotations

import sys
from pathlib import Path
from tempfile import TemporaryDirectory

import requests
from pictures import draw

from alaas.config import Settings
from alaas.server import Server


def main(port: int) -> None:
    with TemporaryDirectory() as folder:
        paths = draw(Path(folder))
        settings = Settings.model_validate(
            {
                "active_learning": {
                    # Random weights keep this example offline.
                    "strategy": {"model": {"name": "squeezenet1_1", "weights": "none"}},
                    "al_worker": {"host": "127.0.0.1", "port": port},
                },
                "fetch": {"roots": [folder]},
                "log": {"level": "warning"},
            }
        )
        with Server(settings) as server:
            answer = requests.post(
                f"{server.urls['http']}/query",
                json={
                    "data": [{"id": path.name, "uri": str(path)} for path in paths]
                    + [{"id": "lost", "uri": f"{folder}/no-such.jpg"}],
                    "parameters": {"budget": 5, "strategy": "EntropySampling"},
                },
                timeout=60,
            )
            answer.raise_for_status()
    found = answer.json()
    for pick in found["data"]:
        print(pick["rank"], pick["id"], round(pick["score"], 3))
    for failure in found["failures"]:
        print("not ranked:", failure["id"], failure["code"])


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 8081)

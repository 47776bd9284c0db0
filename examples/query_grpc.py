"""Stream pictures to a server over gRPC, and play the selection again from its receipt.

    python examples/query_grpc.py [PORT]

The client reads the files and sends their bytes, so the server needs no access to them.
"""

from __future__ import annotations

import sys
from pathlib import Path
from tempfile import TemporaryDirectory

from pictures import draw

from alaas.client import Client
from alaas.config import Settings
from alaas.server import Server


def main(port: int) -> None:
    settings = Settings.model_validate(
        {
            "active_learning": {
                # Random weights keep this example offline.
                "strategy": {"model": {"name": "squeezenet1_1", "weights": "none"}},
                "al_worker": {"protocol": "grpc", "host": "127.0.0.1", "port": port},
            },
            "log": {"level": "warning"},
        }
    )
    with (
        TemporaryDirectory() as folder,
        Server(settings) as server,
        Client(server.urls["grpc"], timeout=60) as client,
    ):
        paths = draw(Path(folder))
        result = client.query(paths, budget=5, strategy="RandomSampling", seed=7)
        print(result)
        receipt = result.receipt
        again = client.query(
            paths,
            budget=receipt.budget,
            strategy=receipt.strategy,
            params=receipt.params,
            seed=receipt.seed,
        )
        print("the receipt gives the same picks:", again.ids == result.ids)


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 8081)

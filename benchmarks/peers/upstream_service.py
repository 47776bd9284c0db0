"""ALaaS 0.2.1: its own server in a process of its own, asked by its own client.

python upstream_service.py WEIGHTS BATCH_SIZE PORT
"""

from __future__ import annotations

import multiprocessing
import os
import sys
from pathlib import Path
from tempfile import TemporaryDirectory

from channel import Question, answer, take_over

from alaas.client import Client
from alaas.server import Server

HUBCONF = """
dependencies = ["torch", "torchvision"]

def resnet18(pretrained=False):
    import torch, torchvision
    network = torchvision.models.resnet18()
    network.load_state_dict(torch.load({weights!r}, weights_only=True))
    return network
"""


def prepare(home: Path, weights: str) -> None:
    """Put a model where torch.hub keeps what it has downloaded: upstream knows no other way."""
    os.environ["TORCH_HOME"] = os.environ["HOME"] = str(home)
    folder = home / "hub" / "pytorch_vision_v0.10.0"
    folder.mkdir(parents=True)
    (folder / "hubconf.py").write_text(HUBCONF.format(weights=os.path.abspath(weights)))
    (home / "hub" / "trusted_list").write_text("pytorch_vision\n")


def main() -> None:
    weights, batch_size, port = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])
    out = take_over()
    with TemporaryDirectory() as home:
        prepare(Path(home), weights)
        Server.start(proto="http", host="127.0.0.1", port=port, batch_size=batch_size)
        client = Client(f"http://127.0.0.1:{port}")

        def ask(question: Question) -> list[int]:
            rows = {uri: row for row, uri in enumerate(question["uris"])}
            chosen = client.query_by_uri(question["uris"], question["budget"])
            return [rows[uri] for uri in chosen]

        answer(ask, out)
        # `start` gives nothing that could be closed, and its processes outlive whoever waits.
        for process in multiprocessing.active_children():
            process.terminate()
            process.join()


if __name__ == "__main__":
    main()

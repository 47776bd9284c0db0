"""What the benchmarks work on: real photographs behind a web server, and weights in a cache."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

ARCHIVE = "imagenet-200.zip"


def folder(given: str | None, scratch: Path) -> Path:
    """The photographs: a folder of yours, or the test data beside the repository, unpacked.

    Raises:
        SystemExit: There are none.
    """
    if given:
        return Path(given)
    root = Path(os.environ.get("ALAAS_TEST_DATA", Path(__file__).parents[2] / "shared" / "data"))
    if not (root / ARCHIVE).is_file():
        sys.exit(f"no photographs: name a folder with --photos, or put {ARCHIVE} into {root}")
    with zipfile.ZipFile(root / ARCHIVE) as archive:
        archive.extractall(scratch / "photographs")
    return scratch / "photographs"


def random_weights(name: str, home: Path) -> None:
    """Put random weights where torch looks for downloaded ones, under their name."""
    import torch
    import torchvision

    weights = torchvision.models.get_model_weights(name).DEFAULT
    torch.manual_seed(0)
    network = torchvision.models.get_model(name, weights=None)
    # With its initial statistics an untrained network calls every photograph the same.
    network.train()
    with torch.no_grad():
        for _ in range(3):
            network(torch.randn(8, 3, 64, 64))
    path = home / "hub" / "checkpoints" / Path(weights.url).name
    path.parent.mkdir(parents=True)
    torch.save(network.state_dict(), path)


@contextmanager
def served(photographs: Path) -> Iterator[str]:
    """Serve a folder on loopback from a process of its own; gives the URL."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    process = subprocess.Popen([sys.executable, "-m", __name__, str(photographs), str(port)])
    try:
        while True:
            if process.poll() is not None:
                sys.exit("the web server of the photographs did not start")
            with socket.socket() as probe:
                if probe.connect_ex(("127.0.0.1", port)) == 0:
                    break
        yield f"http://127.0.0.1:{port}"
    finally:
        process.terminate()
        process.wait()


if __name__ == "__main__":
    from aiohttp import web

    app = web.Application()
    app.router.add_static("/", sys.argv[1])
    web.run_app(app, host="127.0.0.1", port=int(sys.argv[2]), print=None, access_log=None)

"""What the network of `moody` is told, and queries that run beside a test."""

from __future__ import annotations

import base64
import contextlib
import threading
from io import BytesIO
from pathlib import Path
from typing import Any

import requests
from faults import Running, until
from PIL import Image

PATIENCE_S = 300.0
"""Seconds for what takes several processes that load torch, also on a machine that is busy."""

FOLDER = "ALAAS_FAULTS_FOLDER"
"""The variable that names the folder of files which the network looks at."""


def coloured(name: str) -> dict[str, Any]:
    """A picture of one colour as an item of a request."""
    stream = BytesIO()
    Image.new("RGB", (8, 8), name if name != "green" else (0, 255, 0)).save(stream, "PNG")
    return {"id": name, "blob": base64.b64encode(stream.getvalue()).decode()}


class Mood:
    """The files that the network of a server looks at."""

    def __init__(self, folder: Path) -> None:
        folder.mkdir()
        self.folder = folder

    @property
    def environment(self) -> dict[str, str]:
        return {FOLDER: str(self.folder)}

    def set(self, name: str) -> None:
        (self.folder / name).touch()

    def clear(self, name: str) -> None:
        (self.folder / name).unlink(missing_ok=True)

    def says(self, name: str) -> bool:
        return (self.folder / name).exists()

    def held_by(self) -> int:
        """The process that holds a white picture, once one does."""
        file = self.folder / "held"
        until(lambda: file.exists() and file.read_text(), "somebody holds a picture")
        return int(file.read_text())


class Query:
    """A query under way."""

    def __init__(self, server: Running, data: list[Any], **parameters: Any) -> None:
        body = {"data": data, "parameters": {"budget": 5, "cache": False, **parameters}}
        self.answer: requests.Response | None = None
        self._thread = threading.Thread(target=self._ask, args=(server, body), daemon=True)
        self._thread.start()

    def _ask(self, server: Running, body: dict[str, Any]) -> None:
        # A server that is killed answers nobody; whoever waits for the answer sees that.
        with contextlib.suppress(requests.ConnectionError):
            self.answer = requests.post(f"{server.url}/query", json=body, timeout=PATIENCE_S)

    def wait(self) -> requests.Response:
        self._thread.join(PATIENCE_S)
        assert self.answer is not None
        return self.answer


def ask(server: Running, data: list[Any], **parameters: Any) -> requests.Response:
    return Query(server, data, **parameters).wait()


def picked(answer: requests.Response) -> list[tuple[str, float]]:
    assert answer.status_code == 200, answer.text
    return [(one["id"], one["score"]) for one in answer.json()["data"]]

"""A server on loopback that answers as the hub of Hugging Face does, and a cache of its files."""

from __future__ import annotations

import hashlib
import json
import shutil
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

COMMIT = "0123456789abcdef0123456789abcdef01234567"


def write_cache(root: Path, name: str, folder: Path, *, revision: str = "main") -> Path:
    """Put a folder into a cache as the newest commit of a repository; gives its place there."""
    place = root / f"models--{name.replace('/', '--')}"
    (place / "refs").mkdir(parents=True)
    (place / "refs" / revision).write_text(COMMIT)
    snapshot = place / "snapshots" / COMMIT
    shutil.copytree(folder, snapshot)
    return snapshot


@dataclass
class Hub:
    """Repositories by name, each a folder; what is asked for is written down."""

    repositories: dict[str, Path] = field(default_factory=dict)
    asked: list[str] = field(default_factory=list)
    refuses: dict[str, tuple[int, str]] = field(default_factory=dict)
    url: str = ""

    def answer(self, path: str) -> tuple[int, dict[str, str], bytes]:
        """Status, headers and body."""
        self.asked.append(path)
        parts = path.strip("/").split("/")
        name = "/".join(parts[2:4] if parts[0] == "api" else parts[:2])
        if name in self.refuses:
            status, code = self.refuses[name]
            return status, {"X-Error-Code": code}, b"{}"
        if name not in self.repositories:
            return 404, {"X-Error-Code": "RepoNotFound"}, b"{}"
        folder = self.repositories[name]
        if parts[0] == "api":
            return self._about(name, folder, parts[4:])
        file = folder.joinpath(*parts[4:])
        if parts[2:4] != ["resolve", COMMIT] or not file.is_file():
            return 404, {"X-Error-Code": "EntryNotFound"}, b""
        content = file.read_bytes()
        etag = hashlib.sha256(content).hexdigest()
        return 200, {"ETag": f'"{etag}"', "X-Repo-Commit": COMMIT}, content

    def _about(self, name: str, folder: Path, rest: list[str]) -> Any:
        if rest[:2] == ["revision", "main"] or rest[:2] == ["revision", COMMIT] or not rest:
            document: Any = {"id": name, "sha": COMMIT, "siblings": [], "tags": []}
        elif rest[:2] == ["tree", COMMIT]:
            document = [
                {
                    "type": "file", "size": file.stat().st_size, "oid": "0" * 40,
                    "path": str(file.relative_to(folder)),
                }
                for file in sorted(folder.rglob("*")) if file.is_file()
            ]  # fmt: skip
        else:
            return 404, {"X-Error-Code": "RevisionNotFound"}, b"{}"
        return 200, {"Content-Type": "application/json"}, json.dumps(document).encode()


@contextmanager
def serving_hub() -> Iterator[Hub]:
    """A hub without repositories, on a free port."""
    hub = Hub()

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_HEAD(self) -> None:
            self.reply(body=False)

        def do_GET(self) -> None:
            self.reply(body=True)

        def reply(self, *, body: bool) -> None:
            status, headers, content = hub.answer(urlsplit(self.path).path)
            self.send_response(status)
            for key, value in headers.items():
                self.send_header(key, value)
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            if body:
                self.wfile.write(content)

        def log_message(self, *_: Any) -> None:
            """Say nothing."""

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        hub.url = f"http://127.0.0.1:{server.server_port}"
        try:
            yield hub
        finally:
            server.shutdown()
            thread.join()

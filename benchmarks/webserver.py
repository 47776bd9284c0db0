"""A web server for one folder of photographs that costs next to nothing.

    python -m benchmarks.webserver FOLDER PORT

It shares two cores with what is measured, so it answers from memory and does no more than a
client can ask of a file: GET, kept connections, ETag, Last-Modified and 304.
"""

from __future__ import annotations

import asyncio
import hashlib
import sys
from email.utils import formatdate
from functools import lru_cache
from pathlib import Path
from typing import cast
from urllib.parse import unquote, urlsplit

NOT_FOUND = b"HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n"


@lru_cache(maxsize=20_000)
def _document(path: Path) -> tuple[str, bytes, bytes]:
    """ETag, head and body of a file; files do not change while a benchmark runs."""
    body = path.read_bytes()
    etag = f'"{hashlib.blake2b(body, digest_size=8).hexdigest()}"'
    modified = formatdate(path.stat().st_mtime, usegmt=True)
    head = f"ETag: {etag}\r\nLast-Modified: {modified}\r\nContent-Type: image/jpeg\r\n"
    return etag, head.encode(), body


class Connection(asyncio.Protocol):
    """One client, whose requests are answered in turn.

    Args:
        folder: What is served.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._received = b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Note where answers go."""
        self._transport = cast("asyncio.Transport", transport)

    def data_received(self, data: bytes) -> None:
        """Answer every request whose head is complete."""
        self._received += data
        while (end := self._received.find(b"\r\n\r\n")) >= 0:
            head, self._received = self._received[:end], self._received[end + 4 :]
            for part in self._answer(head.decode("latin-1")):
                self._transport.write(part)

    def _answer(self, head: str) -> tuple[bytes, ...]:
        request, *lines = head.split("\r\n")
        fields = dict(line.split(":", 1) for line in lines)
        asked = {name.lower(): value.strip() for name, value in fields.items()}
        path = self._folder / unquote(urlsplit(request.split(" ")[1]).path).lstrip("/")
        if not path.is_relative_to(self._folder) or ".." in path.parts or not path.is_file():
            return (NOT_FOUND,)
        etag, known, body = _document(path)
        if asked.get("if-none-match") == etag:
            return (b"HTTP/1.1 304 Not Modified\r\n", known, b"\r\n")
        length = f"Content-Length: {len(body)}\r\n\r\n".encode()
        return (b"HTTP/1.1 200 OK\r\n", known, length, body)


async def serve(folder: Path, port: int) -> None:
    """Serve until the process is ended."""
    loop = asyncio.get_running_loop()
    server = await loop.create_server(lambda: Connection(folder), "127.0.0.1", port, backlog=1024)
    await server.serve_forever()


if __name__ == "__main__":
    asyncio.run(serve(Path(sys.argv[1]).resolve(), int(sys.argv[2])))

"""A web server that means harm to whoever fetches from it."""

from __future__ import annotations

import gzip
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread
from typing import Any

MIB = 2**20


class Evil(BaseHTTPRequestHandler):
    """A web server that means harm."""

    def do_GET(self) -> None:
        """Answer as the path says."""
        getattr(self, self.path.strip("/").partition(".")[0])()

    def redirect(self) -> None:
        """Send the caller to a private network."""
        self._head(302, Location="http://10.0.0.1/a.png")

    def endless(self) -> None:
        """A body without an end."""
        self._head(200)
        self._write(lambda: bytes(MIB))

    def packed(self) -> None:
        """A megabyte that unpacks to a gigabyte."""
        self._head(200, **{"Content-Encoding": "gzip"})
        body = iter([gzip.compress(bytes(1024 * MIB), 1)])
        self._write(lambda: next(body, b""))

    def page(self) -> None:
        """HTML, which is called a picture."""
        self._head(200, **{"Content-Type": "image/jpeg"})
        body = iter([b"<html><script>alert(1)</script></html>"])
        self._write(lambda: next(body, b""))

    def _head(self, status: int, **fields: str) -> None:
        self.send_response(status)
        for name, value in fields.items():
            self.send_header(name, value)
        self.end_headers()

    def _write(self, part: Callable[[], bytes]) -> None:
        try:
            while data := part():
                self.wfile.write(data)
        except OSError:  # the caller has had enough
            return

    def log_message(self, *_: Any) -> None:
        """Say nothing."""


@contextmanager
def evil() -> Iterator[str]:
    """That server on a free port of loopback; its URL."""
    with ThreadingHTTPServer(("127.0.0.1", 0), Evil) as server:
        thread = Thread(target=server.serve_forever)
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_port}"
        finally:
            server.shutdown()
            thread.join()

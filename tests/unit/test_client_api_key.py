"""The API key that a client shows: where it is from, and who does not see it."""

from __future__ import annotations

from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from threading import Thread

import pytest

from alaas.client import Client
from alaas.core.errors import AlaasError


class Seen(BaseHTTPRequestHandler):
    """Notes what is shown to it."""

    shown: list[str | None]

    def do_GET(self) -> None:
        self.shown.append(self.headers["Authorization"])
        self.send_response(401)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def log_message(self, *_: object) -> None:
        """Say nothing."""


@pytest.fixture
def shown() -> list[str | None]:
    """What clients have shown."""
    return []


@pytest.fixture
def url(shown: list[str | None]) -> Iterator[str]:
    """A server that refuses everybody."""
    handler = type("Handler", (Seen,), {"shown": shown})
    with HTTPServer(("127.0.0.1", 0), handler) as server:
        thread = Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()
        thread.join()


def refused(url: str, api_key: str | None = None) -> AlaasError:
    with Client(url, api_key=api_key) as client, pytest.raises(AlaasError) as caught:
        client.strategies()
    return caught.value


def test_a_key_given_goes_before_the_environment(
    url: str, shown: list[str | None], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ALAAS_API_KEY", "of-the-environment")
    refused(url)
    refused(url, "given")
    monkeypatch.setenv("ALAAS_API_KEY", "")
    refused(url)
    assert shown == ["Bearer of-the-environment", "Bearer given", None]


def test_a_password_file_does_not_replace_it(
    url: str, shown: list[str | None], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    netrc = tmp_path / "netrc"
    netrc.write_text("machine 127.0.0.1 login somebody password else\n")
    monkeypatch.setenv("NETRC", str(netrc))
    refused(url, "given")
    assert shown == ["Bearer given"]


def test_a_refusal_without_words_has_the_code_of_its_status(url: str) -> None:
    assert refused(url).code == "unauthenticated"


@pytest.mark.parametrize("wrong", ["", "two words", "line\nbreak", "ünicode", "\x00"])
def test_what_cannot_be_a_key_is_refused_and_not_repeated(wrong: str) -> None:
    with pytest.raises(ValueError, match=r"^api_key must be") as caught:
        Client("http://localhost", api_key=wrong)
    assert not wrong or wrong not in str(caught.value)


def test_a_variable_that_is_no_key_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ALAAS_API_KEY", "two words")
    with pytest.raises(ValueError, match=r"^ALAAS_API_KEY must be"):
        Client("http://localhost")

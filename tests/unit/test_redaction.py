"""What grants access to something goes from a text, and what says what went wrong stays."""

from __future__ import annotations

import re

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from alaas.server import redaction
from alaas.server.redaction import HIDDEN, redact, secrets_of

SECRET = "s3nt1nel"


@pytest.mark.parametrize(
    ("text", "left"),
    [
        ("https://host/a.png", "https://host/a.png"),
        ("https://host:8080/a.png?x-id=1&X-Amz-Signature=SECRET", "https://host:8080/a.png?"),
        ("GET 'https://host/a?sig=SECRET' failed", "GET 'https://host/a?"),
        ('got "https://host/a#token=SECRET"', 'got "https://host/a?'),
        ("https://host/a;jsessionid=SECRET", "https://host/a?"),
        ("https://me:SECRET@host/a.png", "https://host/a.png"),
        ("https://SECRET@host", "https://host"),
        ("https://a@b:SECRET@host/", "https://host/"),
        ("postgresql+psycopg://me:SECRET@db/jobs?sslkey=SECRET", "postgresql+psycopg://db/jobs?"),
        ("https://me:pa/SECRET@host/a", "https://"),
        ("https://me:pa?SECRET@host/a", "https://"),
        ("https:/me:SECRET@host/a", "https:/host/a"),
        ("https:\\\\me:SECRET@host/a", "https:\\\\host/a"),
        ("HTTPS://me:SECRET@host/a", "HTTPS://host/a"),
        ("s3://bucket/key?X-Amz-Security-Token=SECRET", "s3://bucket/key?"),
        ("https://proxy/https%3A%2F%2Fhost%2Fa%3Fsig%3DSECRET", "https://proxy/https%3A%2F%2Fhost"),
        ("two https://h/a?k=SECRET https://h/b?k=SECRET", "two https://h/a?"),
        ("Authorization: Bearer SECRET", "Authorization: Bearer "),
        ("Authorization: bearer  abc.SECRET-~+/=", "Authorization: bearer "),
        ("Basic bWU6SECRET==", "Basic "),
        (f"a key is alaas_SECRET{'x' * 35}", "a key is "),
        ("exceeded with url: /a/b?x=SECRET (", "exceeded with url: /a/b?"),
        ("?X-Amz-Signature=SECRET&x=1", "?X-Amz-Signature="),
        ("sig=SECRET", "sig="),
        ("AWSAccessKeyId=SECRET", "AWSAccessKeyId="),
        ("{'api_key': 'SECRET', 'n': 1}", "{'api_key': '"),
        ('{"password":"SECRET"}', '{"password":"'),
        ("sig%3DSECRET", "sig%3D"),
    ],
)
def test_secrets_go_and_the_rest_stays(text: str, left: str) -> None:
    shown = redact(text.replace("SECRET", SECRET))
    assert SECRET not in shown
    assert shown.startswith(left)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "no item of the pool could be ranked",
        "/data/3: ids must be unique; 'a@b' came before, at 1",
        "at most 10000 are allowed (limits.items)",
        "file:///data/photos/a b.png",
        "C:\\photos\\a.png",
        "the basics of tokens, keys and signatures",
    ],
)
def test_other_texts_stay_as_they_are(text: str) -> None:
    assert redact(text) == text


def test_the_secrets_of_the_environment_go(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "abc/def+ghi12345")
    redaction._own_secrets.cache_clear()
    try:
        assert redact("denied for abc/def+ghi12345!") == f"denied for {HIDDEN}!"
    finally:
        monkeypatch.undo()
        redaction._own_secrets.cache_clear()


def test_which_variables_hold_secrets() -> None:
    environ = {
        "AWS_SECRET_ACCESS_KEY": "long-secret-1",
        "HF_TOKEN": "long-secret-2",
        "PGPASSWORD": "long-secret-3",
        "DB_PASSWORD": "long-secret-33",
        "OTEL_EXPORTER_OTLP_HEADERS": "authorization=long-secret-4",
        "TOKENIZERS_PARALLELISM": "sometimes-yes",
        "API_KEY": "short",
        "SESSION_TOKEN": "1234567890",
        "HOME": "/home/somebody",
    }
    assert secrets_of(environ) == [
        "authorization=long-secret-4", "long-secret-33", "long-secret-1", "long-secret-2",
        "long-secret-3",
    ]  # fmt: skip


WORDS = st.text("ab:/?#@;&=% '\"[]\\.", max_size=12)


@settings(deadline=None)
@given(st.sampled_from(["https", "s3", "postgresql+psycopg"]), WORDS, WORDS)
def test_no_form_of_a_password_gets_through(scheme: str, before: str, after: str) -> None:
    """Wherever signs stand in it that end a part of an address."""
    shown = redact(f"{scheme}://me:{_whole(before)}{SECRET}@host/{after}")
    assert SECRET not in shown


@settings(deadline=None)
@given(WORDS, WORDS)
def test_no_query_gets_through(path: str, query: str) -> None:
    assert SECRET not in redact(f"https://host/{_whole(path)}?{_whole(query)}{SECRET}")


def _whole(word: str) -> str:
    """Without the signs at which an address in a text ends."""
    return re.sub("[ '\"]", "", word)


def test_long_texts_cost_little() -> None:
    """What would be quadratic in a careless expression ends within the time of a test."""
    for part, count in (("/", 300), ("a", 300), ("a:/", 100), ("sig", 100), ("bearer ", 40)):
        redact(part * count * 1000)

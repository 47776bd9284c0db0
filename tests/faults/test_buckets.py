"""Rows 25 and 26: object stores, and who may read what in them."""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs

import boto3
import pytest
import requests
from botocore.config import Config
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import rsa
from fetch_peers import asking, dialled, picture, run
from moto.server import ThreadedMotoServer
from web_peers import Exchange, Peer

from alaas.core.errors import EmptyInput, ValidationFailed
from alaas.data import credentials, sources

KEYS = ["a.png", "photos/b.png", "photos/ü b+c%20(1)~&=@:;,#.png", "photos//twice.png"]


class Store:
    """An object store on this machine, with two buckets.

    Attributes:
        endpoint: Where it is.
        user: Access key and secret of somebody who may use bucket ``open`` alone.
        reader: A client with these.
    """

    def __init__(self, endpoint: str) -> None:
        self.endpoint = endpoint
        requests.post(f"{endpoint}/moto-api/reset", timeout=60)
        root = self._client("root", "root")
        for bucket in ("open", "closed"):
            root.create_bucket(Bucket=bucket)
            for row, key in enumerate(KEYS):
                root.put_object(Bucket=bucket, Key=key, Body=picture(row))
        root.put_object(Bucket="open", Key="large.png", Body=picture() + bytes(100_000))
        iam = self._client("root", "root", "iam")
        iam.create_user(UserName="reader")
        policy = {
            "Version": "2012-10-17",
            "Statement": [
                {"Effect": "Allow", "Action": "s3:*", "Resource": "arn:aws:s3:::open*"},
                {"Effect": "Deny", "Action": "s3:*", "Resource": "arn:aws:s3:::closed/*"},
            ],
        }
        iam.put_user_policy(UserName="reader", PolicyName="p", PolicyDocument=json.dumps(policy))
        made = iam.create_access_key(UserName="reader")["AccessKey"]
        self.user = (made["AccessKeyId"], made["SecretAccessKey"])
        self.reader = self._client(*self.user)
        # From here on every signature is computed again and compared.
        requests.post(f"{endpoint}/moto-api/reset-auth", data=b"0", timeout=60)

    def _client(self, key: str, secret: str, service: str = "s3") -> Any:
        return boto3.client(
            service,
            endpoint_url=self.endpoint,
            region_name="us-east-1",
            aws_access_key_id=key,
            aws_secret_access_key=secret,
            config=Config(s3={"addressing_style": "path"}),
        )


@pytest.fixture(scope="module")
def running() -> Iterator[str]:
    """The URL of a store that keeps all in memory."""
    server = ThreadedMotoServer("127.0.0.1", 0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    yield f"http://{host}:{port}"
    server.stop()


@pytest.fixture
def store(running: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[Store]:
    """A fresh store; the environment has the credentials of its reader."""
    fresh = Store(running)
    _environment(monkeypatch, *fresh.user)
    yield fresh
    requests.post(f"{running}/moto-api/reset-auth", data=b"inf", timeout=60)


def _environment(monkeypatch: pytest.MonkeyPatch, key: str, secret: str) -> None:
    for name in ("AWS_SESSION_TOKEN", "AWS_PROFILE", "AWS_REGION", "AWS_DEFAULT_REGION"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", "/dev/null")
    monkeypatch.setenv("AWS_CONFIG_FILE", "/dev/null")
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", key)
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", secret)


def listed(endpoint: str, *buckets: str, **s3: Any) -> dict[str, Any]:
    """The fetch section that opens these buckets."""
    return {
        "schemes": ["https", "s3"], "buckets": list(buckets), "s3": {"endpoint": endpoint, **s3},
    }  # fmt: skip


def test_objects_of_a_listed_bucket_are_read(store: Store) -> None:
    async def scenario() -> None:
        async with asking(listed(store.endpoint, "s3://open")) as asked:
            answer = await asked.query(*[f"s3://open/{key}" for key in KEYS])
            assert answer["failures"] == []
            assert len(answer["data"]) == 1 + len(KEYS)

    run(scenario())


def test_what_was_read_is_known_by_its_etag(store: Store, tmp_path: Path) -> None:
    async def scenario() -> None:
        kept = {"url": str(tmp_path / "store"), "cache": True}
        uri = "s3://open/a.png"
        async with asking(listed(store.endpoint, "s3://open"), store=kept) as asked:
            first = await asked.query(uri)
            again = await asked.query(uri)
            assert first["data"][0]["score"] == again["data"][0]["score"]
            stages = again["timings"]["stages"]
            assert (stages["infer"]["hits"], stages["fetch"]["bytes"]) == (2, 0)
            store.reader.put_object(Bucket="open", Key="a.png", Body=picture(9))
            changed = await asked.query(uri)
            assert changed["timings"]["stages"]["infer"]["hits"] == 1
        # What is known of an object does not open a bucket that is listed no more.
        async with asking(listed(store.endpoint, "s3://open/photos"), store=kept) as asked:
            assert await asked.codes(uri) == {uri: "uri_blocked"}

    run(scenario())


def test_row25_only_listed_buckets_are_asked_and_only_as_configured(store: Store) -> None:
    blocked = [
        "s3://closed/a.png", "s3://opened/a.png", "s3://open/a.png", "s3://open/photos2/a.png",
        "s3://open/photos/../a.png", "s3://open/photos/./b.png", "s3://open/photos/b.png/..",
        "gs://open/photos/b.png", "s3://open/photos/b.png?endpoint_url=http://127.0.0.1:1",
        "s3://open/photos/b.png?versionId=1", "S3://closed/photos/b.png",
    ]  # fmt: skip
    invalid = [
        "s3://key:secret@open/photos/b.png", "s3://127.0.0.1:1/photos/b.png", "s3://open",
        "s3://open/", "s3:///photos/b.png", "s3:open/photos/b.png", "s3://../open/photos/b.png",
        "s3://open\\@closed/photos/b.png", "s3://open/photos/\r\nX: y", "s3://op%65n/photos/b.png",
        "s3://open/photos/" + "x" * 1100,
    ]  # fmt: skip

    async def scenario() -> None:
        fetch = listed(store.endpoint, "s3://open/photos")
        async with asking({**fetch, "schemes": ["s3", "gs"]}) as asked:
            with dialled() as seen:
                codes = await asked.codes(*blocked, *invalid)
            assert codes == dict.fromkeys(blocked, "uri_blocked") | dict.fromkeys(
                invalid, "uri_invalid"
            )
            assert seen.addresses == []
            answer = await asked.query("S3://open/photos/b.png")
            assert answer["failures"] == []
        async with asking({**fetch, "schemes": ["https"]}) as asked:
            uri = "s3://open/photos/b.png"
            assert await asked.codes(uri) == {uri: "scheme_disabled"}

    run(scenario())


def test_row26_a_store_that_forbids_or_does_not_know(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    fetch = listed(store.endpoint, "s3://open", "s3://closed", "s3://none-such")
    forbidden, missing = "s3://closed/a.png", ["s3://open/none.png", "s3://none-such/a.png"]

    async def scenario() -> None:
        async with asking(fetch, limits={"object_bytes": 50_000}) as asked:
            codes = await asked.codes(forbidden, "s3://open/large.png", missing[0])
            assert list(codes.values()) == [
                "upstream_forbidden", "object_too_large", "upstream_not_found",
            ]  # fmt: skip
        for key, secret in ((store.user[0], "wrong"), ("nobody", "unknown")):
            _environment(monkeypatch, key, secret)
            await _expect(fetch, "s3://open/a.png", "upstream_forbidden")
        await _expect(listed(store.endpoint, "s3://closed", anonymous=True), forbidden,
                      "upstream_forbidden")  # fmt: skip

    run(scenario())


async def _expect(fetch: dict[str, Any], uri: str, code: str) -> dict[str, Any]:
    async with asking(fetch) as asked:
        (failed,) = await asked.fail(uri)
        assert failed["code"] == code, failed
        return failed


@pytest.mark.parametrize(
    ("status", "error", "code", "requests_"),
    [
        (400, "ExpiredToken", "upstream_forbidden", 1),
        (400, "InvalidToken", "upstream_forbidden", 1),
        (403, "AccessDenied", "upstream_forbidden", 1),
        (404, "NoSuchKey", "upstream_not_found", 1),
        (307, "TemporaryRedirect", "upstream_forbidden", 1),
        (503, "SlowDown", "upstream_unavailable", 3),
        (500, "InternalError", "upstream_unavailable", 3),
    ],
)
def test_row26_what_a_store_answers_has_a_code(
    status: int, error: str, code: str, requests_: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    _environment(monkeypatch, "key-of-the-service", "s3cret-of-the-service")
    monkeypatch.setattr("alaas.data.http._BACKOFF_S", 0.0)

    async def scenario() -> None:
        async def answer(exchange: Exchange) -> None:
            body = f"<Error><Code>{error}</Code><Resource>/b/k</Resource></Error>".encode()
            await exchange.answer(body, status=status, Location="http://127.0.0.3/")

        async with Peer(answer) as peer:
            with dialled() as seen:
                failed = await _expect(listed(peer.uri(""), "s3://bucket"), "s3://bucket/k", code)
            assert {address for address in seen.addresses if address[1] == peer.port} == {
                ("127.0.0.1", peer.port)
            }
            assert ("127.0.0.3", 80) not in seen.addresses
            assert len(peer.requests) == requests_
            assert error not in failed["message"]
            assert "key-of-the-service" not in str(failed)

    run(scenario())


def test_row26_a_bucket_in_another_region_is_asked_there(monkeypatch: pytest.MonkeyPatch) -> None:
    _environment(monkeypatch, "key", "secret")

    async def scenario() -> None:
        async def regional(exchange: Exchange) -> None:
            if "/eu-west-1/s3/aws4_request" in exchange.headers["authorization"]:
                await exchange.answer(picture())
            else:
                fields = {"x-amz-bucket-region": "eu-west-1"}
                await exchange.answer(status=301, **fields)

        async with (
            Peer(regional) as peer,
            asking(listed(peer.uri(""), "s3://bucket")) as asked,
        ):
            for _ in range(2):
                assert (await asked.query("s3://bucket/k"))["failures"] == []
            assert len(peer.requests) == 3  # the region is learnt once

    run(scenario())


@pytest.mark.parametrize("region", ["us-east-1", "evil.example/", "x" * 99])
def test_row26_a_region_that_is_none_is_not_believed(
    region: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    _environment(monkeypatch, "key", "secret")

    async def scenario() -> None:
        async def lost(exchange: Exchange) -> None:
            await exchange.answer(status=301, **{"x-amz-bucket-region": region})

        async with Peer(lost) as peer:
            fetch = listed(peer.uri(""), "s3://bucket")
            await _expect(fetch, "s3://bucket/k", "upstream_forbidden")
            assert len(peer.requests) == 1

    run(scenario())


def test_row26_a_service_without_credentials_says_so(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    _environment(monkeypatch, "", "")
    monkeypatch.delenv("AWS_ACCESS_KEY_ID")
    monkeypatch.delenv("AWS_SECRET_ACCESS_KEY")
    monkeypatch.setenv("GOOGLE_APPLICATION_CREDENTIALS", "/nowhere/s3cret.json")

    async def scenario() -> None:
        fetch = {"schemes": ["s3", "gs"], "buckets": ["s3://bucket", "gs://bucket"]}
        async with asking(fetch) as asked:
            with dialled() as seen:
                failures = await asked.fail("s3://bucket/a", "s3://bucket/b", "gs://bucket/a")
            assert {one["code"] for one in failures} == {"upstream_forbidden"}
            assert "nowhere" not in str(failures)
            assert seen.addresses == []

    run(scenario())
    said = [one for one in caplog.messages if one.startswith("no credentials for")]
    assert [one.partition(":")[0] for one in said] == [
        "no credentials for s3", "no credentials for gs",
    ]  # fmt: skip


def test_row25_a_start_without_what_stores_need_is_refused(tmp_path: Path) -> None:
    """In a process that finds no botocore."""
    config = tmp_path / "config.yml"
    config.write_text("fetch:\n  schemes: [https, s3]\n  buckets: [s3://bucket]\n")
    script = (
        "import sys; sys.modules['botocore'] = None; from alaas.__main__ import main; "
        f"sys.argv = ['alaas', 'serve', '--config', {str(config)!r}]; sys.exit(main())"
    )
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, timeout=120, check=False
    )
    assert done.returncode == 2, done.stderr
    assert "fetch.schemes has s3, which needs more: pip install 'alaas[objects]'" in " ".join(
        done.stderr.split()
    )


def test_a_user_names_a_folder_of_a_bucket(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_ENDPOINT_URL_S3", store.endpoint)
    expected = [f"s3://open/{key}" for key in KEYS if key.startswith("photos/")]
    assert sorted(item.id for item in sources.items("s3://open/photos/")) == sorted(expected)
    assert len(sources.items("s3://open/")) == len(KEYS) + 1
    with pytest.raises(EmptyInput, match="no image in 's3://open/none/'"):
        sources.items("s3://open/none/")
    with pytest.raises(ValidationFailed, match="s3://closed/ cannot be listed"):
        sources.items("s3://closed/")


@pytest.mark.parametrize("scheme", ["s3", "gs"])
def test_a_long_list_comes_in_pages(scheme: str, monkeypatch: pytest.MonkeyPatch) -> None:
    _environment(monkeypatch, "key", "secret")
    names = [f"{row}.png" for row in range(25)]

    async def scenario() -> None:
        async def page(exchange: Exchange) -> None:
            assert exchange.target.startswith("/bucket/?list-type=2&prefix=a%2Fb%20%26%2F")
            start = int(exchange.target.partition("continuation-token=x%2B")[2] or 0)
            keys = "".join(
                f"<Contents><Key>a/b &amp;/{name}</Key></Contents>"
                for name in names[start : start + 10]
            )
            more = f"<NextContinuationToken>x+{start + 10}</NextContinuationToken>"
            more = more if start + 10 < len(names) else ""
            body = f"<ListBucketResult xmlns='http://s3/'>{keys}{more}</ListBucketResult>"
            await exchange.answer(body.encode())

        async with Peer(page) as peer:
            monkeypatch.setenv("AWS_ENDPOINT_URL", peer.uri(""))
            monkeypatch.setenv("STORAGE_EMULATOR_HOST", peer.uri(""))
            monkeypatch.setattr(credentials.GoogleCredentials, "sign", lambda *_: {})
            found = await asyncio.to_thread(sources.items, f"{scheme}://bucket/a/b &/")
            assert [item.uri for item in found] == [f"{scheme}://bucket/a/b &/{n}" for n in names]
            assert len(peer.requests) == 3

    run(scenario())


def test_objects_of_google_are_read_with_a_token_that_is_renewed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The credentials are those of a service account, whose token service is this test."""
    granted: list[str] = []

    async def scenario() -> None:
        async def answer(exchange: Exchange) -> None:
            if exchange.target == "/token":
                length = int(exchange.headers["content-length"])
                asked = parse_qs((await exchange.reader.readexactly(length)).decode())
                assert asked["assertion"][0].count(".") == 2
                granted.append(f"token-{len(granted)}")
                grant = {"access_token": granted[-1], "expires_in": 1, "token_type": "Bearer"}
                await exchange.answer(json.dumps(grant).encode(), Content_Type="application/json")
            elif exchange.headers.get("authorization") != f"Bearer {granted[-1]}":
                await exchange.answer(status=401)
            elif exchange.target == "/bucket/a%20b.png":
                await exchange.answer(picture())
            else:
                await exchange.answer(status=404)

        async with Peer(answer) as peer:
            _service_account(tmp_path / "account.json", peer.uri("/token"))
            monkeypatch.setenv("GOOGLE_APPLICATION_CREDENTIALS", str(tmp_path / "account.json"))
            gs = {"schemes": ["gs"], "buckets": ["gs://bucket"], "gs": {"endpoint": peer.uri("")}}
            async with asking(gs) as asked:
                assert (await asked.query("gs://bucket/a b.png"))["failures"] == []
                uri = "gs://bucket/none.png"
                assert await asked.codes(uri) == {uri: "upstream_not_found"}
            assert len(granted) == 2  # each had expired before it was used again
            anonymous = {**gs, "gs": {"endpoint": peer.uri(""), "anonymous": True}}
            await _expect(anonymous, "gs://bucket/a b.png", "upstream_forbidden")

    run(scenario())


def _service_account(path: Path, token_uri: str) -> None:
    key = rsa.generate_private_key(public_exponent=65537, key_size=2048).private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.NoEncryption(),
    )
    account = {
        "type": "service_account", "project_id": "p", "private_key_id": "1",
        "private_key": key.decode(), "client_email": "a@p.example", "token_uri": token_uri,
    }  # fmt: skip
    path.write_text(json.dumps(account))

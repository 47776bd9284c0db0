"""Every fault and bad input that the service is tested against, and where its tests are.

A test proves a row by its name: `test_row05_...`, or `test_row16_17_...` for two rows.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

FOLDER = Path(__file__).parent


class Row(NamedTuple):
    """A fault or a bad input.

    Attributes:
        number: From 1.
        fault: What goes wrong, or what is sent.
        expected: What the service does then.
    """

    number: int
    fault: str
    expected: str


class Proof(NamedTuple):
    """A test that proves a row or several.

    Attributes:
        rows: Their numbers.
        file: The file's name.
        name: The function's name.
        what: The name in words, without the numbers.
        slow: Whether `make test` leaves it out.
    """

    rows: tuple[int, ...]
    file: str
    name: str
    what: str
    slow: bool


OPEN: dict[int, str] = {
    60: "there are no labels yet",
    73: "there are no imports of archives yet",
    74: "there are no addresses of media yet",
    76: "there is no user interface yet",
    77: "there are no labels to export yet",
}
"""Rows without a test, and why."""

ROWS: tuple[Row, ...] = (
    Row(1, "A body that is not JSON", "400 `malformed_json`"),
    Row(2, "A field of a wrong type", "422 `validation` with a pointer to each field"),
    Row(3, "`NaN` or `Infinity` among numbers", "422 `validation`"),
    Row(4, "A pool without items", "422 `empty_input`, and no stage works"),
    Row(5, "Another content type, a form, a compressed body", "415 `unsupported_media_type`"),
    Row(6, "A budget of 0, below it, or above the pool",
        "422 `validation`; above the pool all items and the warning `budget_exceeds_pool`"),
    Row(7, "A strategy or a model that does not exist",
        "404 `unknown_strategy` with near names; 404 `unknown_model` with those that there are"),
    Row(8, "A body whose declared length is above the limit",
        "413 `body_too_large` before any of it is read"),
    Row(9, "A body that grows past the limit without a length, or past a length that lies",
        "413 `body_too_large`, the connection closed, no more memory than the limit"),
    Row(10, "More items than the limit", "413 `too_many_items` with the limit and its key"),
    Row(11, "A head or a body that comes byte by byte",
        "408 `request_timeout`; nobody else waits"),
    Row(12, "JSON 10,000 levels deep; a number of 100,000 digits", "400 or 422 at once"),
    Row(13, "The same address twice; the same id twice",
        "computed once and both ranked; 422 `validation` for ids"),
    Row(14, "NUL, surrogates, right-to-left marks, texts of 100,000 characters",
        "200 or 422, and the text comes back as it was sent"),
    Row(15, "The same query twenty times at once, on two replicas",
        "the same picks in the same order each time"),
    Row(16, "Addresses of this machine, of private networks, of a cloud's metadata",
        "item `uri_blocked`; no packet is sent"),
    Row(17, "The same hidden in other spellings: decimal, octal, hexadecimal, short, circled",
        "item `uri_blocked`; no packet is sent"),
    Row(18, "The same inside IPv6: mapped, compatible, NAT64, 6to4, Teredo; multicast",
        "item `uri_blocked`"),
    Row(19, "A public server that redirects to a private one, too often, or to a file",
        "item `uri_blocked` or `too_many_redirects`"),
    Row(20, "A name whose addresses change between the check and the use, or are mixed",
        "item `uri_blocked`; one lookup, and the address dialled is the one checked"),
    Row(21, "User and password, line breaks, backslashes, odd ports in an address",
        "item `uri_invalid` or `uri_blocked`"),
    Row(22, "A proxy in the environment", "it is not used"),
    Row(23, "A file, while files are not enabled", "item `scheme_disabled`"),
    Row(24, "A file outside the roots, a link out of them, a pipe, a device, a folder",
        "item `uri_blocked`, and nothing waits for it"),
    Row(25, "A bucket that is not listed; options in the address of one", "item `uri_blocked`"),
    Row(26, "An object store that forbids, does not know, or has let credentials expire",
        "item `upstream_forbidden` or `upstream_not_found`"),
    Row(27, "A server that answers 404 or 410", "item `upstream_not_found`; asked once"),
    Row(28, "A server that answers 500, or 429 with `Retry-After`",
        "two more tries within the deadline, then item `upstream_unavailable`"),
    Row(29, "A server that refuses, resets, hangs, or whose certificate is wrong",
        "item `fetch_timeout`, `fetch_failed` or `tls_invalid`"),
    Row(30, "A body without an end", "item `object_too_large` at the limit; hung up"),
    Row(31, "A compressed body of enormous size, also behind a redirect",
        "item `fetch_failed`; it is never unpacked"),
    Row(32, "HTML that is called a picture", "item `not_an_image`"),
    Row(33, "A picture cut short or with a wrong checksum", "item `undecodable`"),
    Row(34, "A picture of few bytes and enormous size",
        "item `too_many_pixels`, before it is decoded"),
    Row(35, "Odd pictures: 1 by 1, 16 bit, CMYK, palette, animated, rotated",
        "200 or an item's failure, and the next query is answered"),
    Row(36, "A format that is not allowed, such as TIFF, EPS, SVG or PDF",
        "item `unsupported_format`"),
    Row(37, "One bad item among 1,000", "200 with 999 ranked and one in `failures`"),
    Row(38, "All items fail", "422 or 502 `all_items_failed`"),
    Row(39, "A stage raises", "500 `internal` without the cause; the log has it by request id"),
    Row(40, "The model returns NaN, or another shape",
        "500 `model_output_invalid`; nothing is ranked"),
    Row(41, "Out of memory in one micro-batch",
        "it is halved and tried again; an item that alone does not fit is `oom`"),
    Row(42, "An idle replica is killed", "it is replaced; no query fails"),
    Row(43, "A replica is killed while it works", "all queries are answered in full"),
    Row(44, "An item that kills whoever works on it",
        "item `item_crashed_worker` after two deaths; the rest is ranked"),
    Row(45, "All replicas of a stage are dead",
        "`/readyz` says 503 within two seconds; 503 `no_replica` with `Retry-After`"),
    Row(46, "A replica lives and does not answer", "it is killed and replaced"),
    Row(47, "A replica dies again and again as it starts",
        "waits grow, then `/livez` says 503 and the server ends with status 1"),
    Row(48, "The gateway dies", "the server ends with an error and leaves no process"),
    Row(49, "A model that loads slowly",
        "`/livez` 200; `/readyz` and queries 503 `not_ready` with progress"),
    Row(50, "A model that is missing or damaged, or no network to load it by",
        "one clear line and status 2"),
    Row(51, "More queries at once than the limit",
        "503 `overloaded` with `Retry-After` before the body; the others finish"),
    Row(52, "More queries of one key at once than its quota",
        "429 `quota` with `Retry-After`; other keys are served"),
    Row(53, "The deadline of a query passes",
        "504 `deadline`; work stops within a micro-batch"),
    Row(54, "The caller hangs up", "work stops within a micro-batch, and the place is free"),
    Row(55, "SIGTERM while queries run",
        "`/readyz` 503, running queries finish, new ones get 503, status 0, no process left"),
    Row(56, "SIGTERM twice; SIGINT; the parent is killed", "it ends at once; no process is left"),
    Row(57, "A restart while a job runs",
        "the job goes on; no item is computed twice; the same selection"),
    Row(58, "The same `Idempotency-Key` again: afterwards, meanwhile, with another body",
        "the same answer; 409; 422"),
    Row(59, "Many clients try again after a 503",
        "at most four tries each, after `Retry-After`, with jitter"),
    Row(60, "A label for an unknown item, twice, or of an old version", "404; the last; 409"),
    Row(61, "A store on a full disk, in a read-only folder, or of somebody else",
        "nothing is stored, the log says so, and the answer is right"),
    Row(62, "A stored record with a flipped bit, cut short, of an old version",
        "computed again and counted; the answer is right"),
    Row(63, "A database of jobs that is locked, damaged, or of another version",
        "503 `storage_busy`; status 3 and one line; older ones are migrated"),
    Row(64, "No key, a wrong key, a key of the wrong scope, on every route and method",
        "401 with `WWW-Authenticate`, 401, 403"),
    Row(65, "A `Host` header that is made to confuse", "400 `host_refused`"),
    Row(66, "The port of an executor from another machine", "refused: it is open to this one only"),
    Row(67, "All networks are listened on, and no key is configured",
        "this machine is served; others get 401 with the ways out"),
    Row(68, "A web page of another origin calls", "no CORS header; 403; other content types 415"),
    Row(69, "Secrets in addresses, keys and the configuration",
        "they are in no log, error, metric or `/info`"),
    Row(70, "Line breaks and escape sequences in ids and addresses", "one line of log"),
    Row(71, "Configuration with tags, bombs of anchors, unknown keys",
        "status 2 with file, line and key"),
    Row(72, "Code in weights, arrays, hubs", "refused at load with status 2; nothing runs"),
    Row(73, "An archive whose entries lead out of its folder", "422; nothing is written outside"),
    Row(74, "A media id that leads out of its folder, or is another's", "404"),
    Row(75, "A `Range` header of 10,000 ranges", "200 of the whole, or 416"),
    Row(76, "Markup in labels, names and texts", "shown as text; nothing runs"),
    Row(77, "A formula in a label that is exported", "quoted"),
    Row(78, "gRPC: too large, too late, cancelled, broken, in plain text to TLS",
        "the status that says so, and the code in the trailers"),
    Row(79, "The same request over HTTP, gRPC, WebSocket and by the Python client",
        "the same picks, the same codes"),
    Row(80, "Requests that a machine makes up from `openapi.json`",
        "no 5xx, and every answer as the document says; memory stays"),
    Row(81, "Good, bad and hostile requests mixed, at half load, for long",
        "times, memory, threads and descriptors stay; nothing restarts"),
    Row(82, "The clock jumps", "durations and deadlines do not; times are UTC"),
    Row(83, "Two servers on one port", "the second ends with status 2 and names the port"),
    Row(84, "The wheel alone in an empty environment, without a network",
        "`alaas --version` and the client work; a missing extra is one clear line"),
)  # fmt: skip


def proofs() -> Iterator[Proof]:
    """The tests of this folder that name rows, in the order of files and lines."""
    for path in sorted(FOLDER.glob("test_*.py")):
        tree = ast.parse(path.read_text(encoding="utf-8"))
        always = any(_is_slow(one) for one in tree.body if isinstance(one, ast.Assign))
        for one in ast.walk(tree):
            if isinstance(one, ast.FunctionDef) and one.name.startswith("test_row"):
                rows, what = named(one.name)
                slow = always or any(map(_is_slow, one.decorator_list))
                yield Proof(rows, path.name, one.name, what, slow)


def named(name: str) -> tuple[tuple[int, ...], str]:
    """The rows that a test's name has, and the rest in words.

    Example:
        >>> named("test_row16_17_nothing_is_dialled")
        ((16, 17), 'nothing is dialled')
    """
    found = re.fullmatch(r"test_row((?:\d\d_)+)(.+)", name)
    assert found is not None, f"{name} must be like test_row05_what_happens"
    return tuple(map(int, found[1].rstrip("_").split("_"))), found[2].replace("_", " ")


def _is_slow(part: ast.AST) -> bool:
    return any(isinstance(one, ast.Attribute) and one.attr == "slow" for one in ast.walk(part))

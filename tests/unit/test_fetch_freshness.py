"""How long an answer holds: the arithmetic of RFC 9111."""

from __future__ import annotations

from dataclasses import replace

import pytest
from multidict import CIMultiDict

from alaas.core.sources import Known
from alaas.data.freshness import condition, confirmed, record

NOW = 1_700_000_000.0
NOW_TEXT = "Tue, 14 Nov 2023 22:13:20 GMT"
OLD = "Tue, 14 Nov 2023 20:00:00 GMT"
NEXT_HOUR = "Tue, 14 Nov 2023 23:13:20 GMT"


def noted(*fields: tuple[str, str], target: str = "") -> Known | None:
    return record("d", CIMultiDict(fields), asked_at=NOW, target=target)


@pytest.mark.parametrize(
    ("fields", "seconds"),
    [
        ([("Cache-Control", "max-age=60")], 60),
        ([("Cache-Control", "public, MAX-AGE = 60, immutable")], 60),
        ([("Cache-Control", 'max-age="60"')], 60),
        ([("Cache-Control", "private"), ("Cache-Control", "max-age=60, max-age=90")], 60),
        ([("Cache-Control", "max-age=60"), ("Age", "59")], 1),
        ([("Cache-Control", "max-age=60"), ("Expires", OLD)], 60),
        ([("Expires", NEXT_HOUR), ("Date", NOW_TEXT)], 3600),
        ([("Expires", NEXT_HOUR)], 3600),
        ([("Expires", NEXT_HOUR), ("Date", NOW_TEXT), ("Age", "600")], 3000),
    ],
)
def test_an_answer_is_fresh_for_as_long_as_it_says(
    fields: list[tuple[str, str]], seconds: float
) -> None:
    found = noted(*fields)
    assert found is not None
    assert (found.digest, found.fresh_until - NOW, condition(found)) == ("d", seconds, {})


@pytest.mark.parametrize(
    "fields",
    [
        [], [("Cache-Control", "max-age=0")], [("Cache-Control", "max-age=-5")],
        [("Cache-Control", "max-age=x")], [("Cache-Control", "no-cache, max-age=60")],
        [("Cache-Control", 'no-cache="Set-Cookie, X", max-age=60')],
        [("Cache-Control", "max-age=60"), ("Age", "60")],
        [("Cache-Control", "max-age=60"), ("Age", "old")],
        [("Cache-Control", "max-age=99999999999999999999999999")],
        [("Expires", "0")], [("Expires", OLD)], [("Expires", "soon"), ("Date", NOW_TEXT)],
        [("Expires", NEXT_HOUR), ("Date", NEXT_HOUR)], [("Pragma", "max-age=60")],
    ],
)  # fmt: skip
def test_what_is_not_fresh_and_cannot_be_compared_is_not_noted(
    fields: list[tuple[str, str]],
) -> None:
    assert noted(*fields) is None
    with_name = noted(*fields, ("ETag", '"1"'))
    assert with_name is not None
    assert with_name.fresh_until == 0
    assert condition(with_name) == {"If-None-Match": '"1"'}


@pytest.mark.parametrize("field", [("Cache-Control", "no-store, max-age=60"), ("Vary", "*")])
def test_what_may_not_be_kept_is_not_noted(field: tuple[str, str]) -> None:
    assert noted(field, ("ETag", '"1"'), ("Last-Modified", OLD)) is None


def test_a_date_alone_is_a_validator_unless_it_is_of_this_moment() -> None:
    found = noted(("Last-Modified", OLD))
    assert found is not None
    assert condition(found) == {"If-Modified-Since": OLD}
    for text in (NOW_TEXT, "Tue, 14 Nov 2023 22:13:19 GMT", NEXT_HOUR, "yesterday"):
        assert noted(("Last-Modified", text)) is None
    assert noted(("Last-Modified", "Tue, 14 Nov 2023 22:13:18 GMT")) is not None


def test_the_end_of_a_redirect_is_never_fresh() -> None:
    found = noted(("Cache-Control", "max-age=60"), ("ETag", '"1"'), target="t")
    assert found is not None
    assert (found.fresh_until, found.target) == (0, "t")
    again = confirmed(found, CIMultiDict({"Cache-Control": "max-age=60"}), asked_at=NOW, target="t")
    assert again is not None
    assert again.fresh_until == 0


def test_a_confirmation_renews_the_record() -> None:
    known = Known("d", 1.0, etag='W/"1"', modified=OLD, fresh_until=2.0)

    def answered(target: str = "", **fields: str) -> Known | None:
        headers = CIMultiDict({name.replace("_", "-"): value for name, value in fields.items()})
        return confirmed(known, headers, asked_at=NOW, target=target)

    assert answered() == replace(known, noted_at=NOW, fresh_until=0.0)
    assert answered(Cache_Control="max-age=9") == replace(known, noted_at=NOW, fresh_until=NOW + 9)
    assert answered(ETag='"1"') is not None
    assert answered(ETag='"2"') is None
    assert answered(target="elsewhere") is None
    last = answered(Cache_Control="no-store")
    assert last is not None
    assert (condition(last), last.fresh_until) == ({}, 0)

"""The answer in the forms that people and programs read."""

from __future__ import annotations

import csv
import io
import sys
from pathlib import Path

import pytest

from alaas.client import QueryResult
from alaas.core.errors import MissingExtra
from alaas.core.wire import Failure, Pick, QueryResponse, Receipt, Timings, Warn

PICKS = (
    Pick("a", 0, 0.875, uri="http://a/é.png"),
    Pick("b", 1, 0.1, text='two\nlines, and a "quote"'),
    Pick("c", 2, -1e-17, blob=b"\xff"),
)


def result_of(*picks: Pick, failures: int = 0) -> QueryResult:
    return QueryResult(
        QueryResponse(
            picks=picks,
            failures=tuple(Failure(str(row), "fetch", "gone", "gone") for row in range(failures)),
            timings=Timings(12.34),
            receipt=Receipt("badge", {}, 7, 3, "abc", "0.3.0", 1000),
            warnings=(Warn("slow", "slow"),),
            request_id="r-1",
        )
    )


def rows_of(result: QueryResult) -> list[list[str]]:
    file = io.StringIO(newline="")
    result.to_csv(file)
    return list(csv.reader(io.StringIO(file.getvalue(), newline="")))


def test_is_a_sequence_of_picks() -> None:
    result = result_of(*PICKS)
    assert list(result) == list(PICKS)
    assert len(result) == 3
    assert result[0] is PICKS[0]
    assert result[-1] is PICKS[2]
    assert result[:2] == PICKS[:2]
    assert PICKS[1] in result
    assert not result_of()


def test_columns() -> None:
    result = result_of(*PICKS, failures=2)
    assert result.ids == ["a", "b", "c"]
    assert result.ranks == [0, 1, 2]
    assert result.scores == [0.875, 0.1, -1e-17]
    assert result.uris == ["http://a/é.png", None, None]
    assert result.texts == [None, 'two\nlines, and a "quote"', None]
    assert [failure.id for failure in result.failures] == ["0", "1"]
    assert result.timings.total_s == 12.34
    assert result.receipt.strategy == "badge"
    assert [warning.code for warning in result.warnings] == ["slow"]
    assert result.request_id == "r-1"
    assert result.picks == PICKS


def test_json_reads_back() -> None:
    result = result_of(*PICKS)
    assert QueryResult(QueryResponse.from_json(result.to_json())) == result


def test_csv_reads_back() -> None:
    header, *rows = rows_of(result_of(*PICKS))
    assert header == ["rank", "id", "uri", "text", "score"]
    assert rows == [
        ["0", "a", "http://a/é.png", "", "0.875"],
        ["1", "b", "", 'two\nlines, and a "quote"', "0.1"],
        ["2", "c", "", "", "-1e-17"],
    ]


def test_csv_to_a_path(tmp_path: Path) -> None:
    path = tmp_path / "picked.csv"
    result_of(*PICKS).to_csv(path)
    with path.open(encoding="utf-8", newline="") as file:
        assert list(csv.reader(file)) == rows_of(result_of(*PICKS))


@pytest.mark.parametrize("sign", ["=", "+", "-", "@", "\t", "\r"])
def test_csv_quotes_formulas(sign: str) -> None:
    formula = f"{sign}HYPERLINK(1)"
    result = result_of(Pick(formula, 0, -1.0, uri=formula), Pick("b", 1, -2.0, text=formula))
    _, first, second = rows_of(result)
    assert first == ["0", f"'{formula}", f"'{formula}", "", "-1.0"]
    assert second == ["1", "b", "", f"'{formula}", "-2.0"]


def test_pandas() -> None:
    frame = result_of(*PICKS).to_pandas()
    assert list(frame.columns) == ["rank", "id", "uri", "text", "score"]
    assert frame["id"].tolist() == ["a", "b", "c"]
    assert frame["score"].tolist() == [0.875, 0.1, -1e-17]
    assert frame["uri"].isna().tolist() == [False, True, True]
    assert list(result_of().to_pandas().columns) == list(frame.columns)


def test_without_pandas(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pandas", None)
    with pytest.raises(MissingExtra, match=r"^to_pandas needs pandas: pip install pandas$"):
        result_of().to_pandas()


def test_repr() -> None:
    assert repr(result_of(*PICKS)) == ("<QueryResult: 3 of 1000 items by badge (seed 7) in 12.3 s>")
    assert repr(result_of(failures=2)).endswith("in 12.3 s, 2 failed>")


def test_html_is_escaped_and_short() -> None:
    html = result_of(Pick("<i>", 0, 1.0, text="<script>alert(1)</script>"))._repr_html_()
    assert "<script>" not in html
    assert "<td>&lt;i&gt;</td><td></td><td>&lt;script&gt;" in html
    long = result_of(*(Pick(str(row), row, 0.0, uri="u") for row in range(50)))._repr_html_()
    assert long.count("<tr>") == 1 + 20
    assert "The first 20 are shown." in long

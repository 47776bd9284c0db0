"""The answer to a query, in forms that people and programs read."""

from __future__ import annotations

import csv
import os
from collections.abc import Sequence
from dataclasses import dataclass
from html import escape
from pathlib import Path
from typing import TYPE_CHECKING, Any, TextIO, overload

from alaas.core.errors import MissingExtra
from alaas.core.wire import (
    Failure,
    Pick,
    PoolInfo,
    PushResponse,
    QueryResponse,
    Receipt,
    Timings,
    Warn,
)

if TYPE_CHECKING:
    import pandas

_COLUMNS = ("rank", "id", "uri", "text", "score")
_SHOWN = 20  # rows of the table in a notebook


@dataclass(frozen=True, repr=False)
class QueryResult(Sequence[Pick]):
    """The chosen items, best first, and how they were chosen. A sequence of picks.

    Attributes:
        response: The answer as the server gave it, with the items that the client could
            not read put before the server's own failures.
    """

    response: QueryResponse

    @overload
    def __getitem__(self, index: int) -> Pick: ...
    @overload
    def __getitem__(self, index: slice) -> Sequence[Pick]: ...
    def __getitem__(self, index: int | slice) -> Pick | Sequence[Pick]:
        return self.response.picks[index]

    def __len__(self) -> int:
        return len(self.response.picks)

    @property
    def picks(self) -> Sequence[Pick]:
        """The chosen items, best first."""
        return self.response.picks

    @property
    def ids(self) -> list[str]:
        """The ids of the chosen items."""
        return [pick.id for pick in self]

    @property
    def uris(self) -> list[str | None]:
        """The URIs of the chosen items; None for one that came as text or as bytes."""
        return [pick.uri for pick in self]

    @property
    def texts(self) -> list[str | None]:
        """The texts of the chosen items; None for one that came as a URI or as bytes."""
        return [pick.text for pick in self]

    @property
    def scores(self) -> list[float]:
        """The scores of the chosen items, higher = more wanted."""
        return [pick.score for pick in self]

    @property
    def ranks(self) -> list[int]:
        """The ranks of the chosen items, from 0."""
        return [pick.rank for pick in self]

    @property
    def failures(self) -> Sequence[Failure]:
        """The items that could not be ranked."""
        return self.response.failures

    @property
    def timings(self) -> Timings:
        """Where the time went, on the server."""
        return self.response.timings

    @property
    def receipt(self) -> Receipt:
        """What the selection was made with."""
        return self.response.receipt

    @property
    def warnings(self) -> Sequence[Warn]:
        """What the caller should know of the answer."""
        return self.response.warnings

    @property
    def request_id(self) -> str:
        """The id under which the server logged the query."""
        return self.response.request_id

    def to_json(self) -> dict[str, Any]:
        """The answer in the shape that the server's HTTP answer has."""
        return self.response.to_json()

    def to_csv(self, target: str | os.PathLike[str] | TextIO) -> None:
        """Write the columns rank, id, uri, text and score.

        An id, URI or text that a spreadsheet would run as a formula gets an apostrophe
        before it.

        Args:
            target: A path, or a file open for text.
        """
        if isinstance(target, str | os.PathLike):
            with Path(target).open("w", encoding="utf-8", newline="") as file:
                self.to_csv(file)
            return
        writer = csv.writer(target)
        writer.writerow(_COLUMNS)
        for rank, name, uri, text, score in self._rows():
            writer.writerow([rank, _quoted(name), _quoted(uri), _quoted(text), score])

    def to_pandas(self) -> pandas.DataFrame:
        """The columns rank, id, uri, text and score as a data frame.

        Raises:
            MissingExtra: pandas is not installed.
        """
        try:
            import pandas
        except ImportError as error:
            raise MissingExtra("to_pandas needs pandas: pip install pandas") from error
        return pandas.DataFrame(self._rows(), columns=list(_COLUMNS))

    def __repr__(self) -> str:
        return f"<QueryResult: {self._summary()}>"

    def _repr_html_(self) -> str:
        head = "".join(f"<th>{column}</th>" for column in _COLUMNS)
        rows = "".join(_html_row(row) for row in self._rows()[:_SHOWN])
        more = f" The first {_SHOWN} are shown." if len(self) > _SHOWN else ""
        caption = f"<caption>{escape(self._summary())}.{more}</caption>"
        return f"<table>{caption}<thead><tr>{head}</tr></thead><tbody>{rows}</tbody></table>"

    def _rows(self) -> list[tuple[int, str, str | None, str | None, float]]:
        return [(pick.rank, pick.id, pick.uri, pick.text, pick.score) for pick in self]

    def _summary(self) -> str:
        receipt = self.receipt
        failed = f", {len(self.failures)} failed" if self.failures else ""
        return (
            f"{len(self)} of {receipt.pool_size} items by {receipt.strategy} "
            f"(seed {receipt.seed}) in {self.timings.total_s:.1f} s{failed}"
        )


@dataclass(frozen=True, repr=False)
class PushResult:
    """A pool that has been stored, and how that went.

    Attributes:
        response: The answer as the server gave it, with the items that the client could
            not read put before the server's own failures.
    """

    response: PushResponse

    @property
    def pool(self) -> PoolInfo:
        """What was stored."""
        return self.response.pool

    @property
    def failures(self) -> Sequence[Failure]:
        """The items that are not in the pool."""
        return self.response.failures

    @property
    def timings(self) -> Timings:
        """Where the time went, on the server."""
        return self.response.timings

    @property
    def warnings(self) -> Sequence[Warn]:
        """What the caller should know of it."""
        return self.response.warnings

    @property
    def request_id(self) -> str:
        """The id under which the server logged the push."""
        return self.response.request_id

    def to_json(self) -> dict[str, Any]:
        """The answer in the shape that the server's HTTP answer has."""
        return self.response.to_json()

    def __repr__(self) -> str:
        failed = f", {len(self.failures)} failed" if self.failures else ""
        return (
            f"<PushResult: {self.pool.items} items as {self.pool.name!r} "
            f"in {self.timings.total_s:.1f} s{failed}>"
        )


def _quoted(text: str | None) -> str:
    if text is None:
        return ""
    # Tab and carriage return too: a spreadsheet skips them and reads the formula behind.
    return f"'{text}" if text.startswith(("=", "+", "-", "@", "\t", "\r")) else text


def _html_row(row: Sequence[object]) -> str:
    cells = (escape("" if cell is None else str(cell)) for cell in row)
    return f"<tr>{''.join(f'<td>{cell}</td>' for cell in cells)}</tr>"

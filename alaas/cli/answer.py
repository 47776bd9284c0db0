"""Writing down what a selection found."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Mapping
from pathlib import Path

from alaas.cli import output
from alaas.client import QueryResult
from alaas.core.errors import ConfigError

_REASONS = 3  # failures that are told one by one


def _write_json(result: QueryResult, path: Path) -> None:
    text = json.dumps(result.to_json(), indent=2, ensure_ascii=False)
    path.write_text(f"{text}\n", encoding="utf-8")


WRITERS: Mapping[str, Callable[[QueryResult, Path], None]] = {
    ".csv": QueryResult.to_csv,
    ".json": _write_json,
}
"""Suffix of a file to what writes it."""


def write(result: QueryResult, *, out: Path | None, as_json: bool) -> None:
    """Write an answer: the picks as data, the rest as notes on standard error.

    Args:
        result: The answer.
        out: A file with one of the suffixes of `WRITERS`; without one, and without
            `as_json`, the picks go to standard output, as a table where that is a terminal.
        as_json: Print the whole answer as one JSON object.

    Raises:
        ConfigError: The file cannot be written.
    """
    if out is not None:
        try:
            WRITERS[out.suffix.lower()](result, out)
        except OSError as error:
            raise ConfigError(f"{out}: cannot be written: {error.strerror}") from error
    if as_json:
        output.show_json(result.to_json())
    elif out is None and sys.stdout.isatty():
        _show_table(result)
    elif out is None:
        result.to_csv(sys.stdout)
    _tell(result, out)


def _show_table(result: QueryResult) -> None:
    table = output.table("rank", "score", "item")
    for pick in result:
        table.add_row(str(pick.rank), f"{pick.score:.6g}", output.printable(pick.text or pick.id))
    output.show(table)


def _tell(result: QueryResult, out: Path | None) -> None:
    for warning in result.warnings:
        output.warn(warning.message)
    if result.failures:
        count = len(result.failures)
        output.warn(f"{count} item{'s' if count > 1 else ''} could not be ranked:")
        for one in result.failures[:_REASONS]:
            output.note(f"  {one.id}: {one.message} [{one.code}]")
        if count > _REASONS:
            output.note(f"  and {count - _REASONS} more; --json lists them all")
    receipt = result.receipt
    where = f", in {out}" if out is not None else ""
    output.note(
        f"chose {len(result)} of {receipt.pool_size} items by {receipt.strategy}, "
        f"seed {receipt.seed}, in {result.timings.total_s:.1f} s{where}"
    )

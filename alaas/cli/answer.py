"""Writing down what a selection found."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import typer

from alaas.cli import extras, output
from alaas.client import QueryResult
from alaas.core.errors import ConfigError
from alaas.core.wire import Failure, Timings

_REASONS = 3  # failures that are told one by one


def _write_json(result: QueryResult, path: Path) -> None:
    text = json.dumps(result.to_json(), indent=2, ensure_ascii=False)
    path.write_text(f"{text}\n", encoding="utf-8")


def _write_sheet(result: QueryResult, path: Path) -> None:
    extras.need("alaas query --out picked.png", {"PIL": "pillow", "numpy": "numpy"}, extra="local")
    from alaas.cli import sheet

    sheet.draw(result, path)


WRITERS: Mapping[str, Callable[[QueryResult, Path], None]] = {
    ".csv": QueryResult.to_csv,
    ".json": _write_json,
    ".png": _write_sheet,
}
"""Suffix of a file to what writes it."""


def check_out(out: list[Path] | None) -> list[Path]:
    """The files of ``--out``: one that cannot be written is refused before the work, not after.

    Raises:
        typer.BadParameter: It cannot.
    """
    for path in out or ():
        if path.suffix.lower() not in WRITERS:
            raise typer.BadParameter(f"must end in {' or '.join(WRITERS)}, got {str(path)!r}")
        if not path.parent.is_dir():
            raise typer.BadParameter(f"there is no folder {str(path.parent)!r}")
        if path.is_dir() or not os.access(path if path.exists() else path.parent, os.W_OK):
            raise typer.BadParameter(f"{str(path)!r} cannot be written")
    return out or []


def write(result: QueryResult, *, out: Sequence[Path], as_json: bool) -> None:
    """Write an answer: the picks as data, the rest as notes on standard error.

    Args:
        result: The answer.
        out: Files with suffixes of `WRITERS`; without one, and without `as_json`, the
            picks go to standard output, as a table where that is a terminal.
        as_json: Print the whole answer as one JSON object.

    Raises:
        ConfigError: A file cannot be written.
        MissingExtra: A contact sheet is asked for, and Pillow is not installed.
    """
    for path in out:
        try:
            WRITERS[path.suffix.lower()](result, path)
        except OSError as error:
            raise ConfigError(f"{path}: cannot be written: {error.strerror}") from error
    if as_json:
        output.show_json(result.to_json())
    elif not out and sys.stdout.isatty():
        _show_table(result)
    elif not out:
        result.to_csv(sys.stdout)
    _tell(result, out)


def _show_table(result: QueryResult) -> None:
    table = output.table("rank", "score", "item")
    for pick in result:
        table.add_row(str(pick.rank), f"{pick.score:.6g}", output.printable(pick.text or pick.id))
    output.show(table)


def tell_timings(timings: Timings) -> None:
    """Tell in a line where the time went, and of how many items everything was known."""
    if not timings.bottleneck:
        return
    slowest = timings.stages[timings.bottleneck]
    known = timings.stages["infer"].hits if "infer" in timings.stages else 0
    output.note(
        f"most time went into {timings.bottleneck}: {slowest.busy_s:.1f} s of work, "
        f"{slowest.wait_s:.1f} s of waiting for it; {known} items were known already"
    )


def tell_failures(failures: Sequence[Failure], what: str) -> None:
    """Tell of items that failed, the first few one by one.

    Args:
        failures: The items.
        what: What could not be done with them, such as "ranked".
    """
    if not failures:
        return
    count = len(failures)
    output.warn(f"{count} item{'s' if count > 1 else ''} could not be {what}:")
    for one in failures[:_REASONS]:
        output.note(f"  {one.id}: {one.message} [{one.code}]")
    if count > _REASONS:
        output.note(f"  and {count - _REASONS} more; --json lists them all")


def _tell(result: QueryResult, out: Sequence[Path]) -> None:
    for warning in result.warnings:
        output.warn(warning.message)
    tell_failures(result.failures, "ranked")
    tell_timings(result.timings)
    receipt = result.receipt
    where = f", in {' and '.join(map(str, out))}" if out else ""
    output.note(
        f"chose {len(result)} of {receipt.pool_size} items by {receipt.strategy}, "
        f"seed {receipt.seed}, in {result.timings.total_s:.1f} s{where}"
    )

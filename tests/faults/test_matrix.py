"""The matrix is whole: every row has a test, or a reason why it has none yet."""

from __future__ import annotations

import matrix
import pytest

PROOFS = list(matrix.proofs())
NUMBERS = [row.number for row in matrix.ROWS]


def test_the_rows_are_numbered_without_a_gap() -> None:
    assert list(range(1, 85)) == NUMBERS


def test_open_rows_are_rows_with_a_reason() -> None:
    assert set(matrix.OPEN) <= set(NUMBERS)
    assert all(matrix.OPEN.values())


@pytest.mark.parametrize("row", matrix.ROWS, ids=lambda row: str(row.number))
def test_a_row_has_tests_or_is_open(row: matrix.Row) -> None:
    found = [one.name for one in PROOFS if row.number in one.rows]
    assert bool(found) != (row.number in matrix.OPEN), found


@pytest.mark.parametrize("proof", PROOFS, ids=lambda proof: f"{proof.file}-{proof.name}")
def test_a_test_names_rows_that_exist(proof: matrix.Proof) -> None:
    assert proof.rows
    assert set(proof.rows) <= set(NUMBERS)

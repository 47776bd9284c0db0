"""Items that are vectors already."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.testing import assert_array_equal

from alaas.config import Vectors
from alaas.core.types import Raw, Raws
from alaas.data.vectors import as_items, read

ROWS = np.random.default_rng(0).standard_normal((4, 3))


def raws(*contents: bytes) -> Raws:
    return Raws(7, tuple(Raw(str(row), data) for row, data in enumerate(contents)))


@pytest.mark.parametrize("kind", ["f8", "f4", ">f4", "f2"])
def test_what_is_written_is_read(kind: str) -> None:
    given = ROWS.astype(kind)
    items = as_items(given)
    assert [item.id for item in items] == ["0", "1", "2", "3"]
    batch = read(raws(*(item.blob or b"" for item in items)), Vectors(dim=3))
    assert_array_equal(batch.array, given.astype(np.float32))
    assert (batch.seq, batch.array.dtype, batch.failures) == (7, np.float32, ())


def test_ids_may_be_given() -> None:
    assert [item.id for item in as_items(ROWS[:2], "ab")] == ["a", "b"]
    with pytest.raises(ValueError, match="longer"):
        as_items(ROWS, "abc")


@pytest.mark.parametrize(
    ("content", "code"),
    [
        (b"12345678", "wrong_dimension"),
        (b"", "wrong_dimension"),
        (np.array([1, np.nan, 2], "<f4").tobytes(), "not_finite"),
        (np.array([1, 2, np.inf], "<f4").tobytes(), "not_finite"),
    ],
)
def test_a_bad_one_is_a_failure_of_its_own(content: bytes, code: str) -> None:
    good = np.array([1, 2, 3], "<f4").tobytes()
    batch = read(raws(good, content, good), Vectors(dim=3))
    assert batch.ids == ("0", "2")
    assert [(one.id, one.stage, one.code) for one in batch.failures] == [("1", "preprocess", code)]


def test_a_text_is_no_vector() -> None:
    batch = read(Raws(0, (Raw("a", b"1,2,3", is_text=True),)), Vectors(dim=3))
    assert batch.array.shape == (0, 3)
    assert batch.failures[0].code == "wrong_modality"

"""Texts as their characters, for models that read texts themselves."""

from __future__ import annotations

import numpy as np
import pytest

from alaas.config import Characters, LimitsSettings, read_inputs
from alaas.core.arrays import PADDING
from alaas.core.types import Raw, Raws
from alaas.core.wire import Failure
from alaas.data.prepare import prepare
from alaas.models.entry import entry, noise
from alaas.models.estimator import written

TEXTS = ["a", "zwei Wörter", "漢字 und \U0001f600", " x\n\ty "]


def raws(*texts: str | bytes) -> Raws:
    return Raws(
        3,
        tuple(
            Raw(str(row), one.encode() if isinstance(one, str) else one, digest=f"d{row}",
                is_text=isinstance(one, str))
            for row, one in enumerate(texts)
        ),
        (Failure("gone", "fetch", "not_found", "it is not there"),),
    )  # fmt: skip


def test_what_goes_in_comes_out() -> None:
    batch = prepare(raws(*TEXTS), Characters(), LimitsSettings())
    assert written(batch.array) == TEXTS
    assert batch.array.dtype == np.int32
    assert batch.array.shape == (4, max(map(len, TEXTS)))
    assert (batch.array[0, 1:] == PADDING).all()
    assert (batch.seq, batch.ids) == (3, ("0", "1", "2", "3"))
    assert batch.digests == ("d0", "d1", "d2", "d3")


def test_what_is_no_text_is_a_failure() -> None:
    batch = prepare(raws("a", b"\x89PNG", " \n", ""), Characters(), LimitsSettings())
    assert batch.ids == ("0",)
    assert [(one.id, one.code) for one in batch.failures] == [
        ("gone", "not_found"), ("1", "wrong_modality"), ("2", "empty_text"), ("3", "empty_text"),
    ]  # fmt: skip


def test_none_of_them() -> None:
    assert prepare(raws(), Characters(), LimitsSettings()).array.shape == (0, 0)


@pytest.mark.parametrize("rows", [1, 2])
def test_noise_is_texts(rows: int) -> None:
    texts = written(noise(Characters(), rows))
    assert len(set(texts)) == rows
    assert all(one.strip() for one in texts)
    assert not list(entry(Characters()).parameters())


def test_it_is_told_from_others() -> None:
    assert read_inputs(Characters().model_dump_json()) == Characters()
    assert Characters().modality == "text"

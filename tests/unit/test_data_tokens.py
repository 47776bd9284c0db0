"""Texts to tokens."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tiny_transformers import TEXTS, write_tokenizer
from tokenizers import Tokenizer

from alaas.config import Tokenization
from alaas.core.arrays import PADDING
from alaas.core.types import Raw, Raws
from alaas.core.wire import Failure
from alaas.data.tokens import tokenize
from alaas.models.tokenizer import find


@pytest.fixture(scope="module")
def inputs(tmp_path_factory: pytest.TempPathFactory) -> Tokenization:
    """A tokenizer that frames a text by two tokens, and eight tokens for both and the text."""
    folder = tmp_path_factory.mktemp("tokenizer")
    write_tokenizer(folder)
    return find(str(folder), max_tokens=8)


def raws(texts: list[str | bytes], failures: tuple[Failure, ...] = ()) -> Raws:
    """Texts, or pictures where bytes stand."""
    made = [
        Raw(str(row), one, digest=f"d{row}")
        if isinstance(one, bytes)
        else Raw(str(row), one.encode(), is_text=True, digest=f"d{row}")
        for row, one in enumerate(texts)
    ]
    return Raws(3, tuple(made), failures)


def test_a_micro_batch(inputs: Tokenization) -> None:
    batch = tokenize(raws(["a film", "the very good film"]), inputs)
    plain = Tokenizer.from_file(inputs.file)
    first, second = (plain.encode(text).ids for text in ("a film", "the very good film"))
    assert batch.array.tolist() == [[*first, PADDING, PADDING], second]
    assert (batch.array.dtype, batch.seq, batch.cut) == ("int32", 3, 0)
    assert (batch.ids, batch.digests, batch.failures) == (("0", "1"), ("d0", "d1"), ())


def test_a_long_text_loses_its_end_and_is_counted(inputs: Tokenization) -> None:
    batch = tokenize(raws(["good " * 6, "good " * 7, "bad " * 10_000]), inputs)
    assert batch.array.shape == (3, 8)
    assert batch.cut == 2
    assert batch.counts == {"cut": 2}
    assert set(batch.array[:, 7]) == {inputs.after[0]}


@pytest.mark.parametrize("empty", ["", " ", "\n\t \u00a0", "\u2003"])
def test_an_empty_text_is_a_failure_of_its_own(inputs: Tokenization, empty: str) -> None:
    lost = Failure("x", "fetch", "timeout", "too slow")
    batch = tokenize(raws(["bad", empty, "good"], (lost,)), inputs)
    assert batch.ids == ("0", "2")
    assert batch.digests == ("d0", "d2")
    assert len(batch.array) == 2
    assert batch.failures[0] == lost
    assert (batch.failures[1].id, batch.failures[1].code) == ("1", "empty_text")
    assert batch.failures[1].stage == "preprocess"


def test_a_text_of_which_the_tokenizer_keeps_nothing(tmp_path: Path) -> None:
    write_tokenizer(tmp_path)
    file = tmp_path / "tokenizer.json"
    stripped = '"normalizer": {"type": "Replace", "pattern": {"Regex": "[^a-z ]"}, "content": ""}'
    said = file.read_text("utf-8")
    start = said.index('"normalizer"')
    end = said.index('"pre_tokenizer"')
    file.write_text(f"{said[:start]}{stripped}, {said[end:]}", "utf-8")
    batch = tokenize(raws(["a film", "123"]), find(str(tmp_path)))
    assert batch.ids == ("0",)
    (failure,) = batch.failures
    assert (failure.id, failure.code) == ("1", "empty_text")


def test_an_item_that_is_no_text(inputs: Tokenization) -> None:
    batch = tokenize(raws([b"\x89PNG", "good"]), inputs)
    assert batch.ids == ("1",)
    assert [failure.code for failure in batch.failures] == ["wrong_modality"]
    assert "takes texts" in batch.failures[0].message


def test_nothing_but_failures(inputs: Tokenization) -> None:
    batch = tokenize(raws(["", b"x"]), inputs)
    assert batch.array.shape == (0, 0)
    assert len(batch.failures) == 2


@given(st.lists(st.text(alphabet=st.characters(codec="utf-8"), max_size=60), max_size=8))
def test_every_text_has_a_row_or_a_failure(inputs: Tokenization, texts: list[str]) -> None:
    batch = tokenize(raws([*texts, *TEXTS]), inputs)
    assert len(batch.ids) + len(batch.failures) == len(texts) + len(TEXTS)
    assert len(batch.array) == len(batch.ids)
    assert {failure.code for failure in batch.failures} <= {"empty_text"}
    for row in batch.array.tolist():
        length = row.index(PADDING) if PADDING in row else len(row)
        assert row[length:] == [PADDING] * (len(row) - length)
        assert (row[0], row[length - 1]) == (inputs.before[0], inputs.after[0])
        assert length > 2

"""Tokenizers as the stage before the model reads them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from tiny_transformers import MOST, WORDS, write_tokenizer
from tokenizers import Tokenizer

from alaas.core.errors import ModelUnavailable
from alaas.models.tokenizer import LONGEST, find


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where tokenizers are kept."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return tmp_path / "cache"


def refusal(name: str, **more: Any) -> str:
    with pytest.raises(ModelUnavailable) as caught:
        find(name, **more)
    assert "\n" not in caught.value.detail
    return caught.value.detail


def test_what_is_known_of_one(tmp_path: Path) -> None:
    size = write_tokenizer(tmp_path)
    found = find(str(tmp_path))
    assert (found.vocabulary, found.pad, found.max_tokens) == (size, 0, MOST)
    assert (found.before, found.after) == ((2,), (3,))
    kept = Tokenizer.from_file(found.file)
    assert kept.encode("a film").ids == [2, 4 + WORDS.index("a"), 4 + WORDS.index("film"), 3]


def test_one_that_adds_nothing(tmp_path: Path) -> None:
    write_tokenizer(tmp_path, frame=None, pad=None)
    found = find(str(tmp_path))
    assert (found.before, found.after, found.pad) == ((), (), 0)


def test_it_is_kept_once_and_told_apart_by_its_content(tmp_path: Path, cache: Path) -> None:
    for name, words in (("one", WORDS), ("same", WORDS), ("other", WORDS[::-1])):
        write_tokenizer(tmp_path / name, words=words)
    one, same, other = (find(str(tmp_path / name)) for name in ("one", "same", "other"))
    assert one == same
    assert one.digest != other.digest
    kept = sorted(path.name for path in (cache / "alaas" / "tokenizers").iterdir())
    assert kept == sorted(f"{found.digest}.json" for found in (one, other))


def test_a_kept_file_that_was_changed_is_written_again(tmp_path: Path) -> None:
    write_tokenizer(tmp_path)
    found = find(str(tmp_path))
    Path(found.file).write_text("{")
    assert find(str(tmp_path)) == found
    assert Tokenizer.from_file(found.file).get_vocab_size() == found.vocabulary


@pytest.mark.parametrize(
    ("longest", "stated", "asked", "most"),
    [
        (None, None, None, LONGEST),
        (None, None, 2_000, 2_000),  # nobody says that it takes less
        (20, None, None, 20),
        (None, 30, None, 30),
        (20, 30, None, 20),
        (40, 30, 12, 12),
    ],
)
def test_tokens_of_a_text(
    tmp_path: Path, longest: int | None, stated: int | None, asked: int | None, most: int
) -> None:
    write_tokenizer(tmp_path, most=stated)
    assert find(str(tmp_path), longest=longest, max_tokens=asked).max_tokens == most


def test_more_tokens_than_there_can_be(tmp_path: Path) -> None:
    write_tokenizer(tmp_path)
    said = refusal(str(tmp_path), max_tokens=MOST + 1)
    assert said == f"max_tokens is {MOST + 1}; the model takes {MOST} at most"


def test_less_tokens_than_there_must_be(tmp_path: Path) -> None:
    write_tokenizer(tmp_path)
    said = refusal(str(tmp_path), max_tokens=2)
    assert said == "max_tokens is 2; the tokenizer itself adds 2 to a text"
    assert find(str(tmp_path), max_tokens=3).max_tokens == 3


def test_numbers_that_are_left_out_count(tmp_path: Path) -> None:
    size = write_tokenizer(tmp_path)
    file = tmp_path / "tokenizer.json"
    last = WORDS[-1]
    said = file.read_text("utf-8")
    changed = said.replace(f'"{last}": {size - 1}', f'"{last}": 90')
    assert changed != said
    file.write_text(changed, "utf-8")
    assert find(str(tmp_path)).vocabulary == 91


def test_a_folder_without_one(tmp_path: Path) -> None:
    (tmp_path / "tokenizer_config.json").write_text('{"tokenizer_class": "BertTokenizer"}')
    said = refusal(str(tmp_path))
    assert said == (
        f"there is no tokenizer in '{tmp_path}', such as tokenizer.json, vocab.txt: set `tokenizer`"
    )


def test_a_broken_one(tmp_path: Path) -> None:
    write_tokenizer(tmp_path)
    (tmp_path / "tokenizer.json").write_text("{")
    assert "cannot be read: " in refusal(str(tmp_path))
    assert "cannot be read: " in refusal(str(tmp_path / "tokenizer.json"))


def test_a_file_that_is_not_there(tmp_path: Path) -> None:
    assert "there is no tokenizer in" in refusal(str(tmp_path / "tokenizer.json"))


def test_a_folder_that_cannot_be_written_to(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_tokenizer(tmp_path)
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "file"))
    assert "the tokenizer cannot be kept in " in refusal(str(tmp_path))

"""Pools as users name them: folders, globs, tables, lists, standard input."""

from __future__ import annotations

import io
import json
import os
import subprocess
import sys
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from alaas.core.errors import AlaasError, EmptyInput, MissingExtra, ValidationFailed
from alaas.core.wire import Item, Labelled
from alaas.data.decode import FORMATS
from alaas.data.sources import IMAGE_SUFFIXES, items, labelled_items


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty working directory."""
    monkeypatch.chdir(tmp_path)
    return tmp_path


def touch(*names: str) -> None:
    for name in names:
        path = Path(name)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"")


def write(name: str, text: str) -> str:
    path = Path(name)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, encoding="utf-8")
    return name


def uris(source: Any, **options: Any) -> list[str | None]:
    return [item.uri for item in items(source, **options)]


def refused(source: Any, kind: type[AlaasError] = ValidationFailed, **options: Any) -> str:
    with pytest.raises(kind) as caught:
        items(source, **options)
    return caught.value.detail


# ---- folders, globs, files


def test_a_folder_gives_its_images_in_natural_order() -> None:
    touch("p/img10.jpg", "p/img2.JPEG", "p/a/z.png", "p/b.webp", "p/notes.txt", "p/2/x.gif")
    touch("p/.hidden.png", "p/.cache/x.png", "p/._img2.jpg", "p/10/x.bmp")
    expected = ["p/2/x.gif", "p/10/x.bmp", "p/a/z.png", "p/b.webp", "p/img2.JPEG", "p/img10.jpg"]
    assert uris("p") == uris(Path("p")) == uris("p/") == expected
    assert [item.id for item in items("p")] == expected


def test_names_that_differ_in_leading_zeros_keep_one_order() -> None:
    touch("p/1.png", "p/01.png", "p/001.png", "p/2.png")
    assert uris("p") == ["p/001.png", "p/01.png", "p/1.png", "p/2.png"]


def test_links_are_followed_and_loops_end() -> None:
    touch("p/a/x.png", "elsewhere/y.png")
    os.symlink("..", "p/a/loop")
    os.symlink("../elsewhere", "p/out")
    os.symlink("a/x.png", "p/copy.png")
    assert uris("p") == ["p/a/x.png", "p/copy.png", "p/out/y.png"]


def test_a_glob_gives_the_files_that_it_matches() -> None:
    touch("p/b2.jpg", "p/b10.jpg", "p/c/d.jpg", "p/e.txt", "p/hash")
    Path("p/folder.jpg").mkdir()
    assert uris("p/*.jpg") == ["p/b2.jpg", "p/b10.jpg"]
    assert uris("p/**/*.jpg") == ["p/b2.jpg", "p/b10.jpg", "p/c/d.jpg"]
    assert uris("p/h*") == ["p/hash"]


def test_a_name_with_brackets_that_exists_is_itself() -> None:
    touch("a[1].png", "a1.png")
    assert uris("a[1].png") == ["a[1].png"]


def test_one_image_one_address_and_a_home_folder(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    touch("a.jpg")
    monkeypatch.setenv("HOME", str(folder))
    assert items("a.jpg") == [Item("a.jpg", uri="a.jpg")]
    assert uris("~/a.jpg") == [str(folder / "a.jpg")]
    assert uris("https://h/a.csv?x=*") == ["https://h/a.csv?x=*"]


def test_every_suffix_belongs_to_a_format_that_is_decoded() -> None:
    Image.init()
    kinds = {suffix: Image.registered_extensions()[suffix] for suffix in IMAGE_SUFFIXES}
    assert set(kinds.values()) == {*FORMATS, "MPO"}


def test_nothing_there_says_what_was_looked_for() -> None:
    touch("p/notes.md", "table.md")
    assert "'none/*.jpg'" in refused("none/*.jpg", EmptyInput)
    assert ".png" in refused("p", EmptyInput)
    assert "no file or folder 'none'" in refused("none", EmptyInput)
    assert "'none.csv'" in refused("none.csv", EmptyInput)
    assert ".parquet" in refused("table.md")
    assert "no item" in refused([], EmptyInput)


# ---- tables


def test_a_csv_table_names_addresses_relative_to_itself() -> None:
    table = "uri,label\na.png,1\nsub/b.png,2\n/abs/c.png,3\nhttps://h/d.png?x=1,4\n"
    got = items(write("data/pool.csv", table))
    assert [item.id for item in got] == [
        "a.png", "sub/b.png", "/abs/c.png", "https://h/d.png?x=1",
    ]  # fmt: skip
    assert [item.uri for item in got] == [
        "data/a.png", "data/sub/b.png", "/abs/c.png", "https://h/d.png?x=1",
    ]  # fmt: skip


def test_ids_come_from_their_column() -> None:
    got = items(write("pool.csv", "ID,Path\n7,a.png\nx,b.png\n"))
    assert got == [Item("7", uri="a.png"), Item("x", uri="b.png")]


@pytest.mark.parametrize("name", ["uri", "file_name", "filepath", "image", "url", "path"])
def test_a_column_has_many_names(name: str) -> None:
    assert uris(write("pool.csv", f"label,{name}\n0,a.png\n")) == ["a.png"]


def test_labels_and_groups_come_from_their_columns() -> None:
    Path("known.csv").write_text("path,label,group\na.png,3,p1\nb.png,cat,\nc.png,0.5,p2\n")
    found = labelled_items("known.csv")
    assert [one.label for one in found] == [3, "cat", 0.5]
    assert [one.item.group for one in found] == ["p1", None, "p2"]
    assert [one.item.uri for one in found] == ["a.png", "b.png", "c.png"]
    assert [item.group for item in items("known.csv")] == ["p1", None, "p2"]


def test_labelled_items_are_pairs_mappings_or_labelled() -> None:
    item = Item("x", uri="x.png")
    found = labelled_items(
        [("a.png", 1), {"uri": "b.png", "label": "cat"}, Labelled(item, 2), (Path("c.png"), 0.5)]
    )
    assert [one.label for one in found] == [1, "cat", 2, 0.5]
    assert [one.item.uri for one in found] == ["a.png", "b.png", "x.png", "c.png"]


def test_a_labelled_item_without_a_label_is_named() -> None:
    Path("known.csv").write_text("path,label\na.png,3\nb.png,\n")
    with pytest.raises(ValidationFailed, match=r"known.csv:3: 'b.png' has no label"):
        labelled_items("known.csv")


def test_the_first_name_in_the_documented_order_wins_and_a_column_can_be_chosen() -> None:
    table = write("pool.csv", "text,path,uri,thumb\nt,p.png,u.png,s.png\n")
    assert uris(table) == ["u.png"]
    assert uris(table, column="thumb") == ["s.png"]
    assert items(table, column="text") == [Item("0", text="t")]


def test_texts_keep_every_character_and_may_repeat() -> None:
    got = items(write("pool.csv", '\ufefftext\n" two\nlines, ""quoted"" "\nsame\nsame\n'))
    assert [item.text for item in got] == [' two\nlines, "quoted" ', "same", "same"]
    assert [item.id for item in got] == ["0", "1", "2"]


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("a.csv", 'id,text\na,x\nb,\nc\nd,""\n'),
        ("a.tsv", "id\ttext\na\tx\nb\t\nc\nd\t\n"),
        (
            "a.jsonl",
            '{"id": "a", "text": "x"}'
            + "".join(f'\n{{"id": "{one}", "text": ""}}' for one in "bcd"),
        ),
    ],
)
def test_an_empty_text_is_an_item(name: str, content: str) -> None:
    """Its model refuses it, and ranks the others."""
    assert items(write(name, content)) == [
        Item("a", text="x"), Item("b", text=""), Item("c", text=""), Item("d", text=""),
    ]  # fmt: skip


def test_a_tsv_table_has_no_quotes() -> None:
    got = items(write("pool.tsv", 'text\tlabel\n"half a quote\t0\nother\t1\n'))
    assert [item.text for item in got] == ['"half a quote', "other"]


@pytest.mark.parametrize(
    ("table", "expected"),
    [
        ("a,b\n1,2\n", "its columns are a, b"),
        ("", "its columns are none"),
        ("uri,id\na.png,1\n,2\n", "pool.csv:3: no address here"),
        ("id,uri\n1\n", "pool.csv:2: no address here"),
        ("uri,id\na.png,1\nb.png,2\nc.png,1\n", "pool.csv:4: the id '1' stands at pool.csv:2 too"),
        ("uri\n" + "x" * 200_000, "field larger"),
    ],
)
def test_a_table_that_cannot_be_read_names_the_line(table: str, expected: str) -> None:
    assert expected in refused(write("pool.csv", table))


def test_a_table_that_is_no_text_is_refused(folder: Path) -> None:
    Path("pool.csv").write_bytes(b"uri\n\xff\xfe.png\n")
    assert "UTF-8" in refused("pool.csv")
    assert "has no column none" in refused(write("pool.csv", "uri\na.png\n"), column="none")


def test_a_header_without_rows_is_empty() -> None:
    assert "names no item" in refused(write("pool.csv", "uri\n"), EmptyInput)


def test_a_column_needs_a_table() -> None:
    touch("p/a.png")
    for source in ("p", "p/*.png", "p/a.png", ["p/a.png"], write("l.txt", "p/a.png")):
        assert "column='x' needs a table" in refused(source, column="x")


# ---- Parquet


def parquet(name: str, columns: dict[str, Any]) -> str:
    pyarrow = pytest.importorskip("pyarrow")
    from pyarrow import parquet as file

    Path(name).parent.mkdir(parents=True, exist_ok=True)
    file.write_table(pyarrow.table(columns), name)
    return name


def test_a_parquet_table_names_addresses_texts_and_images() -> None:
    assert items(parquet("d/a.parquet", {"label": [1, 2], "url": ["a.png", "s3://b/k"]})) == [
        Item("a.png", uri="d/a.png"),
        Item("s3://b/k", uri="s3://b/k"),
    ]
    assert items(parquet("b.parquet", {"text": ["x"], "id": [41]})) == [Item("41", text="x")]
    assert items(parquet("e.parquet", {"text": ["x", None, ""]})) == [
        Item(str(row), text=text) for row, text in enumerate(["x", "", ""])
    ]
    assert items(parquet("c.parquet", {"image": [b"png"]})) == [Item("0", blob=b"png")]
    images = [{"bytes": b"png", "path": "x.png"}, {"bytes": None, "path": "y.png"}]
    assert items(parquet("d.parquet", {"image": images})) == [
        Item("0", blob=b"png"),
        Item("y.png", uri="y.png"),
    ]


def test_a_parquet_table_that_cannot_be_read_says_why() -> None:
    assert "its columns are a" in refused(parquet("a.parquet", {"a": [1]}))
    assert "row 1: no address" in refused(parquet("b.parquet", {"uri": ["a.png", None]}))
    assert "row 0: no text here, got 3" in refused(parquet("t.parquet", {"text": [3]}))
    assert "not a Parquet table" in refused(write("c.parquet", "uri\na.png\n"))


def test_without_pyarrow_one_line_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    touch("a.parquet")
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    assert "pip install 'alaas[local]'" in refused("a.parquet", MissingExtra)


# ---- lists and standard input


def test_a_list_has_one_address_a_line_relative_to_itself() -> None:
    listed = write("d/pool.txt", "\ufeffa.png\n\n  https://h/b c.png \r\n/abs.png")
    assert items(listed) == [
        Item("a.png", uri="d/a.png"),
        Item("https://h/b c.png", uri="https://h/b c.png"),
        Item("/abs.png", uri="/abs.png"),
    ]


def test_standard_input_has_addresses_or_documents(monkeypatch: pytest.MonkeyPatch) -> None:
    documents = [{"id": 5, "uri": "a.png"}, {"text": "a text"}, {"blob": "cG5n"}, {"uri": "b.png"}]
    lines = [*map(json.dumps, documents), "c.png", ""]
    monkeypatch.setattr(sys, "stdin", io.StringIO("\n".join(lines)))
    assert items("-") == [
        Item("5", uri="a.png"),
        Item("1", text="a text"),
        Item("2", blob=b"png"),
        Item("b.png", uri="b.png"),
        Item("c.png", uri="c.png"),
    ]


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("{", "pool.jsonl:2: not a JSON document"),
        ("{}", "pool.jsonl:2: must have exactly one of uri, text and blob"),
        ('{"uri": 3}', "pool.jsonl:2: must be a string, got int"),
        ('{"blob": "?"}', "pool.jsonl:2: the blob is not valid base64"),
        ('{"id": "0", "uri": "a"}\n{"id": "0", "uri": "b"}', "pool.jsonl:3: the id '0'"),
    ],
)
def test_a_bad_line_is_named(line: str, expected: str) -> None:
    assert expected in refused(write("pool.jsonl", f"\n{line}\n"))


# ---- iterables


def test_an_iterable_may_mix_what_it_names() -> None:
    def pool() -> Iterator[Any]:
        yield "a.png"
        yield Path("d") / "b.png"
        yield Item("mine", text="x")
        yield {"text": "y"}
        yield {"id": "z", "uri": "c.png"}
        yield {"text": ""}

    assert items(pool()) == [
        Item("a.png", uri="a.png"),
        Item("d/b.png", uri="d/b.png"),
        Item("mine", text="x"),
        Item("3", text="y"),
        Item("z", uri="c.png"),
        Item("5", text=""),
    ]


def test_repeated_addresses_are_kept_once_and_counted() -> None:
    with pytest.warns(UserWarning, match=r"2 repeated addresses were left out") as caught:
        got = items(["a", "b", "a", "c", "a"])
    assert [item.id for item in got] == ["a", "b", "c"]
    assert [Path(one.filename) for one in caught] == [Path(__file__)]


def test_what_does_not_repeat_warns_of_nothing() -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert len(items(["a", "b"])) == 2


def test_ids_that_mean_two_items_are_refused() -> None:
    assert "item 1: the id 'a' stands at item 0" in refused(
        [Item("a", uri="x"), Item("a", uri="x")]
    )
    assert "ids must be unique" in refused(["0", "x", {"id": "x", "uri": "x"}])
    assert "the id '0'" in refused([{"text": "a text"}, "0"])


@pytest.mark.parametrize(
    ("source", "expected"),
    [
        (3, "got int"), (None, "got NoneType"), (b"a.png", "got bytes"), ({"uri": "a"}, "got dict"),
        ([3], "item 0: must be"), (["a", b"b"], "item 1: must be"), ([""], "item 0: no address"),
        ([{"uri": ""}], "item 0: must have exactly one"),
    ],
)  # fmt: skip
def test_what_is_no_pool_is_refused(source: Any, expected: str) -> None:
    assert expected in refused(source)


def test_the_module_needs_the_standard_library_only() -> None:
    script = (
        "import sys, alaas.data.sources\n"
        "heavy = {'numpy', 'PIL', 'aiohttp', 'pyarrow', 'pydantic', 'torch'} & sys.modules.keys()\n"
        "sys.exit(f'loaded {heavy}' if heavy else 0)\n"
    )
    root = Path(__file__).parents[2]
    done = subprocess.run(
        [sys.executable, "-c", script], check=False, cwd=root, capture_output=True, text=True
    )
    assert (done.returncode, done.stderr) == (0, "")

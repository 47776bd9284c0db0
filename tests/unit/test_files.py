"""Local files: only regular ones, only below the roots, and never a hang."""

from __future__ import annotations

import os
import socket
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest

from alaas.data import files
from alaas.data.problem import ItemError


@pytest.fixture
def root(tmp_path: Path) -> Path:
    folder = tmp_path / "pool"
    (folder / "sub").mkdir(parents=True)
    (folder / "a b.png").write_bytes(b"picture")
    (folder / "sub" / "c.png").write_bytes(b"other")
    (tmp_path / "secret.png").write_bytes(b"secret")
    (tmp_path / "pool-of-others").mkdir()
    (tmp_path / "pool-of-others" / "x.png").write_bytes(b"secret")
    return folder


def read(path: str | Path, root: Path, max_bytes: int = 100) -> bytes:
    return read_below(files.resolve_roots([root]), path, max_bytes)


def read_below(roots: Sequence[Path], path: str | Path, max_bytes: int = 100) -> bytes:
    with files.Reader(roots) as reader:
        looked = outcome(lambda: reader.look(str(path)))
        content = outcome(lambda: reader.read(str(path), max_bytes=max_bytes))
    if isinstance(content, ItemError):
        # To look is refused as to read is, but for what only reading can tell.
        if content.code not in {"object_too_large", "fetch_failed"}:
            assert isinstance(looked, ItemError)
            assert (looked.code, looked.message) == (content.code, content.message)
        raise content
    data, found = content
    assert isinstance(looked, os.stat_result)
    assert (looked.st_ino, looked.st_size) == (found.st_ino, len(data))
    return data


def outcome(work: Callable[[], Any]) -> Any:
    try:
        return work()
    except ItemError as error:
        return error


def code(path: str | Path, root: Path, max_bytes: int = 100) -> str:
    with pytest.raises(ItemError) as caught:
        read(path, root, max_bytes)
    assert str(path) not in caught.value.message
    return caught.value.code


def test_a_file_below_a_root_is_read(root: Path) -> None:
    assert read(root / "a b.png", root) == b"picture"
    assert read(root / "sub" / ".." / "a b.png", root) == b"picture"


def test_a_relative_path_starts_at_the_working_directory(
    root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(root)
    assert read("sub/c.png", root) == b"other"


def test_the_root_may_be_a_link_itself(root: Path, tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to(root)
    assert read(tmp_path / "link" / "a b.png", tmp_path / "link") == b"picture"


def test_the_whole_disk_may_be_a_root(root: Path) -> None:
    assert read(root / "sub" / "c.png", Path("/")) == b"other"


@pytest.mark.parametrize(
    "path",
    [
        "../secret.png", "sub/../../secret.png", "../pool-of-others/x.png", "../missing.png",
        "/etc/passwd", "/proc/self/environ", "//etc/passwd", "../../../../../../etc/passwd",
    ],
)  # fmt: skip
def test_row24_nothing_outside_of_the_roots_is_read(path: str, root: Path) -> None:
    assert code(os.path.join(root, path), root) == "uri_blocked"


def test_row24_links_may_lead_about_inside_but_not_out(root: Path, tmp_path: Path) -> None:
    (root / "inside").symlink_to("sub")
    (root / "out.png").symlink_to(tmp_path / "secret.png")
    (root / "outside").symlink_to(tmp_path)
    (root / "loop").symlink_to("loop")
    assert read(root / "inside" / "c.png", root) == b"other"
    assert code(root / "out.png", root) == "uri_blocked"
    assert code(root / "outside" / "secret.png", root) == "uri_blocked"
    assert code(root / "loop", root) == "uri_blocked"


def test_row24_pipes_devices_sockets_and_folders_are_refused_at_once(root: Path) -> None:
    os.mkfifo(root / "pipe")
    with socket.socket(socket.AF_UNIX) as listener:
        here = os.getcwd()
        os.chdir(root)
        try:
            listener.bind("socket")
        finally:
            os.chdir(here)
        assert code(root / "socket", root) == "uri_blocked"
    assert code(root / "pipe", root) == "uri_blocked"
    assert code(root / "sub", root) == "uri_blocked"
    assert code(root, root) == "uri_blocked"
    assert code("/dev/zero", Path("/")) == "uri_blocked"


def test_a_link_put_in_after_the_check_is_not_followed(
    root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The path is resolved while it is harmless, and opened when it no longer is."""
    (root / "late.png").symlink_to(tmp_path / "secret.png")
    (root / "later").symlink_to(tmp_path)
    roots = files.resolve_roots([root])
    monkeypatch.setattr(os.path, "realpath", str)
    with pytest.raises(ItemError, match="regular file"):
        read_below(roots, root / "late.png")
    with pytest.raises(ItemError) as caught:
        read_below(roots, root / "later" / "secret.png")
    assert caught.value.code in {"uri_blocked", "not_found"}


def test_missing_files_are_not_found(root: Path) -> None:
    assert code(root / "none.png", root) == "not_found"
    assert code(root / "a b.png" / "below", root) == "not_found"
    assert code(root / ("x" * 300), root) == "fetch_failed"


def test_a_reader_serves_many_folders_and_leaves_none_open(root: Path, tmp_path: Path) -> None:
    before = len(os.listdir("/proc/self/fd"))
    with files.Reader(files.resolve_roots([root])) as reader:
        for _ in range(50):
            assert reader.read(str(root / "a b.png"), max_bytes=9)[0] == b"picture"
            assert reader.read(str(root / "sub" / "c.png"), max_bytes=9)[0] == b"other"
            for path in (tmp_path / "secret.png", root / "a b.png" / "x", root / "no" / "x"):
                with pytest.raises(ItemError):
                    reader.look(str(path))
        assert len(os.listdir("/proc/self/fd")) <= before + 2
    assert len(os.listdir("/proc/self/fd")) == before


def test_a_link_from_outside_may_lead_below_a_root(root: Path, tmp_path: Path) -> None:
    (tmp_path / "link.png").symlink_to(root / "sub" / "c.png")
    assert read(tmp_path / "link.png", root) == b"other"


@pytest.mark.parametrize("age", [1.9, 2.1])
def test_a_file_that_was_changed_just_before_is_not_noted(root: Path, age: float) -> None:
    with files.Reader([root]) as reader:
        _, found = reader.read(str(root / "a b.png"), max_bytes=9)
    known = files.record("d", found, noted_at=found.st_mtime + age)
    assert (known is not None) == (age > 2)
    if known is not None:
        assert (known.size, known.mtime_ns, known.inode) == (7, found.st_mtime_ns, found.st_ino)


def test_size_is_limited(root: Path) -> None:
    assert read(root / "a b.png", root, max_bytes=7) == b"picture"
    assert code(root / "a b.png", root, max_bytes=6) == "object_too_large"


def test_a_file_without_a_true_size_is_not_read_for_ever(root: Path) -> None:
    assert code("/proc/self/status", Path("/")) == "fetch_failed"


@pytest.mark.parametrize(
    ("uri", "path"),
    [
        ("file:///a/b%20c%25.png", "/a/b c%.png"),
        ("FILE:///a", "/a"),
        ("file://localhost/a", "/a"),
        ("file:/a", "/a"),
        ("file:///%FF", "/\udcff"),
        ("a%20b.png", "a%20b.png"),
        ("/a?b#c", "/a?b#c"),
    ],
)
def test_a_file_address_is_decoded_and_a_path_is_not(uri: str, path: str) -> None:
    assert files.path_of(uri) == path


@pytest.mark.parametrize(
    "uri",
    [
        "file://host/a", "file://127.0.0.1/a", "file:a", "file:", "file://", "file:///a?b",
        "file:///a#b", "file:///a%00b", "a\0b", "",
    ],
)  # fmt: skip
def test_other_file_addresses_are_invalid(uri: str) -> None:
    with pytest.raises(ItemError) as caught:
        files.path_of(uri)
    assert caught.value.code == "uri_invalid"


@pytest.mark.parametrize(
    ("uri", "scheme"),
    [
        ("https://h/a", "https"), ("HTTP://h", "http"), ("http:/x", "http"), ("file:/a", "file"),
        ("data:image/png;base64,", "data"), ("s3://b/k", "s3"), ("gopher://h", "gopher"),
        ("a.png", ""), ("/a/b.png", ""), ("shot-12:30.png", ""), ("a/http://b", ""), ("", ""),
    ],
)  # fmt: skip
def test_a_scheme_is_told_from_a_path(uri: str, scheme: str) -> None:
    assert files.scheme_of(uri) == scheme

"""Checksums, key index, row types, eviction and the lock: the parts of the stores."""

import multiprocessing

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from alaas.store.checks import checksums
from alaas.store.eviction import Size, surplus
from alaas.store.keys import KeyIndex, keys_of, whole
from alaas.store.lock import FolderLock
from alaas.store.rows import RowType

RNG = np.random.default_rng(7)


def by_hand(data: bytes) -> int:
    """The checksum of one row of 32-bit words, with Python's own integers."""
    size = 2**64
    total, words = 0, [1, *np.frombuffer(data, "<u4").tolist()]
    for n, word in enumerate(words, start=1):
        state = (n * 0x9E3779B97F4A7C15 + 0x616C616173) % size
        state = (state ^ state >> 30) * 0xBF58476D1CE4E5B9 % size
        state = (state ^ state >> 27) * 0x94D049BB133111EB % size
        total += word * ((state ^ state >> 31) | 1)
    return total % size


def test_a_checksum_is_the_sum_of_weighted_words() -> None:
    rows = RNG.random((5, 3), np.float32)
    keys = RNG.integers(0, 256, (5, 16), np.uint8)
    expected = [by_hand(k.tobytes() + r.tobytes()) for k, r in zip(keys, rows, strict=True)]
    assert checksums(keys, rows).tolist() == expected


def test_a_long_row_has_the_weights_of_a_short_one() -> None:
    rows = RNG.random((2, 5_000), np.float32)
    assert checksums(rows).tolist() == [by_hand(row.tobytes()) for row in rows]


@pytest.mark.parametrize("dtype", [np.uint8, np.float16, np.float32, np.float64, np.int64])
def test_every_flipped_bit_changes_the_checksum(dtype: type) -> None:
    row = RNG.integers(0, 100, (1, 3)).astype(dtype)
    before = checksums(row)[0]
    for bit in range(row.nbytes * 8):
        flipped = row.copy()
        flipped.view(np.uint8)[0, bit // 8] ^= 1 << bit % 8
        assert checksums(flipped)[0] != before


def test_two_flipped_signs_do_not_cancel() -> None:
    row = RNG.random((1, 64), np.float32) + 1
    sums = set()
    for a in range(64):
        for b in range(a):
            flipped = row.copy()
            flipped[0, [a, b]] *= -1
            sums.add(int(checksums(flipped)[0]))
    assert len(sums) == 64 * 63 // 2
    assert int(checksums(row)[0]) not in sums


def test_nothing_but_zeros_is_no_valid_row() -> None:
    assert checksums(np.zeros((1, 16), np.uint8), np.zeros((1, 10), np.float32))[0] != 0


KEYS = st.lists(st.sampled_from([bytes([n]) * 15 + b"\0" for n in range(20)]), max_size=30)


@settings(max_examples=60, deadline=None)
@given(
    stored=KEYS,
    steps=st.lists(st.tuples(st.booleans(), KEYS), max_size=6),
    limit=st.sampled_from([0, 5, 100]),
)
def test_the_index_is_a_dictionary(
    stored: list[bytes], steps: list[tuple[bool, list[bytes]]], limit: int
) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("alaas.store.keys._RECENT", limit)
        index = KeyIndex(np.array(stored, "S16") if stored else None)
        model = {key: n for n, key in enumerate(stored)}
        count = len(stored)
        for adds, keys in steps:
            if adds:
                index.extend(keys, start=count)
                model |= {key: count + n for n, key in enumerate(keys)}
                count += len(keys)
            else:
                index.forget(keys)
                model = {key: row for key, row in model.items() if key not in keys}
            asked = [bytes([n]) * 15 + b"\0" for n in range(21)]
            assert index.find(asked).tolist() == [model.get(key, -1) for key in asked]


def test_keys_keep_their_zeros() -> None:
    keys = [b"\0" * 16, b"a" + b"\0" * 15, b"\0" * 15 + b"b"]
    column = pa.array([b"x" * 16, *keys], pa.binary(16))[1:]
    assert whole(keys_of(column)) == keys
    with pytest.raises(ValueError, match="whole keys"):
        keys_of(pa.array([b"a", None], pa.binary()))
    with pytest.raises(ValueError, match="whole keys"):
        keys_of(pa.array([b"a" * 16, None], pa.binary(16)))


@pytest.mark.parametrize("dtype", ["float32", "float16", "float64", "int64"])
@pytest.mark.parametrize("shape", [(), (3,), (2, 5)])
def test_rows_come_back_bit_for_bit(dtype: str, shape: tuple[int, ...]) -> None:
    rows = RNG.normal(size=(7, *shape)).astype(dtype)
    if dtype != "int64":
        rows.reshape(-1)[:4] = np.nan, np.inf, -0.0, -np.inf
    kind = RowType.of(rows)
    got = kind.unpack(kind.pack(rows)[2:])
    assert got.tobytes() == rows[2:].tobytes()
    assert (got.shape, got.dtype) == (rows[2:].shape, rows.dtype)
    assert RowType.read(kind.document()) == kind


def test_what_is_no_row_is_refused() -> None:
    for rows in (np.zeros((2, 0), np.float32), np.zeros((2, 3), np.complex64)):
        with pytest.raises(ValueError, match="cannot be kept"):
            RowType.of(rows)
    with pytest.raises(ValueError, match="whole rows"):
        RowType((3,), "float32").unpack(RowType((4,), "float32").pack(np.zeros((2, 4), "float32")))


def test_below_the_limit_nothing_goes() -> None:
    assert surplus([Size("a", "a", 100, 1.0)], max_bytes=100) == {}
    assert surplus([], max_bytes=1) == {}


def test_unused_spaces_go_first_and_no_more_than_needed() -> None:
    tables = [Size("o1", "old", 30, 1.0), Size("o2", "old", 30, 2.0), Size("m", "mid", 30, 3.0)]
    tables += [Size("n1", "new", 20, 9.0), Size("n2", "new", 40, 0.5)]
    assert surplus(tables, max_bytes=140) == {"o1": 1.0}
    assert surplus(tables, max_bytes=100) == {"o1": 1.0, "o2": 1.0}
    going = surplus(tables, max_bytes=50)
    assert going == {"o1": 1.0, "o2": 1.0, "m": 1.0, "n1": 0.25, "n2": 0.25}
    assert sum(size.nbytes * (1 - going[size.name]) for size in tables) == 45


def _try_lock(folder, answers) -> None:
    lock = FolderLock(folder)
    answers.put((lock.take(), lock.refused))


def test_one_process_has_the_lock(tmp_path) -> None:
    lock = FolderLock(tmp_path / "new")
    assert lock.take()
    assert lock.take()
    context = multiprocessing.get_context("spawn")
    answers = context.SimpleQueue()
    for expected in ((False, "another process writes it"), (True, "")):
        child = context.Process(target=_try_lock, args=(tmp_path / "new", answers))
        child.start()
        assert answers.get() == expected
        child.join()
        lock.release()
    assert not lock.held


def test_a_folder_that_cannot_be_made_is_not_locked(tmp_path) -> None:
    (tmp_path / "file").write_text("")
    lock = FolderLock(tmp_path / "file" / "below")
    assert not lock.take()
    assert "cannot be written" in lock.refused

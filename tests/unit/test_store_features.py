"""The feature store gives back what was put, or nothing: after restarts, kills and damage."""

from __future__ import annotations

import multiprocessing
import random
import resource
import shutil
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from alaas.core.digest import digest
from alaas.store.features import FeatureStore

DIGESTS = [digest(str(n).encode()) for n in range(3_000)]
NOBODY = digest(b"nobody")


def rows_of(count: int, width: int = 10) -> np.ndarray:
    """Rows that follow from their number, so that any process knows what is right."""
    return np.random.default_rng(0).random((3_000, width), np.float32)[:count]


@pytest.fixture
def store(tmp_path: Path) -> Iterator[FeatureStore]:
    opened = FeatureStore(str(tmp_path))
    yield opened
    opened.close()


def filled(folder: Path, count: int = 3_000, part: int = 700) -> None:
    store = FeatureStore(str(folder))
    for start in range(0, count, part):
        stop = min(start + part, count)
        store.put("ab12", "probs", DIGESTS[start:stop], rows_of(count)[start:stop])
        store.flush()
    store.close()


def check_whole(folder: Path) -> int:
    """Every row found is right; what is missing can be put again; then all are there."""
    store = FeatureStore(str(folder))
    found, rows = store.get("ab12", "probs", DIGESTS)
    assert len(rows) == found.sum()
    if found.any():
        assert rows.tobytes() == rows_of(3_000)[found].tobytes()
    missing = np.flatnonzero(~found)
    store.put("ab12", "probs", [DIGESTS[n] for n in missing], rows_of(3_000)[missing])
    for _ in range(2):
        again, rows = store.get("ab12", "probs", DIGESTS)
        assert again.all()
        assert rows.tobytes() == rows_of(3_000).tobytes()
        store.close()
        store = FeatureStore(str(folder))
    store.close()
    return int(found.sum())


def test_what_is_put_can_be_got_at_once_in_any_order(store: FeatureStore) -> None:
    rows = rows_of(100)
    store.put("ab12", "probs", DIGESTS[:60], rows[:60])
    store.flush()
    store.put("ab12", "probs", DIGESTS[60:100], rows[60:])
    order = np.random.default_rng(1).permutation(100).tolist()
    found, got = store.get("ab12", "probs", [DIGESTS[n] for n in order] + [NOBODY, DIGESTS[3]])
    assert found.tolist() == [True] * 100 + [False, True]
    assert got.tobytes() == rows[[*order, 3]].tobytes()
    assert store.has("ab12", "probs", [NOBODY, DIGESTS[99]]).tolist() == [False, True]


def test_a_space_or_view_that_is_unknown_has_nothing(store: FeatureStore) -> None:
    store.put("ab12", "probs", DIGESTS[:2], rows_of(2))
    for space, view in (("ab13", "probs"), ("ab12", "embeddings")):
        found, rows = store.get(space, view, DIGESTS[:2])
        assert not found.any()
        assert rows.shape == (0,)
        assert not store.has(space, view, DIGESTS[:2]).any()


def test_all_of_it_survives_a_restart(tmp_path: Path) -> None:
    filled(tmp_path)
    assert check_whole(tmp_path) == 3_000


def test_special_numbers_and_shapes_survive(tmp_path: Path) -> None:
    store = FeatureStore(str(tmp_path))
    draws = np.random.default_rng(0).random((4, 3, 5)).astype(np.float16)
    odd = np.array([np.nan, np.inf, -0.0, 5e-324])
    store.put("ab12", "draws-3-0", DIGESTS[:4], draws)
    store.put("ab12", "margins", DIGESTS[:4], odd)
    store.close()
    store = FeatureStore(str(tmp_path))
    for view, rows in (("draws-3-0", draws), ("margins", odd)):
        found, got = store.get("ab12", view, DIGESTS[:4])
        assert found.all()
        assert (got.tobytes(), got.shape, got.dtype) == (rows.tobytes(), rows.shape, rows.dtype)
    store.close()


def test_the_first_row_of_a_key_stays(store: FeatureStore) -> None:
    rows = rows_of(4)
    store.put("ab12", "probs", [DIGESTS[0], DIGESTS[0]], rows[:2])
    store.put("ab12", "probs", [DIGESTS[0]], rows[2:3])
    before = store.bytes
    store.flush()
    store.put("ab12", "probs", [DIGESTS[0]], rows[3:])
    store.flush()
    _, got = store.get("ab12", "probs", [DIGESTS[0]])
    assert got.tobytes() == rows[0].tobytes()
    assert store.bytes == before > 0


def test_rows_belong_to_the_store_once_they_are_put(store: FeatureStore) -> None:
    rows = rows_of(2).copy()
    store.put("ab12", "probs", DIGESTS[:2], rows)
    rows[:] = 0
    assert store.get("ab12", "probs", DIGESTS[:2])[1].tobytes() == rows_of(2).tobytes()


def test_what_a_model_has_one_of(tmp_path: Path) -> None:
    head = np.random.default_rng(0).random((1_000, 513), np.float32)
    store = FeatureStore(str(tmp_path))
    assert store.get_one("ab12", "head") is None
    store.put_one("ab12", "head", head)
    store.close()
    store = FeatureStore(str(tmp_path))
    got = store.get_one("ab12", "head")
    assert got is not None
    assert (got.tobytes(), got.shape) == (head.tobytes(), head.shape)
    assert store.get_one("ff", "head") is None
    store.close()


def test_what_is_wrong_is_refused(store: FeatureStore) -> None:
    rows = rows_of(2)
    for space, view in (("a/b", "probs"), ("", "probs"), ("ab", "../x"), ("a-b", "probs")):
        with pytest.raises(ValueError, match="is no name"):
            store.put(space, view, DIGESTS[:2], rows)
    for wrong in ("xyz", "0" * 31, "0" * 34, "g" * 32):
        with pytest.raises(ValueError, match=f"'{wrong}' is no digest"):
            store.get("ab12", "probs", [DIGESTS[0], wrong])
    with pytest.raises(ValueError, match="3 digests came with 2 rows"):
        store.put("ab12", "probs", DIGESTS[:3], rows)
    store.put("ab12", "probs", DIGESTS[:2], rows)
    for other in (rows_of(2, 11), rows.astype(np.float64)):
        with pytest.raises(ValueError, match="holds rows of"):
            store.put("ab12", "probs", DIGESTS[2:4], other)


def test_it_is_written_by_itself(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("alaas.store.features._WAIT_S", 0.01)
    written = threading.Event()
    store = FeatureStore(str(tmp_path))
    flush = store.flush
    monkeypatch.setattr(store, "flush", lambda: (flush(), written.set()))
    store.put("ab12", "probs", DIGESTS[:5], rows_of(5))
    assert written.wait(30)
    shutil.copytree(tmp_path, tmp_path / "copy")
    copy = FeatureStore(str(tmp_path / "copy"))
    assert copy.has("ab12", "probs", DIGESTS[:5]).all()
    copy.close()
    store.close()


def test_many_rows_are_written_without_being_asked(tmp_path: Path) -> None:
    store = FeatureStore(str(tmp_path))
    store.put("ab12", "probs", DIGESTS[:2_000], rows_of(2_000))
    copy = FeatureStore(str(tmp_path))
    assert not copy.writable
    assert copy.has("ab12", "probs", DIGESTS[:2_000]).all()
    store.close()


def test_small_files_are_joined(tmp_path: Path) -> None:
    store = FeatureStore(str(tmp_path))
    for n in range(40):
        store.put("ab12", "probs", [DIGESTS[n]], rows_of(40)[n : n + 1])
        store.flush()
    assert len(list(tmp_path.glob("features/*/data/*.lance"))) < 15
    rows = store.get("ab12", "probs", DIGESTS[:40][::-1])[1]
    assert rows.tobytes() == rows_of(40)[::-1].tobytes()
    store.close()


def test_many_threads(tmp_path: Path) -> None:
    store = FeatureStore(str(tmp_path))
    wrong: list[str] = []

    def work(seed: int) -> None:
        draw = random.Random(seed)
        for _ in range(15):
            start = draw.randrange(2_900)
            part = slice(start, start + draw.randrange(1, 100))
            store.put("ab12", "probs", DIGESTS[part], rows_of(3_000)[part])
            if draw.random() < 0.3:
                store.flush()
            found, rows = store.get("ab12", "probs", DIGESTS[part])
            if not found.all() or rows.tobytes() != rows_of(3_000)[part].tobytes():
                wrong.append(f"{part}")

    threads = [threading.Thread(target=work, args=(seed,)) for seed in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert wrong == []
    store.close()
    check_whole(tmp_path)


# -- what goes when there is too much


def test_the_longest_unused_spaces_go_first(tmp_path: Path) -> None:
    size = 1_000 * (40 + 32)
    for space in ("old", "new"):
        store = FeatureStore(str(tmp_path))
        store.put(space, "probs", DIGESTS[:1_000], rows_of(1_000))
        store.close()
    store = FeatureStore(str(tmp_path), max_bytes=3 * size - 1)
    assert store.bytes == 2 * size
    store.put("now", "probs", DIGESTS[:1_000], rows_of(1_000))
    store.flush()
    assert not store.has("old", "probs", DIGESTS[:1_000]).any()
    assert store.has("new", "probs", DIGESTS[:1_000]).all()
    assert store.has("now", "probs", DIGESTS[:1_000]).all()
    assert store.bytes == 2 * size
    store.close()


def test_the_oldest_rows_of_the_space_in_use_go(tmp_path: Path) -> None:
    limit = 2_000 * (40 + 32)
    store = FeatureStore(str(tmp_path), max_bytes=limit)
    for start in range(0, 3_000, 500):
        part = slice(start, start + 500)
        store.put("ab12", "probs", DIGESTS[part], rows_of(3_000)[part])
        store.flush()
        assert store.has("ab12", "probs", DIGESTS[part]).all()
        assert store.bytes <= limit
    found, rows = store.get("ab12", "probs", DIGESTS)
    first = int(np.flatnonzero(found)[0])
    assert found[first:].all()
    assert 1_000 <= first <= 1_500
    assert rows.tobytes() == rows_of(3_000)[first:].tobytes()
    store.close()


# -- more than one process


def test_the_second_process_reads_and_writes_once_it_is_alone(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    first, second = FeatureStore(str(tmp_path)), FeatureStore(str(tmp_path))
    assert (first.writable, second.writable) == (True, False)
    assert [r.message for r in caplog.records if "another process" in r.message]
    first.put("ab12", "probs", DIGESTS[:10], rows_of(10))
    first.flush()
    second.put("ab12", "probs", DIGESTS[10:20], rows_of(20)[10:])
    assert second.has("ab12", "probs", DIGESTS[:20]).tolist() == [True] * 10 + [False] * 10
    first.put("ab12", "probs", DIGESTS[20:30], rows_of(30)[20:])
    first.close()
    second.put("ab12", "probs", DIGESTS[10:20], rows_of(20)[10:])
    assert second.writable
    found, rows = second.get("ab12", "probs", DIGESTS[:30])
    assert found.all()
    assert rows.tobytes() == rows_of(30).tobytes()
    second.close()


def test_a_reader_follows_when_files_are_joined(tmp_path: Path) -> None:
    filled(tmp_path, 3_000, 500)
    writer, reader = FeatureStore(str(tmp_path)), FeatureStore(str(tmp_path))
    assert reader.has("ab12", "probs", DIGESTS).all()
    for n in range(40):
        writer.put("ab12", "probs", [digest(b"%d more" % n)], rows_of(1))
        writer.flush()
    found, rows = reader.get("ab12", "probs", DIGESTS)
    assert found.all()
    assert rows.tobytes() == rows_of(3_000).tobytes()
    writer.close()


WRITER = """
import sys
sys.path.insert(0, sys.argv[2])
import test_store_features as here
store = here.FeatureStore(sys.argv[1])
for round in range(1000):
    for n in range(0, 3_000, 50):
        store.put("ab12", "probs", here.DIGESTS[n:n+50], here.rows_of(3_000)[n:n+50])
        store.put(f"r{round}", "probs", here.DIGESTS[n:n+50], here.rows_of(3_000)[n:n+50])
        store.flush()
        print("written", flush=True)
"""


def test_a_writer_that_is_killed_leaves_whole_rows(tmp_path: Path) -> None:
    draw = random.Random(3)
    least = 0
    for _ in range(2):
        command = [sys.executable, "-c", WRITER, str(tmp_path), str(Path(__file__).parent)]
        with subprocess.Popen(command, stdout=subprocess.PIPE) as child:
            assert child.stdout is not None
            flushes = draw.randrange(3, 25)
            for _ in range(flushes):
                assert child.stdout.readline() == b"written\n"
            child.send_signal(signal.SIGKILL)
        store = FeatureStore(str(tmp_path))
        found, rows = store.get("ab12", "probs", DIGESTS)
        least = max(least, 50 * flushes)
        assert found.sum() >= least
        assert rows.tobytes() == rows_of(3_000)[found].tobytes()
        store.close()
    check_whole(tmp_path)


# -- damage


def damage(path: Path, kind: str, draw: random.Random) -> None:
    data = bytearray(path.read_bytes())
    if kind == "delete":
        path.unlink()
        return
    if kind == "truncate":
        data = data[: draw.randrange(len(data))]
    elif kind == "flip":
        for _ in range(draw.choice((1, 8, 64))):
            data[draw.randrange(len(data))] ^= 1 << draw.randrange(8)
    elif kind == "tail":
        data[-1 - draw.randrange(min(300, len(data)))] ^= 0xFF
    else:
        start = draw.randrange(len(data))
        data[start : start + 4096] = bytes(len(data[start : start + 4096]))
    path.write_bytes(data)


@pytest.mark.parametrize("kind", ["delete", "truncate", "flip", "tail", "zeros"])
@pytest.mark.parametrize("seed", range(4))
def test_damaged_data_is_computed_again(tmp_path: Path, kind: str, seed: int) -> None:
    filled(tmp_path)
    draw = random.Random(f"{kind} {seed}")
    files = sorted(tmp_path.glob("features/*/data/*"), key=lambda path: path.stat().st_mtime_ns)
    assert len(files) > 1
    damage(draw.choice(files), kind, draw)
    found = check_whole(tmp_path)
    assert found < 3_000 or kind in ("flip", "tail", "zeros")


@pytest.mark.parametrize("kind", ["delete", "truncate", "flip", "tail", "zeros"])
def test_damaged_descriptions_are_begun_anew(tmp_path: Path, kind: str) -> None:
    filled(tmp_path)
    draw = random.Random(kind)
    for path in sorted(tmp_path.glob("features/*/_versions/*")):
        damage(path, kind, draw)
    check_whole(tmp_path)


def test_a_flipped_number_is_found_and_written_again(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    filled(tmp_path, 3_000, 3_000)
    (path,) = tmp_path.glob("features/*/data/*")
    data = path.read_bytes()
    place = data.index(rows_of(3_000)[1_234].tobytes())
    path.write_bytes(data[: place + 3] + bytes([data[place + 3] ^ 0x80]) + data[place + 4 :])
    store = FeatureStore(str(tmp_path))
    found, _ = store.get("ab12", "probs", DIGESTS)
    assert np.flatnonzero(~found).tolist() == [1_234]
    assert [r for r in caplog.records if "damaged rows" in r.message]
    assert (store.take_damaged(), store.take_damaged()) == (1, 0)
    assert not store.has("ab12", "probs", [DIGESTS[1_234]]).any()
    store.close()
    assert check_whole(tmp_path) == 2_999


def test_a_row_under_another_key_is_not_taken(tmp_path: Path) -> None:
    filled(tmp_path, 3_000, 3_000)
    (path,) = tmp_path.glob("features/*/data/*")
    data = path.read_bytes()
    key = bytes.fromhex(DIGESTS[7])
    assert data.count(key) == 1
    path.write_bytes(data.replace(key, bytes.fromhex(NOBODY)))
    store = FeatureStore(str(tmp_path))
    assert not store.get("ab12", "probs", [NOBODY])[0].any()
    assert store.get("ab12", "probs", DIGESTS)[0].sum() == 2_999
    store.close()


def test_damage_while_it_is_open(tmp_path: Path) -> None:
    filled(tmp_path)
    store = FeatureStore(str(tmp_path))
    assert store.has("ab12", "probs", DIGESTS).all()
    for path in tmp_path.glob("features/*/data/*"):
        path.write_bytes(path.read_bytes()[:100])
    assert not store.get("ab12", "probs", DIGESTS)[0].any()
    store.put("ab12", "probs", DIGESTS, rows_of(3_000))
    assert store.get("ab12", "probs", DIGESTS)[0].all()
    store.close()
    assert check_whole(tmp_path) == 3_000


def test_a_reader_deletes_nothing(tmp_path: Path) -> None:
    filled(tmp_path)
    writer, reader = FeatureStore(str(tmp_path)), FeatureStore(str(tmp_path))
    path = sorted(tmp_path.glob("features/*/data/*"))[0]
    whole = path.read_bytes()
    path.write_bytes(whole[:100])
    assert not reader.get("ab12", "probs", DIGESTS)[0].all()
    path.write_bytes(whole)
    assert writer.get("ab12", "probs", DIGESTS)[0].all()
    writer.close()


def test_a_table_of_a_newer_lance_is_left_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    filled(tmp_path)

    def refuse(*_: object) -> None:
        raise ValueError("This dataset cannot be read by this version of Lance. Please upgrade")

    with monkeypatch.context() as patch:
        patch.setattr("lancedb.db.LanceDBConnection.open_table", refuse)
        store = FeatureStore(str(tmp_path))
        for _ in range(3):
            assert not store.get("ab12", "probs", DIGESTS)[0].any()
            store.put("ab12", "probs", DIGESTS[:5], rows_of(5))
            store.flush()
        store.close()
    assert sum("cannot be read now" in r.message for r in caplog.records) == 1
    assert check_whole(tmp_path) == 3_000


# -- storage that fails


def test_a_folder_that_is_deleted_is_made_again(tmp_path: Path) -> None:
    store = FeatureStore(str(tmp_path / "s"))
    store.put("ab12", "probs", DIGESTS[:50], rows_of(50))
    store.flush()
    shutil.rmtree(tmp_path / "s")
    assert not store.get("ab12", "probs", DIGESTS[:50])[0].any()
    store.put("ab12", "probs", DIGESTS[:50], rows_of(50))
    store.close()
    store = FeatureStore(str(tmp_path / "s"))
    assert store.get("ab12", "probs", DIGESTS[:50])[1].tobytes() == rows_of(50).tobytes()
    store.close()


def test_a_folder_that_cannot_be_written(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    (tmp_path / "file").write_text("")
    store = FeatureStore(str(tmp_path / "file"))
    assert not store.writable
    for _ in range(2):
        store.put("ab12", "probs", DIGESTS[:5], rows_of(5))
        assert not store.get("ab12", "probs", DIGESTS[:5])[0].any()
        assert store.bytes == 0
    store.close()
    said = [record.getMessage() for record in caplog.records]
    assert sum("is only read" in line for line in said) == 1
    assert len(said) == len(set(said))


def _fill_a_full_disk(folder: str, answers: object) -> None:
    store = FeatureStore(folder)
    store.put("ab12", "probs", DIGESTS[:500], rows_of(500))
    store.flush()
    signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (4_096, hard))
    store.put("ab12", "probs", DIGESTS[500:2_900], rows_of(3_000)[500:2_900])
    store.flush()
    held = store.get("ab12", "probs", DIGESTS)[0].sum()
    resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    store.put("ab12", "probs", DIGESTS[2_900:], rows_of(3_000)[2_900:])
    store.close()
    answers.put(int(held))  # type: ignore[attr-defined]


def test_a_full_disk_loses_only_what_was_not_written(tmp_path: Path) -> None:
    context = multiprocessing.get_context("spawn")
    answers = context.SimpleQueue()
    child = context.Process(target=_fill_a_full_disk, args=(str(tmp_path), answers))
    child.start()
    child.join()
    assert child.exitcode == 0
    assert answers.get() == 500
    assert check_whole(tmp_path) == 600


def test_after_closing_nothing_is_kept(tmp_path: Path) -> None:
    store = FeatureStore(str(tmp_path))
    store.close()
    store.close()
    store.put("ab12", "probs", DIGESTS[:5], rows_of(5))
    assert not store.writable
    assert not store.has("ab12", "probs", DIGESTS[:5]).any()


def test_a_store_in_memory() -> None:
    store = FeatureStore("memory://")
    store.put("ab12", "probs", DIGESTS, rows_of(3_000))
    store.flush()
    assert store.writable
    assert store.get("ab12", "probs", DIGESTS)[1].tobytes() == rows_of(3_000).tobytes()
    store.close()


def test_two_writers_of_an_object_store_see_each_other(tmp_path: Path) -> None:
    """A folder without its lock stands for a bucket: two writers commit in turns."""
    stores = [FeatureStore(str(tmp_path)) for _ in range(2)]
    for store in stores:
        store._folder = None
    rows = rows_of(3_000)
    for n in range(0, 400, 100):
        for shift, store in enumerate(stores):
            part = slice(n + 50 * shift, n + 50 * shift + 50)
            store.put("ab12", "probs", DIGESTS[part], rows[part])
            store.flush()
    for store in stores:
        found, got = store.get("ab12", "probs", DIGESTS[:350])
        assert found.all()
        assert got.tobytes() == rows[:350].tobytes()
    for store in stores:
        store.close()


def test_a_writer_whose_rows_another_one_deleted_takes_no_wrong_ones(tmp_path: Path) -> None:
    stores = [FeatureStore(str(tmp_path)), FeatureStore(str(tmp_path), max_bytes=300 * (40 + 32))]
    for store in stores:
        store._folder = None
    rows = rows_of(3_000)
    stores[0].put("ab12", "probs", DIGESTS[:200], rows[:200])
    stores[0].flush()
    stores[1].put("ab12", "probs", DIGESTS[200:400], rows[200:400])
    stores[1].flush()
    stores[0].put("ab12", "probs", DIGESTS[400:450], rows[400:450])
    stores[0].flush()
    for store in stores:
        found, got = store.get("ab12", "probs", DIGESTS[:450])
        assert got.tobytes() == rows[:450][found].tobytes()
    assert not found[:100].any()
    assert stores[0].has("ab12", "probs", DIGESTS[:450])[200:].all()
    for store in stores:
        store.close()


def test_the_index_takes_few_bytes_a_row(tmp_path: Path) -> None:
    from alaas.store.keys import KeyIndex

    keys = np.random.default_rng(0).integers(0, 256, (50_000, 16), np.uint8).view("S16").ravel()
    index = KeyIndex(keys)
    assert (index._keys.nbytes + index._rows.nbytes) / len(keys) == 24

"""Named pools come back as they were saved, all of them or not at all."""

from __future__ import annotations

import hashlib
import json
import random
import signal
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import lancedb
import numpy as np
import pyarrow as pa
import pytest

from alaas.core.digest import digest
from alaas.core.errors import (
    EmptyInput,
    Internal,
    PoolCorrupt,
    UnknownPool,
    ValidationFailed,
    ViewUnavailable,
)
from alaas.store.pool_table import OF_MODEL, item_check
from alaas.store.pools import PoolItem, PoolItems, Pools

N = 2_500
VIEWS = {
    "probs": np.random.default_rng(0).random((N, 10), np.float32),
    "margins": np.random.default_rng(1).random(N),
    "draws-3-0": np.random.default_rng(2).random((N, 3, 4)).astype(np.float16),
    "head": np.random.default_rng(3).random((10, 513), np.float32),
}


def item(n: int) -> PoolItem:
    return PoolItem(
        id=f"item-{n}",
        uri=f"https://example.org/{n}.jpg" if n % 3 else None,
        text=None if n % 3 else f"Text {n}\nüber ☃",
        group=f"g{n % 4}" if n % 5 else None,
        digest=digest(b"%d" % n),
    )


def items(count: int = N) -> PoolItems:
    every = [item(n) for n in range(count)]
    return PoolItems(
        ids=[one.id for one in every],
        uris=[one.uri for one in every],
        texts=[one.text for one in every],
        groups=[one.group for one in every],
        digests=[one.digest for one in every],
    )


@pytest.fixture
def pools(tmp_path: Path) -> Pools:
    return Pools(str(tmp_path))


def save(pools: Pools, name: str = "p", ttl_s: float | None = None):
    return pools.save(name, items(), VIEWS, space="ab12", model="m1", ttl_s=ttl_s)


def check(pools: Pools, name: str = "p") -> None:
    """Every part of the pool is right."""
    pool = pools.open(name)
    assert len(pool) == pool.info.items == N
    for view in ("probs", "margins", "draws-3-0"):
        got = pool.view(view)
        assert (got.tobytes(), got.dtype) == (VIEWS[view].tobytes(), VIEWS[view].dtype)
        assert pool.info.views[view] == got.shape[1:] == VIEWS[view].shape[1:]
    assert pool.array("head").tobytes() == VIEWS["head"].tobytes()
    assert [one for batch in pool.batches(700) for one in batch] == [item(n) for n in range(N)]
    order = [7, N - 1, 0, 7]
    assert pool.items(order) == [item(n) for n in order]
    groups = pool.groups()
    assert groups is not None
    ours = [item(n).group or f"alone {n}" for n in range(N)]
    assert len(set(zip(ours, groups.tolist(), strict=True))) == len(set(ours)) == len({*groups})


def test_a_pool_comes_back(pools: Pools, tmp_path: Path) -> None:
    info = save(pools, ttl_s=60)
    check(pools)
    check(Pools(str(tmp_path)))
    assert pools.list() == [info]
    assert info.views.keys() == {"probs", "margins", "draws-3-0"}
    assert (info.name, info.items, info.space, info.model) == ("p", N, "ab12", "m1")
    assert info.expires == info.created + 60
    assert pools.bytes == info.bytes > sum(view.nbytes for view in VIEWS.values())


def test_the_store_and_the_strategies_agree_on_what_a_model_has_one_of() -> None:
    from alaas.strategies.declaration import MODEL

    assert MODEL.keys() == OF_MODEL


def test_columns_of_pyarrow(pools: Pools) -> None:
    lists = items()
    columns = [pa.array(column, pa.string()) for column in lists.columns()]
    chunked = [pa.chunked_array([one[:700], one[700:]]) for one in columns]
    ids, uris, texts, groups, digests = (columns[0], chunked[1], columns[2], chunked[3], columns[4])
    arrow = PoolItems(ids=ids, uris=uris, texts=texts, groups=groups, digests=digests)
    pools.save("p", arrow, VIEWS, space="ab12", model="m1")
    check(pools)


def test_a_pool_of_ids_alone(pools: Pools) -> None:
    pools.save("p", PoolItems(ids=["a"], digests=["d"]), {}, space="", model="")
    pool = pools.open("p")
    assert pool.groups() is None
    assert pool.items([0]) == [PoolItem("a", None, None, None, "d")]
    assert pool.items([]) == []
    for wrong in ([1], [-1]):
        with pytest.raises(ValueError, match="of 1 items"):
            pool.items(wrong)
    with pytest.raises(ViewUnavailable, match="no view 'probs'; it has: none"):
        pool.view("probs")
    with pytest.raises(ViewUnavailable, match="'head'"):
        pool.array("head")


@pytest.mark.parametrize("name", ["a", "../../etc", "Ünï/котик ☃", "x" * 128, "☃" * 128, ".", "A"])
def test_any_name_will_do(pools: Pools, name: str) -> None:
    pools.save("a", PoolItems(ids=["other"], digests=["d"]), {}, space="", model="")
    pools.save(name, PoolItems(ids=["one"], digests=["d"]), {}, space="", model="")
    assert pools.open(name).items([0])[0].id == "one"
    assert {info.name for info in pools.list()} == {"a", name}
    assert pools.delete(name)
    assert not pools.delete(name)
    assert {info.name for info in pools.list()} == {"a"} - {name}


@pytest.mark.parametrize("name", ["", "x" * 129, "a\nb", "\0", "\x85", "\ud800"])
def test_some_names_are_refused(pools: Pools, name: str) -> None:
    for act in (pools.open, pools.delete, lambda name: save(pools, name)):
        with pytest.raises(ValidationFailed, match="is no name of a pool"):
            act(name)


def test_what_does_not_fit_is_refused(pools: Pools) -> None:
    one = PoolItems(ids=["a"], digests=["d"])
    with pytest.raises(EmptyInput):
        pools.save("p", PoolItems(ids=[], digests=[]), {}, space="", model="")
    with pytest.raises(ValueError, match="'probs': 2"):
        pools.save("p", one, {"probs": np.ones((2, 3), "f4")}, space="", model="")
    with pytest.raises(ValueError, match="has 1 ids"):
        pools.save("p", replace(one, uris=["x", "y"]), {}, space="", model="")
    for ttl_s in (0, -1, float("nan")):
        with pytest.raises(ValidationFailed, match="more than 0"):
            pools.save("p", one, {}, space="", model="", ttl_s=ttl_s)
    assert pools.list() == []


def test_a_name_that_nobody_has(pools: Pools, tmp_path: Path) -> None:
    with pytest.raises(UnknownPool, match="there is no pool 'p'"):
        pools.open("p")
    assert pools.list() == []
    assert pools.expire(0) == []
    assert pools.bytes == 0


def test_saving_again_replaces_and_who_reads_may_finish(pools: Pools, tmp_path: Path) -> None:
    three = PoolItems(ids=["old"] * 3, digests=["d"] * 3)
    pools.save("p", three, {"probs": np.ones((3, 2), "f4")}, space="", model="")
    old = pools.open("p")
    save(pools)
    check(pools)
    assert [one.id for one in old.items([0, 2])] == ["old", "old"]
    assert old.view("probs").tolist() == [[1, 1]] * 3
    assert len(pools.list()) == 1
    info = save(pools)
    check(pools)
    assert len(list(tmp_path.glob("pools/*/data/*"))) == 2
    pools.expire(info.created + 4_000)
    assert len(list(tmp_path.glob("pools/*/data/*"))) == 1
    check(pools)


def test_pools_expire(pools: Pools, monkeypatch: pytest.MonkeyPatch) -> None:
    short, long = save(pools, "short", 10), save(pools, "long", 1e6)
    save(pools, "ever")
    assert pools.expire() == []
    assert pools.expire(short.expires) == ["short"]
    assert [info.name for info in pools.list()] == ["ever", "long"]
    monkeypatch.setattr("alaas.store.pools.time.time", lambda: long.expires)
    with pytest.raises(UnknownPool):
        pools.open("long")
    check(pools, "ever")


def test_a_pool_that_is_deleted_while_it_is_read(pools: Pools) -> None:
    save(pools)
    pool = pools.open("p")
    assert pools.delete("p")
    with pytest.raises(UnknownPool):
        pool.view("probs")


def test_two_objects_see_the_same_pools(tmp_path: Path) -> None:
    one, other = Pools(str(tmp_path)), Pools(str(tmp_path))
    save(one)
    check(other)
    assert other.delete("p")
    assert one.list() == []


def test_pools_in_memory() -> None:
    pools = Pools("memory://")
    save(pools)
    check(pools)


# -- damage


def right_or_corrupt(pools: Pools) -> bool:
    try:
        check(pools)
    except PoolCorrupt:
        return False
    return True


@pytest.mark.parametrize("seed", range(30))
def test_a_damaged_pool_is_never_wrong(pools: Pools, tmp_path: Path, seed: int) -> None:
    save(pools)
    draw = random.Random(seed)
    (path,) = tmp_path.glob("pools/*/data/*")
    data = bytearray(path.read_bytes())
    if seed % 3 == 0:
        for _ in range(20):
            data[draw.randrange(len(data))] ^= 1 << draw.randrange(8)
    elif seed % 3 == 1:
        start = draw.randrange(len(data))
        data[start : start + 512] = bytes(len(data[start : start + 512]))
    else:
        data = data[: draw.randrange(len(data))]
    path.write_bytes(data)
    right = right_or_corrupt(Pools(str(tmp_path)))
    assert not right or seed % 3 != 2
    save(Pools(str(tmp_path)))
    check(Pools(str(tmp_path)))


def tamper(folder: Path, change) -> Pools:
    """Change the rows of the one pool, as a defect of the storage below would."""
    database = lancedb.connect(folder / "pools")
    (name,) = database.list_tables().tables
    table = database.open_table(name).to_arrow()
    database.create_table(name, change(table), mode="overwrite")
    return Pools(str(folder))


@pytest.mark.parametrize("name", ["id", "uri", "text", "group", "digest"])
@pytest.mark.parametrize("value", ["", "other", None])
def test_a_changed_item_is_found(
    pools: Pools, tmp_path: Path, name: str, value: str | None
) -> None:
    save(pools)

    def change(table: pa.Table) -> pa.Table:
        column = table[name].to_pylist()
        column[1_234] = value if column[1_234] != value else "x"
        where = table.column_names.index(name)
        return table.set_column(where, name, pa.array(column, pa.string()))

    pool = tamper(tmp_path, change).open("p")
    with pytest.raises(PoolCorrupt, match="item 1234 does not match"):
        list(pool.batches(1_000))
    with pytest.raises(PoolCorrupt, match="item 1234 does not match"):
        pool.items([3, 1_234])
    assert pool.items([1_233]) == [item(1_233)]


@pytest.mark.parametrize(
    "change",
    [
        lambda table: table.slice(1),
        lambda table: table.slice(0, N - 1),
        lambda table: pa.concat_tables([table, table.slice(0, 1)]),
        lambda table: pa.concat_tables([table.slice(100), table.slice(0, 100)]),
    ],
    ids=["first", "last", "more", "moved"],
)
def test_missing_and_moved_rows_are_found(pools: Pools, tmp_path: Path, change) -> None:
    save(pools)
    pool = tamper(tmp_path, change).open("p")
    for act in (lambda: pool.view("margins"), lambda: list(pool.batches(N)), pool.groups):
        with pytest.raises(PoolCorrupt):
            act()


def test_rows_that_were_swapped_are_found(pools: Pools, tmp_path: Path) -> None:
    save(pools)
    (path,) = tmp_path.glob("pools/*/data/*")
    data = path.read_bytes()
    first, second = (VIEWS["probs"][n].tobytes() for n in (5, 6))
    assert data.count(first + second) == 1
    path.write_bytes(data.replace(first + second, second + first))
    pool = pools.open("p")
    with pytest.raises(PoolCorrupt, match="'probs' does not match"):
        pool.view("probs")
    assert pool.view("margins").tobytes() == VIEWS["margins"].tobytes()


def test_a_changed_head_is_found(pools: Pools, tmp_path: Path) -> None:
    save(pools)
    (path,) = tmp_path.glob("pools/*/data/*")
    data = path.read_bytes()
    at = data.index(VIEWS["head"].tobytes()[:64])
    path.write_bytes(data[:at] + bytes([data[at] ^ 1]) + data[at + 1 :])
    with pytest.raises(PoolCorrupt, match="'head'"):
        pools.open("p").array("head")


def test_a_changed_description_is_found(
    pools: Pools, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    save(pools)
    (path,) = tmp_path.glob("pools/*/_versions/*.manifest")
    data = path.read_bytes()
    assert data.count(b"ab12") > 0
    path.write_bytes(data.replace(b"ab12", b"ab13"))
    with pytest.raises(PoolCorrupt, match="does not match its checksum"):
        Pools(str(tmp_path)).open("p")
    assert Pools(str(tmp_path)).list() == []
    assert "is damaged" in caplog.text
    assert Pools(str(tmp_path)).delete("p")


SAVER = """
import sys
sys.path.insert(0, sys.argv[2])
import test_store_pools as here

class Stuck(list):
    def __getitem__(self, part):
        if part.start:
            print("part of it is written", flush=True)
            sys.stdin.read()
        return super().__getitem__(part)

pools = here.Pools(sys.argv[1])
here.save(pools)
names = Stuck(str(n) for n in range(30_000))
pools.save("p", here.PoolItems(names, list(names)), {}, space="", model="")
"""


def test_a_save_that_is_killed_leaves_the_old_pool(tmp_path: Path) -> None:
    command = [sys.executable, "-c", SAVER, str(tmp_path), str(Path(__file__).parent)]
    pipe = subprocess.PIPE
    with subprocess.Popen(command, stdin=pipe, stdout=pipe) as child:
        assert child.stdout is not None
        assert child.stdout.readline() == b"part of it is written\n"
        child.send_signal(signal.SIGKILL)
    check(Pools(str(tmp_path)))
    save(Pools(str(tmp_path)))
    check(Pools(str(tmp_path)))


def test_a_save_that_fails_leaves_the_old_pool(
    pools: Pools, monkeypatch: pytest.MonkeyPatch
) -> None:
    save(pools)
    real = pa.RecordBatch.from_arrays
    done: list[int] = []

    def full(*args, **options):
        if len(done) == 2:
            raise OSError(28, "No space left on device")
        done.append(1)
        return real(*args, **options)

    with monkeypatch.context() as patch:
        patch.setattr("alaas.store.pool_table._BATCH_ROWS", 500)
        patch.setattr("alaas.store.pool_table.pa.RecordBatch", type("R", (), {"from_arrays": full}))
        with pytest.raises(Internal, match=r"could not be saved.*No space left"):
            save(pools)
    check(pools)


def test_what_was_read_stays_in_memory_up_to_a_limit(tmp_path: Path) -> None:
    probs = np.random.default_rng(0).random((50, 4), np.float32)
    Pools(str(tmp_path)).save("p", items(50), {"probs": probs}, space="s", model="m")
    pools = Pools(str(tmp_path), memory_bytes=probs.nbytes)
    first = pools.open("p").view("probs")
    assert pools.open("p").view("probs") is first
    assert not first.flags.writeable
    np.testing.assert_array_equal(first, probs)
    for small in (Pools(str(tmp_path)), Pools(str(tmp_path), memory_bytes=probs.nbytes - 1)):
        assert small.open("p").view("probs") is not small.open("p").view("probs")


def test_a_pool_that_is_saved_anew_is_read_anew(tmp_path: Path) -> None:
    pools = Pools(str(tmp_path), memory_bytes=2**20)
    for value in (0.25, 0.5):
        probs = np.full((50, 4), value, np.float32)
        pools.save("p", items(50), {"probs": probs}, space="s", model="m")
        np.testing.assert_array_equal(pools.open("p").view("probs"), probs)


def test_a_checksum_of_an_item_covers_its_json() -> None:
    fields = ["a", None, 'ö"\\\n\u2028', "", "\ud83d\ude00"]
    text = json.dumps([7, *fields]).encode()
    expected = int.from_bytes(hashlib.blake2b(text, digest_size=8).digest(), "little")
    assert item_check(7, fields) == expected

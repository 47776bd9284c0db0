"""Rows 61 and 62: a store that cannot be used, and one that is damaged. The answer is right."""

from __future__ import annotations

import asyncio
import logging
import multiprocessing
import os
import resource
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from fetch_peers import Asked, asking, picture, run

from alaas.core.digest import digest
from alaas.store.features import FeatureStore

PICTURES = [picture(row) for row in range(1, 25)]

Picks = list[tuple[str, float]]


async def picks_of(asked: Asked) -> tuple[Picks, int]:
    """All items with their scores, best first, and how many of them were computed before."""
    answer = await asked.query(*PICTURES)
    assert answer["failures"] == []
    found = [(one["id"], one["score"]) for one in answer["data"]]
    assert len(found) == 1 + len(PICTURES)
    return found, answer["timings"]["stages"]["infer"]["hits"]


async def _undisturbed() -> Picks:
    async with asking() as asked:
        return (await picks_of(asked))[0]


@pytest.fixture(scope="module")
def right() -> Picks:
    """What a service without a store answers."""
    return asyncio.run(_undisturbed())


def kept(url: Path | str) -> dict[str, Any]:
    return {"url": str(url), "cache": True}


def unusable(caplog: pytest.LogCaptureFixture) -> list[str]:
    """What the log says of stores."""
    return [
        one.getMessage()
        for one in caplog.records
        if one.name.startswith("alaas.store") and one.levelno >= logging.WARNING
    ]


def _in_place_of_a_file(folder: Path) -> str:
    (folder / "file").write_text("somebody else's")
    return str(folder / "file")


def _where_nobody_can_write(folder: Path) -> str:
    return "/proc/self/store"  # not even the super-user


@pytest.mark.parametrize("place", [_in_place_of_a_file, _where_nobody_can_write])
def test_row61_a_place_that_cannot_be_written_costs_nothing_but_the_cache(
    place: Callable[[Path], str], tmp_path: Path, right: Picks, caplog: pytest.LogCaptureFixture
) -> None:
    async def scenario() -> None:
        async with asking(store=kept(place(tmp_path))) as asked:
            for _ in range(3):
                assert await picks_of(asked) == (right, 0)

    run(scenario())
    said = unusable(caplog)
    assert any("only read" in line for line in said)
    assert len(said) == len(set(said)), "each thing is said once"


def test_row61_a_store_of_somebody_else_is_only_read(
    tmp_path: Path, right: Picks, caplog: pytest.LogCaptureFixture
) -> None:
    async def scenario() -> None:
        async with asking(store=kept(tmp_path)) as first, asking(store=kept(tmp_path)) as second:
            assert await picks_of(second) == (right, 0)
            assert await picks_of(second) == (right, 0)
            assert await picks_of(first) == (right, 0)
            await asyncio.to_thread(first.engine._kept.features.flush)
            assert (await picks_of(first))[1] == len(right)

    run(scenario())
    assert sum("only read" in line for line in unusable(caplog)) == 1


def _answer_on_a_full_disk(folder: str, answers: Any) -> None:
    with open(os.devnull, "w") as nowhere:  # what is printed may go to a file
        for stream in (1, 2):
            os.dup2(nowhere.fileno(), stream)

    async def scenario() -> None:
        async with asking(store=kept(folder)) as asked:
            _, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
            resource.setrlimit(resource.RLIMIT_FSIZE, (0, hard))
            for _ in range(2):
                found, _ = await picks_of(asked)
                await asyncio.to_thread(asked.engine._kept.features.flush)
            resource.setrlimit(resource.RLIMIT_FSIZE, (hard, hard))
            answers.put(found)

    run(scenario())


def test_row61_a_full_disk_costs_nothing_but_the_cache(tmp_path: Path, right: Picks) -> None:
    """In a process of its own, which may write no byte to a file."""
    context = multiprocessing.get_context("spawn")
    answers = context.SimpleQueue()
    child = context.Process(target=_answer_on_a_full_disk, args=(str(tmp_path), answers))
    child.start()
    child.join()
    assert child.exitcode == 0
    assert answers.get() == right


def _flip(file: Path, rows: bytes) -> None:
    data = bytearray(file.read_bytes())
    place = data.index(rows)
    data[place + 3] ^= 0x80  # the sign of the first number
    file.write_bytes(data)


def _truncate(file: Path, rows: bytes) -> None:
    file.write_bytes(file.read_bytes()[:-20])


def _zero(file: Path, rows: bytes) -> None:
    file.write_bytes(bytes(file.stat().st_size))


def _link(file: Path, rows: bytes) -> None:
    other = file.with_suffix(".other")
    shutil.copy(file, other)
    _flip(other, rows)
    file.unlink()
    file.symlink_to(other)


def _link_to_a_device(file: Path, rows: bytes) -> None:
    file.unlink()
    file.symlink_to("/dev/zero")


def _delete(file: Path, rows: bytes) -> None:
    file.unlink()


@pytest.mark.parametrize(
    ("damage", "one_row"),
    [
        (_flip, True), (_link, True), (_truncate, False), (_zero, False),
        (_link_to_a_device, False), (_delete, False),
    ],
)  # fmt: skip
def test_row62_what_is_damaged_is_computed_again(
    damage: Callable[[Path, bytes], None], one_row: bool, tmp_path: Path, right: Picks
) -> None:
    async def scenario() -> None:
        space = await _filled(tmp_path, right)
        damage(_data(tmp_path, space), _stored(tmp_path, space))
        async with asking(store=kept(tmp_path)) as asked:
            found, hits = await picks_of(asked)
            assert found == right
            assert hits == (len(right) - 1 if one_row else 0)
            assert await picks_of(asked) == (right, len(right))
            async with asked.session.get(f"{asked.url}/metrics") as response:
                figures = dict(line.rsplit(" ", 1) for line in (await response.text()).splitlines())
        corrupt = float(figures["alaas_cache_corrupt_total"])
        assert corrupt == 1 if one_row else corrupt >= 1
        async with asking(store=kept(tmp_path)) as again:
            assert await picks_of(again) == (right, len(right))

    run(scenario())


def test_row62_rows_of_another_version_are_left_alone(tmp_path: Path, right: Picks) -> None:
    async def scenario() -> None:
        await _filled(tmp_path, right)
        for table in list((tmp_path / "features").glob("v1-*")):
            table.rename(table.with_name(table.name.replace("v1-", "v0-")))
        async with asking(store=kept(tmp_path)) as asked:
            assert await picks_of(asked) == (right, 0)
        names = {os.path.basename(table)[:2] for table in (tmp_path / "features").glob("v*")}
        assert names == {"v0", "v1"}

    run(scenario())


async def _filled(folder: Path, right: Picks) -> str:
    """Fill a store by a query; the space of its rows."""
    async with asking(store=kept(folder)) as asked:
        assert await picks_of(asked) == (right, 0)
        return asked.engine.card.space


def _data(folder: Path, space: str) -> Path:
    """The one file with the predictions."""
    (file,) = folder.glob(f"features/*{space}-probs*/data/*")
    return file


def _stored(folder: Path, space: str) -> bytes:
    """The row of the first picture, as it is stored."""
    store = FeatureStore(str(folder))
    found, rows = store.get(space, "probs", [digest(PICTURES[0])])
    store.close()
    assert found.all()
    return bytes(rows.tobytes())

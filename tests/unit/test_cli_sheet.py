"""The contact sheet of ``alaas query --out picked.png``."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from alaas.cli import answer, sheet
from alaas.client import QueryResult
from alaas.core.wire import Pick, QueryResponse, Receipt, Timings

COLOURS = {"red": (220, 30, 30), "green": (20, 160, 60), "blue": (30, 60, 200)}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for name, colour in COLOURS.items():
        Image.new("RGB", (60, 30), colour).save(tmp_path / f"{name}.png")
    return tmp_path


def result(*picks: Pick, strategy: str = "least_confidence") -> QueryResult:
    receipt = Receipt(strategy, {}, 0, len(picks), "m", "0", 1_000)
    return QueryResult(QueryResponse(picks, (), Timings(), receipt))


def centre(pixels: np.ndarray, number: int) -> tuple[int, ...]:
    """The colour in the middle of a card's picture."""
    row, column = divmod(number, sheet.COLUMNS)
    x = sheet.MARGIN + column * (sheet.CARD[0] + sheet.GAP) + sheet.CARD[0] // 2
    y = sheet.MARGIN + sheet.HEADER + row * (sheet.CARD[1] + sheet.GAP)
    return tuple(pixels[y + sheet.INSET + sheet.SIDE // 2, x].tolist())


def test_shows_every_pick_in_its_order(folder: Path) -> None:
    order = ["blue", "red", "green", "blue", "green", "red", "blue"]
    picks = [
        Pick(f"{number}", number, 0.5, uri=str(folder / f"{name}.png"))
        for number, name in enumerate(order)
    ]
    # A file sent as bytes has its path as its id; an address can be a file's too.
    picks[1] = Pick(str(folder / "red.png"), 1, 0.5)
    picks[2] = Pick("2", 2, 0.5, uri=(folder / "green.png").as_uri())
    out = folder / "picked.png"
    answer.write(result(*picks), out=[out], as_json=False)
    pixels = np.asarray(Image.open(out))
    assert [centre(pixels, number) for number in range(7)] == [COLOURS[name] for name in order]
    rows = 2
    assert pixels.shape[0] == (
        2 * sheet.MARGIN + sheet.HEADER + rows * (sheet.CARD[1] + sheet.GAP) - sheet.GAP
    )


def test_a_pick_without_a_picture_here_has_its_name_instead(folder: Path) -> None:
    (folder / "broken.png").write_bytes(b"not a picture")
    picks = [
        Pick("0", 0, 0.9, uri="https://example.com/a.png"),
        Pick("1", 1, 0.8, text="a sentence"),
        Pick("2", 2, 0.7, uri=str(folder / "gone.png")),
        Pick("3", 3, 0.6, uri=str(folder / "broken.png")),
        Pick("4", 4, 0.5, uri=str(folder / "red.png")),
    ]
    out = folder / "picked.png"
    sheet.draw(result(*picks, strategy="of_a_newer_server"), out)
    pixels = np.asarray(Image.open(out))
    assert centre(pixels, 4) == COLOURS["red"]
    for number in range(4):
        # Grey letters on a white card: no colour anywhere.
        assert len(set(centre(pixels, number))) <= 3
        assert min(centre(pixels, number)) > 90


def test_a_long_selection_shows_its_beginning(folder: Path) -> None:
    picks = [Pick(str(n), n, 0.5, uri=str(folder / "blue.png")) for n in range(sheet.MOST + 7)]
    sheet.draw(result(*picks), folder / "picked.png")
    pixels = np.asarray(Image.open(folder / "picked.png"))
    assert centre(pixels, sheet.MOST - 1) == COLOURS["blue"]
    rows = sheet.MOST // sheet.COLUMNS
    assert pixels.shape[0] < sheet.MARGIN * 2 + sheet.HEADER + (rows + 1) * sheet.CARD[1] + (
        rows * sheet.GAP
    )

"""A contact sheet: the chosen pictures, best first, each with its rank and score."""

from __future__ import annotations

from pathlib import Path
from textwrap import shorten

from PIL import Image, ImageDraw, ImageFont, ImageOps

from alaas.client import QueryResult
from alaas.core.errors import UnknownStrategy
from alaas.core.wire import Pick
from alaas.data.decode import decode
from alaas.data.files import path_of, scheme_of
from alaas.data.problem import ItemError

COLUMNS = 5
SIDE = 220  # of the square that a picture is fitted into
INSET = 10
CARD = (SIDE + 2 * INSET, SIDE + 64)
GAP = 14
MARGIN = 40
HEADER = 104
MOST = 100
"""Pictures on one sheet; more would be too small to look at."""

LARGEST = 200_000_000
"""Pixels of a picture that is still drawn: 600 MB of memory for a moment."""

PAPER, WHITE, EDGE = "#f4f2ee", "#ffffff", "#dcd8d0"
INK, GREY = "#22252a", "#6d727b"


def draw(result: QueryResult, path: Path) -> None:
    """Write the sheet as a PNG file.

    A pick whose picture is not a file of this machine has its name in the picture's place.

    Args:
        result: What was chosen; the first `MOST` of it are shown.
        path: The file to write.

    Raises:
        OSError: The file cannot be written.
    """
    picks = result.picks[:MOST]
    rows = -(-len(picks) // COLUMNS)
    width = 2 * MARGIN + COLUMNS * (CARD[0] + GAP) - GAP
    height = 2 * MARGIN + HEADER + rows * (CARD[1] + GAP) - GAP
    sheet = Image.new("RGB", (width, height), PAPER)
    pen = ImageDraw.Draw(sheet)
    pen.text((MARGIN, MARGIN), _title(result, len(picks)), INK, _font(30))
    pen.text((MARGIN, MARGIN + 50), _reason(result), GREY, _font(18))
    for number, pick in enumerate(picks):
        row, column = divmod(number, COLUMNS)
        corner = (MARGIN + column * (CARD[0] + GAP), MARGIN + HEADER + row * (CARD[1] + GAP))
        sheet.paste(_card(pick), corner)
    sheet.save(path, "PNG")


def _title(result: QueryResult, shown: int) -> str:
    title = f"The {len(result)} of {result.receipt.pool_size:,} items most worth labelling"
    return title if shown == len(result) else f"{title}; the first {shown}"


def _reason(result: QueryResult) -> str:
    """Why these: what a high score of the strategy means."""
    from alaas.strategies import registry

    name = result.receipt.strategy
    try:
        return f"Best first, by {name}. {registry.get(name).summary}"
    except UnknownStrategy:  # a server of a newer version has more
        return f"Best first, by {name}."


def _card(pick: Pick) -> Image.Image:
    card = Image.new("RGB", CARD, PAPER)
    pen = ImageDraw.Draw(card)
    pen.rounded_rectangle((0, 0, CARD[0] - 1, CARD[1] - 1), 8, WHITE, EDGE)
    centre = (CARD[0] // 2, INSET + SIDE // 2)
    name = pick.text or pick.uri or pick.id
    picture = _picture(pick)
    if picture is None:
        pen.text(centre, shorten(name, 24, placeholder="..."), GREY, _font(16), "mm")
    else:
        corner = (centre[0] - picture.width // 2, centre[1] - picture.height // 2)
        card.paste(picture, corner)
    line = INSET + SIDE + 18
    pen.text((INSET, line), f"rank {pick.rank}", INK, _font(17), "lm")
    pen.text((CARD[0] - INSET, line), f"score {pick.score:.4g}", INK, _font(17), "rm")
    file = name.rpartition("/")[2]
    label = file if len(file) < 30 else f"{file[:27]}..."
    pen.text((INSET, line + 23), label, GREY, _font(14), "lm")
    return card


def _picture(pick: Pick) -> Image.Image | None:
    address = pick.uri or pick.id
    if pick.text is not None or scheme_of(address) not in {None, "", "file"}:
        return None
    try:
        data = Path(path_of(address)).read_bytes()
        return ImageOps.contain(decode(data, max_pixels=LARGEST), (SIDE, SIDE))
    except (OSError, ItemError):
        return None


def _font(size: int) -> ImageFont.FreeTypeFont | ImageFont.ImageFont:
    return ImageFont.load_default(size)

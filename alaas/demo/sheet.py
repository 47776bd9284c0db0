"""A contact sheet: every chosen digit beside what the network took it for."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

from alaas.demo.report import Trial

COLUMNS = 10
SIDE = 96  # of a digit: 12 times its 8 pixels
INSET = 12
CARD = (SIDE + 2 * INSET, SIDE + 80)
GAP = 12
MARGIN = 40
HEADER = 100

PAPER, WHITE, EDGE = "#f4f2ee", "#ffffff", "#dcd8d0"
INK, GREY, RED, GREEN = "#22252a", "#6d727b", "#b3352b", "#2f7a4d"


def draw(
    trial: Trial, images: NDArray[np.uint8], path: Path, *, pool: int, strategy: str
) -> None:  # fmt: skip
    """Write the sheet of one trial's picks as a PNG file, the most wanted first.

    Args:
        trial: Whose picks to show.
        images: (N, 8, 8) the whole data set; the id of a pick is its row.
        path: The file to write.
        pool: How many digits the picks were chosen from.
        strategy: What chose them.
    """
    count = len(trial.picks)
    rows = -(-count // COLUMNS)
    width = 2 * MARGIN + COLUMNS * (CARD[0] + GAP) - GAP
    height = 2 * MARGIN + HEADER + rows * (CARD[1] + GAP) - GAP
    sheet = Image.new("RGB", (width, height), PAPER)
    pen = ImageDraw.Draw(sheet)
    title = f"The {count} of {pool:,} handwritten digits most worth labelling"
    legend = (
        f"Most wanted first. Below each: what the network took it for, whether that is right, and "
        f"its {strategy} score. It misread {trial.mistaken} of these {count}."
    )
    pen.text((MARGIN, MARGIN), title, INK, _font(34))
    pen.text((MARGIN, MARGIN + 50), legend, GREY, _font(19))
    for number, pick in enumerate(trial.picks):
        row, column = divmod(number, COLUMNS)
        card = _card(
            images[int(pick.id)], trial.predicted[number], trial.labels[number], pick.score
        )
        sheet.paste(card, (
            MARGIN + column * (CARD[0] + GAP), MARGIN + HEADER + row * (CARD[1] + GAP)
        ))  # fmt: skip
    sheet.save(path)


def _card(image: NDArray[np.uint8], predicted: int, label: int, score: float) -> Image.Image:
    card = Image.new("RGB", CARD, PAPER)
    pen = ImageDraw.Draw(card)
    pen.rounded_rectangle((0, 0, CARD[0] - 1, CARD[1] - 1), 8, WHITE, EDGE)
    digit = Image.fromarray(image).resize((SIDE, SIDE), Image.Resampling.NEAREST)
    card.paste(digit, (INSET, INSET))
    colour, verdict = (GREEN, "right") if predicted == label else (RED, f"is a {label}")
    line = INSET + SIDE + 34
    pen.text((INSET + 2, line), str(predicted), colour, _font(44), "lm")
    pen.text((INSET + SIDE, line - 11), verdict, colour, _font(17), "rm")
    pen.text((INSET + SIDE, line + 12), f"{score:.3f}", GREY, _font(17), "rm")
    return card


def _font(size: int) -> ImageFont.FreeTypeFont | ImageFont.ImageFont:
    return ImageFont.load_default(size)

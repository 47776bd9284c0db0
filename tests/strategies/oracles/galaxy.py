"""Oracles of `alaas.strategies.galaxy`."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping

import numpy as np
from scipy import stats

from oracles.tables import Array, Chance, Choose, Picked, Seeded

Place = int


def galaxy(views: Mapping[str, Array], budget: int, rng: np.random.Generator) -> Picked:
    """Lines that are built anew for each pick, and searched place by place."""
    every = np.concatenate([views["labelled_probs"], views["probs"]]).astype(np.float64)
    known = dict(enumerate(views["labels"].tolist()))
    M, C = len(known), every.shape[1]
    turns = rng.permutation(C).tolist()
    picked: list[int] = []
    scores: list[float] = []
    for step in range(budget):
        turn = turns[step % C]
        line = sorted(range(len(every)), key=lambda item: (inwards(every[item], turn), item))
        marks = [known[item] == turn if item in known else None for item in line]
        place = bisected(marks)
        if place is None:
            place = touching(marks)
        if place is None:
            rest = [row for row in range(len(every) - M) if row + M not in known]
            item, score = M + int(rng.choice(rest)), 0.0
        else:
            item, score = (
                line[place],
                1 / sum(nearest(marks, place, side) for side in (True, False)),
            )
        picked.append(item - M)
        scores.append(score)
        known[item] = every[item].tolist().index(max(every[item]))
    return picked, scores


def inwards(probs: Array, turn: int) -> float:
    """Where it stands: those that the class leads by how sure they are, others by how it trails."""
    most = float(max(probs))
    return most - float(probs[turn]) if most > probs[turn] else -most


def bisected(marks: list[bool | None]) -> Place | None:
    """The middle of the shortest stretch of open places between labels of both kinds."""
    stretches = [
        (right - left, left)
        for left in range(len(marks))
        for right in range(left + 2, len(marks))
        if {marks[left], marks[right]} == {True, False} and set(marks[left + 1 : right]) == {None}
    ]
    if not stretches:
        return None
    length, left = min(stretches)
    return (2 * left + length) // 2


def touching(marks: list[bool | None]) -> Place | None:
    """The open place from which labels of both kinds are within the fewest steps."""
    if not {True, False} <= set(marks):
        return None
    for reach in range(1, len(marks)):
        for place, mark in enumerate(marks):
            if mark is None and max(nearest(marks, place, side) for side in (True, False)) <= reach:
                return place
    raise AssertionError("a line with both kinds of label has an open place")


def nearest(marks: list[bool | None], place: Place, side: bool) -> int:
    return min(abs(place - other) for other, mark in enumerate(marks) if mark is side)


def one_kind_of_label_leaves_it_to_chance(choose: Choose) -> float:
    """Chi-square over the rows of a pool where every label is of one class."""
    views = {
        "probs": np.array([[0.9, 0.1], [0.2, 0.8], [0.5, 0.5], [0.5, 0.5]]),
        "labelled_probs": np.array([[0.6, 0.4], [0.1, 0.9]]),
        "labels": np.array([0, 0]),
    }
    seen = Counter(choose(4, 1, seed, **views)[0] for seed in range(800))
    return float(stats.chisquare([seen[row] for row in range(4)]).pvalue)


SEEDED: dict[str, Seeded] = {"galaxy": galaxy}
CHANCE: dict[str, Chance] = {"galaxy": one_kind_of_label_leaves_it_to_chance}

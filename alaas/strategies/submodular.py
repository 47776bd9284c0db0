"""Greedy covering, the step that coverage strategies share.

What they maximise is ``F(S) = sum_i w_i max_{s in S} k(i, s)``: how similar the landmarks i,
a pool or a sample of it, are to the nearest of what is picked. A pick never makes another one
worth more, so that taking the best row again and again reaches at least 1 - 1/e of the
optimum (Nemhauser, Wolsey & Fisher 1978).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from typing import Annotated, Literal, TypeAlias

import numpy as np
from numpy.typing import NDArray

from alaas.core.arrays import Embeddings, Rows
from alaas.strategies.cost import Sizes, Work
from alaas.strategies.declaration import Picks
from alaas.strategies.distances import BLOCK, blocks
from alaas.strategies.parameters import Range
from alaas.strategies.selection import best

Floats: TypeAlias = NDArray[np.float64]

Similarity: TypeAlias = Callable[[Floats], Floats]
"""From squared distances, which it may overwrite, to similarities that fall from 1 to 0."""

Approx: TypeAlias = Annotated[
    Literal["none", "sample"],
    "Cover the whole pool, in a time that grows with its square, or random anchors of it.",
]
Anchors: TypeAlias = Annotated[
    int, Range(1), "Items that approx=sample covers; at least 4 for each pick are taken."
]

_TILE = 512
"""Rows and landmarks whose similarities are held at a time: 2 MiB."""

_SHORTLIST = 1024
"""Rows whose gains are kept up to date from pick to pick."""

_DECIMALS = 12
"""Gains that agree so far are equal: float64 rounds further behind, and a tie stays one."""


def count_anchors(rows: int, budget: int, *, approx: str, anchors: int) -> int:
    """How many rows of the pool are covered, by the rule of `Anchors`."""
    return min(rows, max(anchors, 4 * budget)) if approx == "sample" else rows


def cover_work(sizes: Sizes, anchors: int) -> Work:
    """What `Cover` takes: one pass over all pairs, about ln K + 2 that update it, and the labels.

    Each pick changes the reach of about one landmark in as many as there are picks, hence the
    logarithm. A product in float64 counts twice, since `Work.seconds` thinks of float32.
    """
    passes = 3 + math.log(max(1, sizes.K))
    pairs = anchors * (passes * sizes.N + sizes.M)
    return Work(
        flops=pairs * (4.0 * sizes.D + 100),
        reads=8.0 * sizes.D * (sizes.K * anchors + passes * sizes.N),
        memory=8.0 * (sizes.D + 2) * (anchors + 4 * _TILE)
        + 16.0 * min(BLOCK, anchors * sizes.D)
        + 80.0 * (sizes.N + anchors)
        + 24.0 * _TILE**2,
    )


class Landmarks:
    """A pool, and those of its rows that distances are measured from.

    Args:
        points: (N, D) embeddings of the pool.
        size: Rows that are landmarks, drawn at random; if it is not below N, all are.
        rng: Source of the draw.
        unit: Whether to scale rows to length 1 first; a row of zeros stays one.
    """

    def __init__(
        self, points: Embeddings, *, unit: bool, size: int, rng: np.random.Generator
    ) -> None:
        self._points = points
        self._whole = size >= len(points)
        self._unit = unit
        self._origin = np.zeros(points.shape[1], np.float32)
        rows = np.arange(len(points))
        self.rows = rows if self._whole else np.sort(rng.choice(rows, size, replace=False))
        # |x|^2 - 2 x.a + |a|^2 is one product, of (-2 x, |x|^2, 1) and (a, 1, |a|^2).
        self._factors = np.ones((len(self.rows), points.shape[1] + 2))
        self.placed, self.lengths = self._factors[:, :-2], self._factors[:, -1]
        for part in blocks(*self._factors.shape):
            self.placed[part] = self.place(points[self.rows[part]])
        # In float32, so that distances between whole numbers stay exact.
        self._origin = self.placed.mean(axis=0).astype(np.float32)
        for part in blocks(*self._factors.shape):
            self.placed[part] -= self._origin
            self.lengths[part] = _squared_lengths(self.placed[part])

    @property
    def size(self) -> int:
        """Rows of the pool."""
        return len(self._points)

    def place(self, points: Embeddings) -> Floats:
        """Rows of any embeddings, as float64, to where distances are measured."""
        placed = points.astype(np.float64, order="C")
        if self._unit:
            lengths = np.sqrt(_squared_lengths(placed))
            lengths[lengths == 0] = 1.0
            placed /= lengths[:, None]
        placed -= self._origin  # the shorter the rows, the less of a squared distance cancels
        return placed

    def take(self, rows: slice | Rows | list[int]) -> Floats:
        """Rows of the pool, placed."""
        return self.placed[rows] if self._whole else self.place(self._points[rows])

    def squares(self, placed: Floats, some: slice | Rows = slice(None)) -> Floats:
        """(B, A) squared distances of placed rows to some landmarks, or to all.

        Rounding leaves of the distance of two copies about 1e-16 of their squared length, of
        either sign.
        """
        factors = np.ones((len(placed), self._factors.shape[1]))
        np.multiply(placed, -2, out=factors[:, :-2])
        factors[:, -2] = _squared_lengths(placed)
        squares: Floats = factors @ self._factors[some].T
        return squares


class Cover:
    """How far each landmark is reached by what is picked, and the picking.

    The gain of every row is computed once. A pick then lowers gains only by the landmarks
    that it reaches better than any before, and a gain that is out of date is too high, never
    too low. So only the rows of the highest gains are brought up to date with each pick, and
    all the others when one of them could be the best. Nothing is held for a pair of rows.

    Args:
        landmarks: What is to be covered, in the pool to pick from.
        similarity: Similarity of a row and a landmark from their squared distance.
        weights: (A,) weights >= 0 of the landmarks; None, or all 0, for equal ones.
    """

    def __init__(
        self, landmarks: Landmarks, similarity: Similarity, *, weights: Floats | None = None
    ) -> None:
        self._landmarks = landmarks
        self._similarity = similarity
        if weights is None or not weights.any():
            weights = np.ones(len(landmarks.rows))
        self._weights = weights / weights.sum()
        self._reach = np.zeros(len(weights))

    def add(self, points: Embeddings) -> None:
        """Let rows that are labelled or picked already reach the landmarks; they gain no more."""
        for part in _tiles(len(points)):
            placed = self._landmarks.place(points[part])
            for some in _tiles(len(self._reach)):
                nearest = self._similarity(self._landmarks.squares(placed, some)).max(axis=0)
                np.maximum(self._reach[some], nearest, out=self._reach[some])

    def pick(self, budget: int) -> Picks:
        """Rows in the order of their gains; fewer than the budget if no other gains anything.

        Args:
            budget: Rows to pick at most.

        Returns:
            The rows, and what each added to F when it was picked, as a share of all weight.
            Gains are compared to 12 decimals; of equal ones the lowest row is picked.
        """
        picked: dict[int, float] = {}
        known = self._reach
        gains = np.zeros(self._landmarks.size)
        if self._out_of_reach():
            gains += self._worth(None, np.arange(len(known)), known, np.ones(len(known)))
        while len(picked) < budget and self._out_of_reach():
            changed = np.flatnonzero(self._reach > known)
            gains -= self._worth(None, changed, known, self._reach)
            known = self._reach
            found = self._lead(gains, budget - len(picked))
            if not found:
                break
            picked |= found
        return Picks(np.array([*picked], np.int64), np.array([*picked.values()], np.float64))

    def _out_of_reach(self) -> bool:
        return bool(self._weights @ (1 - self._reach) > 0)

    def _lead(self, gains: Floats, most: int) -> dict[int, float]:
        """Picks among the rows of the highest gains, until some other row could be better.

        Every gain must be up to date; of those picked it becomes -inf.
        """
        leaders = best(np.round(gains, _DECIMALS), _SHORTLIST + 1)
        runner_up = (-np.inf, 0)
        if len(leaders) > _SHORTLIST:
            runner_up = (float(np.round(gains[leaders[-1]], _DECIMALS)), -int(leaders[-1]))
        leaders = np.sort(leaders[:_SHORTLIST])
        exact = gains[leaders]
        picked: dict[int, float] = {}
        while len(picked) < most:
            rounded = np.round(exact, _DECIMALS)
            at = int(rounded.argmax())
            row = int(leaders[at])
            if rounded[at] <= 0 or (rounded[at], -row) < runner_up:
                break
            gains[row] = exact[at] = -np.inf
            known, squares = self._reach, self._landmarks.squares(self._landmarks.take([row]))
            self._reach = np.maximum(known, self._similarity(squares)[0])
            changed = np.flatnonzero(self._reach > known)
            exact -= self._worth(leaders, changed, known, self._reach)
            picked[row] = float(self._weights @ (self._reach - known))
        return picked

    def _worth(self, rows: Rows | None, landmarks: Rows, low: Floats, high: Floats) -> Floats:
        """What each row adds to F between a low and a high reach of some landmarks."""
        worth = np.zeros(self._landmarks.size if rows is None else len(rows))
        for part in _tiles(len(worth)):
            placed = self._landmarks.take(part if rows is None else rows[part])
            for tile in _tiles(len(landmarks)):
                some = landmarks[tile]
                reached = self._similarity(self._landmarks.squares(placed, some))
                np.clip(reached, low[some], high[some], out=reached)
                worth[part] += reached @ self._weights[some] - low[some] @ self._weights[some]
        return worth


def completed(picks: Picks, rows: int, budget: int) -> Picks:
    """Picks with the lowest other rows of the pool, whose score is 0, up to the budget."""
    others = np.delete(np.arange(rows), picks.rows)[: budget - len(picks.rows)]
    return Picks(
        np.concatenate([picks.rows, others]),
        np.concatenate([picks.scores, np.zeros(len(others))]),
    )


def _squared_lengths(placed: Floats) -> Floats:
    squares: Floats = np.einsum("nd,nd->n", placed, placed)
    return squares


def _tiles(rows: int) -> Iterator[slice]:
    for start in range(0, rows, _TILE):
        yield slice(start, min(start + _TILE, rows))

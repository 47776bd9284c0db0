"""Nearest neighbours, the step that many strategies share."""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from alaas.strategies.cost import Work
from alaas.strategies.distances import BLOCK, blocks, mean_row, shifted

_SPARE = 8
"""Candidates that are measured anew beside the k nearest, and a quarter of k more."""

_PART = 8 * BLOCK
"""Numbers of the queries and of the points that are searched at a time."""

_GROUP = 256
"""Queries that are settled at a time by a scan of all points."""

_LISTS = 4
"""Lists of the approximate index, in square roots of N."""

_PROBED = 32
"""Lists that an approximate search looks through."""

_EXACT_BELOW = 10_000
"""Points below which a search is exact in any case: an index would gain nothing."""


class Neighbours(NamedTuple):
    """The nearest rows of each query, nearest first.

    Attributes:
        rows: (Q, k) row numbers of the points; of equal distances the lowest first.
        squares: (Q, k) squared Euclidean distances.
    """

    rows: NDArray[np.int64]
    squares: NDArray[np.float64]


def neighbours_work(
    queries: int, points: int, width: int, k: int, *, approximate: bool = False
) -> Work:
    """What `nearest_neighbours` takes for Q queries, N points of a width, and k neighbours."""
    searched, index = float(points), 0.0
    if approximate and points >= _EXACT_BELOW:
        lists = _LISTS * points**0.5
        searched, index = lists + _PROBED * points / lists, points * (4.0 * width + 16)
    kept, parts = _candidates(k), 1 + queries * width // _PART
    seen = min(queries * width, _PART) + min(points * width, _PART)
    return Work(
        flops=2.0 * width * queries * (searched + 2 * kept),
        reads=4.0 * width * (queries + parts * searched),
        memory=16.0 * queries * k + 64.0 * min(queries, _PART // width) * kept
        + index + 4.0 * seen + 32 * BLOCK,
    )  # fmt: skip


def _candidates(k: int) -> int:
    return k + 1 + _SPARE + k // 4


def nearest_neighbours(
    queries: NDArray[np.floating],
    points: NDArray[np.floating],
    k: int,
    *,
    exclude_self: bool = False,
    approximate: bool = False,
) -> Neighbours:
    """The k nearest of (N, D) points to each of (Q, D) queries.

    float32 finds a few more candidates than are asked for and float64 puts them in order,
    so that of equally near points the lowest row comes first. Where rounding might hide a
    nearer one, all points are looked at again.

    Args:
        queries: (Q, D) rows.
        points: (N, D) rows.
        k: Neighbours of each, at most N; one less with `exclude_self`.
        exclude_self: The queries are the points, and none is its own neighbour. Otherwise a
            query that is one of the points finds itself.
        approximate: Search 32 of 4 sqrt(N) lists of an inverted index, which misses a few
            per cent of the neighbours; its copy of the points takes 4 N D bytes. Below
            10,000 points the search is exact all the same.
    """
    origin = mean_row(points)
    search = _nearest_in_lists if approximate and len(points) >= _EXACT_BELOW else _nearest_in_all
    rows, squares = np.empty((len(queries), k), np.int64), np.empty((len(queries), k))
    wanted = min(len(points), _candidates(k))
    for found in search(queries, points, wanted, origin):
        part = found.part
        own = np.arange(part.start, part.stop) if exclude_self else np.full(len(found.rows), -1)
        exact = _measure(queries[part], points, found.rows, own)
        order = np.lexsort((found.rows, exact))[:, :k]
        rows[part] = np.take_along_axis(found.rows, order, axis=1)
        squares[part] = last = np.take_along_axis(exact, order, axis=1)
        unsure = np.flatnonzero(found.reach <= last[:, -1])
        for some in blocks(len(unsure), 1, numbers=_GROUP):
            at = part.start + unsure[some]
            rows[at], squares[at] = _scan(
                queries[at], points, k, origin, own=own[unsure[some]], limits=squares[at, -1]
            )
    return Neighbours(rows, squares)


class _Found(NamedTuple):
    """What a search in float32 found for some queries.

    Attributes:
        part: Which queries.
        rows: (B, m) candidates.
        reach: (B,) squared distance within which no row but these can be.
    """

    part: slice
    rows: NDArray[np.int64]
    reach: NDArray[np.float64]


def _nearest_in_all(
    queries: NDArray[np.floating],
    points: NDArray[np.floating],
    wanted: int,
    origin: NDArray[np.float32],
) -> Iterator[_Found]:
    import faiss

    width = points.shape[1]
    for part in blocks(len(queries), width, numbers=_PART):
        seen = shifted(queries[part], origin)
        rows = np.empty((len(seen), 0), np.int64)
        squares = np.empty((len(seen), 0), np.float32)
        for among in blocks(len(points), width, numbers=_PART):
            seen_points = shifted(points[among], origin)
            near, numbers = faiss.knn(seen, seen_points, min(wanted, len(seen_points)))
            squares = np.concatenate([squares, near], axis=1)
            rows = np.concatenate([rows, numbers + among.start], axis=1)
            if squares.shape[1] > wanted:
                least = np.argpartition(squares, wanted - 1, axis=1)[:, :wanted]
                squares = np.take_along_axis(squares, least, axis=1)
                rows = np.take_along_axis(rows, least, axis=1)
        last = squares.max(axis=1).astype(np.float64)
        reach = last - _rounding(seen, last)
        yield _Found(part, rows, reach if wanted < len(points) else np.full_like(reach, np.inf))


def _nearest_in_lists(
    queries: NDArray[np.floating],
    points: NDArray[np.floating],
    wanted: int,
    origin: NDArray[np.float32],
) -> Iterator[_Found]:
    import faiss

    width, lists = points.shape[1], int(_LISTS * len(points) ** 0.5)
    index = faiss.IndexIVFFlat(faiss.IndexFlatL2(width), width, lists)
    index.nprobe, index.cp.min_points_per_centroid = _PROBED, 1
    sample = np.linspace(0, len(points) - 1, min(len(points), 40 * lists)).astype(np.int64)
    index.train(shifted(points[sample], origin))
    for part in blocks(len(points), width, numbers=_PART):
        index.add(shifted(points[part], origin))
    for part in blocks(len(queries), width, numbers=_PART):
        _, rows = index.search(shifted(queries[part], origin), wanted)
        # What the other lists hold is not asked for. Where these hold too few rows there are
        # -1 instead, which count as infinitely far, so that a scan settles the query.
        yield _Found(part, rows, np.full(len(rows), np.inf))


def _rounding(seen: NDArray[np.float32], squares: NDArray[np.float64]) -> NDArray[np.float64]:
    """How far float32 may be off in the squared distance of a query to a row that near.

    |q|^2 + |x|^2 - 2 q.x rounds at each of D sums, and |x| <= |q| + |q - x|.
    """
    lengths = np.linalg.norm(seen, axis=1) + np.sqrt(np.maximum(squares, 0))
    growth = 8 + 4 * seen.shape[1] ** 0.5  # of errors that go either way
    rounding: NDArray[np.float64] = growth * float(np.finfo(np.float32).eps) * lengths**2
    return rounding


def _measure(
    queries: NDArray[np.floating],
    points: NDArray[np.floating],
    rows: NDArray[np.int64],
    own: NDArray[np.int64],
) -> NDArray[np.float64]:
    """(B, m) squared distances of queries to their candidates; infinite to its own row."""
    squares = np.empty(rows.shape)
    for part in blocks(len(rows), rows.shape[1] * points.shape[1]):
        offsets = np.subtract(points[rows[part]], queries[part, None], dtype=np.float64)
        np.einsum("bmd,bmd->bm", offsets, offsets, out=squares[part])
    squares[(rows == own[:, None]) | (rows < 0)] = np.inf
    return squares


def _scan(
    queries: NDArray[np.floating],
    points: NDArray[np.floating],
    k: int,
    origin: NDArray[np.float32],
    *,
    own: NDArray[np.int64],
    limits: NDArray[np.float64],
) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    """The k nearest rows and their squared distances, none of which is beyond its limit."""
    seen = shifted(queries, origin)
    lengths = np.einsum("qd,qd->q", seen, seen)
    rows, squares = np.full((len(seen), k), -1), np.full((len(seen), k), np.inf)
    limits = limits.copy()
    for part in blocks(len(points), max(points.shape[1], len(seen))):
        block = shifted(points[part], origin)
        apart = lengths[:, None] + np.einsum("nd,nd->n", block, block) - 2 * (seen @ block.T)
        loose = limits + _rounding(seen, limits)
        loose[squares[:, -1] == 0] = -np.inf  # nothing further on can be nearer
        for query in np.flatnonzero((apart <= loose[:, None]).any(axis=1)):
            near = part.start + np.flatnonzero(apart[query] <= loose[query])
            exact = _measure(queries[query, None], points, near[None], own[query, None])[0]
            merged_rows = np.concatenate([rows[query], near[exact < np.inf]])
            merged = np.concatenate([squares[query], exact[exact < np.inf]])
            # A stable sort: of equal squares the rows found before, which are lower.
            order = np.argsort(merged, kind="stable")[:k]
            rows[query], squares[query] = merged_rows[order], merged[order]
            limits[query] = min(limits[query], squares[query, -1])
    return rows, squares

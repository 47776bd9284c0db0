"""Nearest neighbours of what is labelled or referred to."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Annotated, Any, Literal, TypeAlias

import numpy as np
from numpy.typing import NDArray

from alaas.core.arrays import Embeddings, Rows
from alaas.strategies.cost import Sizes, Work
from alaas.strategies.declaration import Picks
from alaas.strategies.distances import BLOCK, blocks, unit_rows
from alaas.strategies.neighbours import Neighbours, nearest_neighbours, neighbours_work
from alaas.strategies.registry import strategy

Search: TypeAlias = Callable[[NDArray[np.floating], int], Neighbours]

_LINKS = 32
"""Neighbours that a point of the graph is linked to."""

_EFFORT = 128
"""Points of the graph that a search keeps in view, at least."""


def _work(s: Sizes, params: Mapping[str, Any]) -> Work:
    lists = min(s.M, max(1, BLOCK // max(1, s.K)))
    found = neighbours_work(s.M, s.N, s.D, s.K, approximate=params["index"] == "ivf")
    held = neighbours_work(lists, s.N, s.D, s.K, approximate=params["index"] == "ivf")
    copies = 4.0 * (s.N + s.M) * s.D * (params["metric"] == "cosine")
    graph = s.N * (4.0 * s.D + 12 * _LINKS) * (params["index"] == "hnsw")
    built = 4.0 * s.N * s.D * _LINKS * _EFFORT * (params["index"] == "hnsw")
    return Work(
        flops=found.flops + built,
        reads=found.reads,
        memory=held.memory + copies + graph + 64.0 * lists * s.K + 64.0 * s.N,
    )


@strategy(
    family="geometry",
    aliases=("NeighbourExpansion", "NeighborExpansion", "PreIndex", "FAISS"),
    cost="O(M N D)",
    paper="Cover & Hart 1967; Johnson, Douze & Jegou 2019, arXiv:1702.08734",
    use="More of a rare kind: what is labelled is what to look for.",
    work=_work,
)
def neighbour_expansion(
    embeddings: Embeddings,
    labelled_embeddings: Embeddings,
    budget: int,
    *,
    index: Annotated[
        Literal["flat", "ivf", "hnsw"], "flat is exact; the others pay for many labelled items."
    ] = "flat",
    metric: Annotated[Literal["euclidean", "cosine"], "How far embeddings are."] = "euclidean",
) -> Picks:
    """The nearest row of every labelled item, then the second nearest of every one, and so on.

    ``u(x) = -d(x, l)``, with l the labelled item in whose list of nearest rows x has its best
    place. Picks go by that place first and by d second: all that are somebody's nearest come
    before all that are only somebody's second. d is the Euclidean distance |h(x) - h(l)|, or
    the cosine distance 1 - cos(h(x), h(l)).

    The lists are made longer until they name as many rows as the budget, which lists as long
    as the budget are sure to do. Of the approximate indices, ``ivf`` looks through 32 of
    4 sqrt(N) lists of an inverted file from 10,000 rows on, and ``hnsw`` walks a graph of 32
    links a row, which pays where M is in the thousands; both are the same in every run. Rows
    that ``hnsw`` cannot reach are found by ``flat``.

    Args:
        embeddings: (N, D) embeddings of the pool.
        labelled_embeddings: (M, D) embeddings of what is labelled, or of examples of what is
            looked for.
        budget: Rows to pick, at most N.
        index: How neighbours are found.
        metric: What d is.

    Returns:
        The rows, and minus the distance, at most 0. It falls within one place and starts
        anew at the next. Of equal distances the lowest row. With ``cosine``, a row of zeros,
        which has no direction, is 1/2 from every other.

    Example:
        >>> pool = np.array([[0.0], [1.0], [3.0], [9.0], [9.5]])
        >>> neighbour_expansion(pool, np.array([[0.0], [9.0]]), 4)
        Picks(rows=array([0, 3, 4, 1]), scores=array([ 0. ,  0. , -0.5, -1. ]))
    """
    points, queries = embeddings, labelled_embeddings
    if metric == "cosine":
        points, queries = unit_rows(points), unit_rows(queries)
    search = _search(points, index)
    length = min(budget, 2 * -(-budget // len(queries)))
    while True:
        places, squares = _best_places(search, queries, length, len(points))
        named = np.flatnonzero(places < length)
        if len(named) >= budget:
            break
        if length == budget:
            search = _search(points, "flat")
        length = min(budget, 2 * length)
    rows = named[np.lexsort((named, squares[named], places[named]))][:budget]
    distances = squares[rows] / 2 if metric == "cosine" else np.sqrt(squares[rows])
    return Picks(rows, 0.0 - distances)  # a distance of 0 is no negative zero


def _best_places(
    search: Search, queries: NDArray[np.floating], length: int, rows: int
) -> tuple[Rows, NDArray[np.float64]]:
    """(N,) best place of each row in any list, and its squared distance to whose list it is."""
    places, squares = np.full(rows, length), np.full(rows, np.inf)
    for part in blocks(len(queries), length):
        found = search(queries[part], length)
        listed = np.flatnonzero(found.rows.ravel() >= 0)
        row, square = found.rows.ravel()[listed], found.squares.ravel()[listed]
        place = listed % length
        order = np.lexsort((square, place, row))
        row, first = np.unique(row[order], return_index=True)
        place, square = place[order[first]], square[order[first]]
        better = (place < places[row]) | ((place == places[row]) & (square < squares[row]))
        places[row[better]], squares[row[better]] = place[better], square[better]
    return places, squares


def _search(points: NDArray[np.floating], index: str) -> Search:
    """What finds the nearest points; where it finds too few, the rest of a list is row -1."""
    if index == "hnsw":
        return _graph_search(points)
    return lambda queries, k: nearest_neighbours(queries, points, k, approximate=index == "ivf")


def _graph_search(points: NDArray[np.floating]) -> Search:
    import faiss

    graph = faiss.IndexHNSWFlat(points.shape[1], _LINKS)
    threads = faiss.omp_get_max_threads()
    faiss.omp_set_num_threads(1)  # the graph depends on the order in which points join it
    try:
        for part in blocks(*points.shape):
            graph.add(np.ascontiguousarray(points[part], np.float32))
    finally:
        faiss.omp_set_num_threads(threads)

    def search(queries: NDArray[np.floating], k: int) -> Neighbours:
        graph.hnsw.efSearch = max(_EFFORT, 2 * k)
        squares, rows = graph.search(np.ascontiguousarray(queries, np.float32), k)
        return Neighbours(rows, squares.astype(np.float64))

    return search

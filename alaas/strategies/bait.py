"""Batches that keep the Fisher information of the pool."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Annotated, Any, Literal

import numpy as np
from numpy.typing import NDArray

from alaas.core.arrays import Embeddings, Probs, Rows
from alaas.strategies.cost import Sizes, Work
from alaas.strategies.declaration import Picks
from alaas.strategies.distances import BLOCK, blocks
from alaas.strategies.parameters import Range
from alaas.strategies.registry import strategy

_Floats = NDArray[np.floating]

_FULL = 1280
"""Parameters of a last layer whose whole Fisher information ``approx: auto`` works with."""

_LEVEL = 1e-9
"""Gains that differ relatively by less are equal: rounding must not order copies of a row."""


def _estimate(sizes: Sizes, params: Mapping[str, Any]) -> Work:
    d = min(sizes.D, params["dimensions"])
    C = 1 if _is_binary(params["approx"], sizes.C, d) else sizes.C
    rows, steps = sizes.N + sizes.M, min(2 * sizes.K, sizes.N)
    projecting = rows * sizes.D * (sizes.D + d) if d < sizes.D else 0
    return Work(
        # In float64, and matrices of C x C at a small share of the rate of large ones.
        flops=4 * projecting
        + 12 * rows * (C * d) ** 2
        + steps * C * (16 * sizes.N * C * d + 600 * sizes.N * (C + 10) + 16 * (C * d) ** 2),
        reads=4 * rows * (sizes.D + sizes.C) + steps * 8 * sizes.N * (d + 6 * C * C),
        memory=8 * (rows * (d + C) + sizes.N * (2 * C * C + 2))
        + 48 * (C * d) ** 2
        + (24 * sizes.D**2 if d < sizes.D else 0)
        + 8 * steps * (d + 2 * C * C)
        + 32 * min(rows * (sizes.D + C * d + 4 * C * C), BLOCK),
    )


@strategy(
    family="gradients",
    aliases=("BAIT", "BaitSampling"),
    cost="O(K N C^2 (D + C) + N C^2 D^2)",
    paper="Ash et al. 2021, arXiv:2106.09675",
    use="Small batches for a linear layer on fixed features, where each label must count.",
    work=_estimate,
)
def bait(
    probs: Probs,
    embeddings: Embeddings,
    budget: int,
    labelled_embeddings: Embeddings | None = None,
    labelled_probs: Probs | None = None,
    *,
    approx: Annotated[
        Literal["auto", "none", "binary"],
        "Fisher information of all classes (none), or of each row's likeliest (binary).",
    ] = "auto",
    dimensions: Annotated[
        int, Range(1, 4096), "Principal directions of the embeddings that are kept."
    ] = 128,
    lamb: Annotated[
        float, Range(1e-6, 1e9), "Information in the prior; small trusts the batch more."
    ] = 1.0,
) -> Picks:
    """The batch after which the last layer predicts the pool with the least variance.

    ``u(x) = tr(M P) - tr((M^-1 + F(x))^-1 P)``, the fall of the expected variance that x
    brings, with P the mean of F over the pool and M^-1 = lamb I + the sum of F over what is
    labelled or picked. F(x) = (diag(p) - p p^T) (x) h h^T is the Fisher information of the
    last layer's C x D weights, the sum over y of g_y g_y^T with
    g_y = sqrt(p_y) (e_y - p) (x) h. As in algorithm 1 of the paper, min(2 K, N) rows are
    picked greedily and then the least missed are put back, one by one, until K are left. The
    sum is as the paper has it; the authors' code divides it by the number of rows.

    Gains of all rows are brought up to date after each pick by Woodbury's identity in
    O(N C^2 D), where evaluating them anew takes D times that.

    Two approximations. If D > `dimensions`, h is projected onto the leading eigenvectors of
    the pool's sum of (1 - p.p) h h^T, the subspace of that size with the most information.
    ``approx="binary"`` takes F(x) = q (1 - q) h h^T with q = max_c p_c, as if the question
    were only whether the likeliest class is right (Huseljic et al. 2024, arXiv:2404.08981);
    with two classes it is exact, for half the `lamb`. ``auto`` is ``none`` up to
    C min(D, dimensions) = 1,280, and ``binary`` above.

    Args:
        probs: (N, C) class probabilities.
        embeddings: (N, D) embeddings of the pool.
        budget: Rows to pick, at most N.
        labelled_embeddings: (M, D) embeddings of what is labelled already.
        labelled_probs: (M, C) class probabilities of the same rows; without both, none count.
        approx: Which Fisher information.
        dimensions: Directions of the embeddings that are kept.
        lamb: Precision of the prior of each weight.

    Returns:
        The rows in the order picked, and the gain >= 0 of each when it was picked: a trace,
        twice the nats by which the expected log loss of the pool falls. Of equal gains the
        lowest row is picked, of equal losses the latest pick put back. A sure row (p one-hot)
        has no information and gains 0.

    Example:
        >>> probs = np.array([[0.5, 0.5], [0.5, 0.5], [1.0, 0.0]])
        >>> points = np.array([[1.0, 0.0], [0.0, 2.0], [0.0, 9.0]])
        >>> rows, gains = bait(probs, points, 2)
        >>> rows.tolist(), gains.round(4).tolist()
        ([1, 0], [0.4444, 0.0556])
    """
    directions = min(embeddings.shape[1], dimensions)
    binary = _is_binary(approx, probs.shape[1], directions)
    basis = _principal(probs, embeddings, directions)
    pool_probs, pool_rows = _classes(probs, binary), _project(embeddings, basis)
    pool = _information(pool_probs, pool_rows)
    pool /= len(probs)
    precision = lamb * np.eye(len(pool))
    if labelled_embeddings is not None and labelled_probs is not None:
        precision += _information(
            _classes(labelled_probs, binary), _project(labelled_embeddings, basis)
        )
    candidates = _Candidates(pool_probs, pool_rows, np.linalg.inv(precision), pool)
    rows, gains = _grow(candidates, min(2 * budget, len(probs)))
    kept = _shrink(candidates.subset(rows), budget)
    return Picks(rows[kept], gains[kept])


def _is_binary(approx: str, C: int, d: int) -> bool:
    return approx == "binary" or (approx == "auto" and C * d > _FULL)


def _grow(candidates: _Candidates, most: int) -> tuple[Rows, _Floats]:
    """Greedily the rows of the highest gain, and these gains."""
    rows, scores = np.empty(most, np.int64), np.empty(most)
    gains = candidates.gains(1)
    for step in range(most):
        best = gains.max()
        row = int(np.flatnonzero(gains >= best - _LEVEL * abs(best))[0])
        rows[step], scores[step] = row, max(0.0, gains[row])
        gains = candidates.update(row, 1)
        gains[rows[: step + 1]] = -np.inf
    return rows, scores


def _shrink(picked: _Candidates, budget: int) -> Rows:
    """Of all picked rows the numbers of those that are left once the least missed are gone."""
    kept = np.ones(len(picked.probs), bool)
    gains = picked.gains(-1)
    for _ in range(len(kept) - budget):
        best = gains[kept].max()
        row = int(np.flatnonzero(kept & (gains >= best - _LEVEL * abs(best)))[-1])
        kept[row] = False
        gains = picked.update(row, -1)
    return np.flatnonzero(kept)


class _Candidates:
    """Rows to add to a design or to take from it, and what each would change.

    With V the gradients of a row, the inverse M of the design turns into
    M - U K U^T, U = M (I (x) h), K = (s I + A a)^-1 A, A = diag(p) - p p^T, s = 1 where the
    row is added and -1 where it is taken. All that a row's gain tr((s I + A a)^-1 A b) needs
    is a = (I (x) h)^T M (I (x) h) and b, the same of M P M: C x C each.
    """

    def __init__(self, probs: _Floats, rows: _Floats, inverse: _Floats, pool: _Floats) -> None:
        self.probs, self._rows, self._inverse, self._pool = probs, rows, inverse, pool
        self._a = _within(rows, inverse)
        self._b = _within(rows, inverse @ pool @ inverse)

    def subset(self, rows: Rows) -> _Candidates:
        """Some of the rows, and a design of their own that is the same so far."""
        subset = _Candidates.__new__(_Candidates)
        subset.probs, subset._rows = self.probs[rows], self._rows[rows]
        subset._inverse, subset._pool = self._inverse, self._pool
        subset._a, subset._b = self._a[rows], self._b[rows]
        return subset

    def gains(self, sign: int) -> _Floats:
        """(N,) fall of the trace if the row were added (1) or taken (-1)."""
        gains = np.empty(len(self.probs))
        for part in self._blocks():
            gains[part] = self._gains_of(part, sign)
        return gains

    def update(self, row: int, sign: int) -> _Floats:
        """Add a row to the design (1) or take it (-1), and return the gains after that."""
        N, C = self.probs.shape
        d = self._rows.shape[1]
        spread = np.diag(self.probs[row]) - np.outer(self.probs[row], self.probs[row])
        kernel = np.linalg.solve(sign * np.eye(C) + spread @ self._a[row], spread)
        kernel = (kernel + kernel.T) / 2
        u = self._inverse.reshape(C * d, C, d) @ self._rows[row]
        pu = self._pool @ u
        r = self._inverse @ pu - u @ (kernel @ (u.T @ pu)) / 2
        self._inverse = self._inverse - u @ kernel @ u.T
        gains = np.empty(N)
        u, r = (_by_direction(both, C, d) for both in (u, r))
        for part in self._blocks():
            h = self._rows[part]
            x = (h @ u).reshape(-1, C, C)
            z = (h @ r).reshape(-1, C, C).swapaxes(1, 2)
            xk = (x.reshape(-1, C) @ kernel).reshape(-1, C, C)
            self._a[part] -= xk @ x.swapaxes(1, 2)
            cross = xk @ z
            self._b[part] -= cross + cross.swapaxes(1, 2)
            gains[part] = self._gains_of(part, sign)
        return gains

    def _blocks(self) -> Iterator[slice]:
        N, C = self.probs.shape
        return blocks(N, 4 * C * C + self._rows.shape[1])

    def _gains_of(self, part: slice, sign: int) -> _Floats:
        p = self.probs[part]
        left, right = _spread(p, self._a[part]), _spread(p, self._b[part])
        diagonal = np.arange(p.shape[1])
        left[:, diagonal, diagonal] += sign
        if p.shape[1] == 1:
            return (right / left)[:, 0, 0]
        traces: _Floats = np.trace(np.linalg.solve(left, right), axis1=1, axis2=2)
        return traces


def _spread(p: _Floats, matrices: _Floats) -> _Floats:
    """(N, C, C) products of diag(p) - p p^T with a matrix a row."""
    means = np.einsum("nc,nck->nk", p, matrices)
    products: _Floats = p[:, :, None] * (matrices - means[:, None, :])
    return products


def _by_direction(stacked: _Floats, C: int, d: int) -> _Floats:
    """(C d, C) turned into (d, C C), to be multiplied by embeddings from the left."""
    return stacked.reshape(C, d, C).swapaxes(0, 1).reshape(d, C * C)


def _within(rows: _Floats, matrix: _Floats) -> _Floats:
    """(N, C, C) quadratic forms of each row's h with the d x d blocks of a symmetric matrix."""
    N, d = rows.shape
    C = len(matrix) // d
    forms = np.empty((N, C, C))
    for part in blocks(N, 2 * d):
        h = rows[part]
        for i in range(C):
            for j in range(i, C):
                product = h @ matrix[i * d : (i + 1) * d, j * d : (j + 1) * d]
                forms[part, i, j] = forms[part, j, i] = np.einsum("nd,nd->n", product, h)
    return forms


def _information(p: _Floats, rows: _Floats) -> _Floats:
    """(C d, C d) sum over rows of (diag(p) - p p^T) (x) h h^T."""
    (N, C), d = p.shape, rows.shape[1]
    total = np.zeros((C * d, C * d))
    diagonal = np.zeros((C, d, d))
    for part in blocks(N, C * d):
        weighted = p[part].T[:, :, None] * rows[part]
        diagonal += weighted.swapaxes(1, 2) @ rows[part]
        flat = weighted.swapaxes(0, 1).reshape(-1, C * d)
        total -= flat.T @ flat
    each = np.arange(C)
    total.reshape(C, d, C, d)[each, :, each, :] += diagonal
    return total


def _classes(probs: Probs, binary: bool) -> _Floats:
    """(N, C) probabilities that sum to 1, or (N, 1) the largest of each row."""
    if binary:
        top: _Floats = probs.max(axis=1, keepdims=True).astype(np.float64)
        return top
    p = probs.astype(np.float64)
    p /= p.sum(axis=1, keepdims=True)
    return p


def _principal(probs: Probs, embeddings: Embeddings, directions: int) -> _Floats | None:
    """(D, d) orthonormal directions with the most information, or None for all there are."""
    D = embeddings.shape[1]
    if directions == D:
        return None
    total = np.zeros((D, D))
    for part in blocks(len(embeddings), D + probs.shape[1]):
        p, h = probs[part].astype(np.float64), embeddings[part].astype(np.float64)
        total += (h * (1 - np.einsum("nc,nc->n", p, p))[:, None]).T @ h
    vectors: _Floats = np.linalg.eigh(total)[1]
    return np.ascontiguousarray(vectors[:, -directions:])


def _project(embeddings: Embeddings, basis: _Floats | None) -> _Floats:
    if basis is None:
        return embeddings.astype(np.float64, order="C")
    projected = np.empty((len(embeddings), basis.shape[1]))
    for part in blocks(*embeddings.shape):
        np.matmul(embeddings[part].astype(np.float64), basis, out=projected[part])
    return projected

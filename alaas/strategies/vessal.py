"""Volume sampling of gradient embeddings in one pass."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Annotated, Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from alaas.core.arrays import Embeddings, Probs
from alaas.core.errors import FieldError, ModelOutputInvalid, ValidationFailed
from alaas.strategies.cost import Sizes, Work
from alaas.strategies.declaration import Picks
from alaas.strategies.parameters import Range
from alaas.strategies.registry import check_params, get, strategy
from alaas.strategies.selection import best
from alaas.strategies.views import check_views

_Floats: TypeAlias = NDArray[np.floating]
_Rates: TypeAlias = Callable[[_Floats, int], _Floats]

_CHUNK = 256
"""Rows whose leverages are taken together, by one matrix product."""

_HORIZON = 100
"""Picks of a stream over which it makes good a surplus or shortfall."""


def _estimate(sizes: Sizes, params: Mapping[str, Any]) -> Work:
    width = min(params["dimensions"], sizes.C * sizes.D)
    factors = sizes.C + sizes.D
    sketch = 2 * width * factors if width < sizes.C * sizes.D else width
    return Work(
        # In float64, at half the rate of float32.
        flops=4 * sizes.N * (sketch + 3 * width**2) + 8 * sizes.K * width * (_CHUNK + width),
        reads=8 * sizes.N * factors,
        memory=40 * sizes.N
        + 40 * width**2
        + 16 * width * factors
        + 8 * _CHUNK * (3 * factors + 5 * width),
    )


@strategy(
    family="gradients",
    aliases=("VeSSAL", "VolumeSampling"),
    cost="O(N G (D + C + G) + K G^2)",
    paper="Saran et al. 2023, arXiv:2303.02535",
    use="Pools too large for BADGE, or streams: one look at each row, whatever the budget.",
    work=_estimate,
)
def vessal(
    probs: Probs,
    embeddings: Embeddings,
    budget: int,
    rng: np.random.Generator,
    *,
    dimensions: Annotated[int, Range(1, 4096), "Numbers that stand for a gradient of C x D."] = 256,
    lamb: Annotated[float, Range(1e-9, 1e9), "Volume of the empty selection."] = 0.01,
    shuffle: Annotated[bool, "Pass over the pool in a random order, not in its own."] = False,
) -> Picks:
    """Rows whose loss gradients widen the volume of those picked, in one pass.

    ``u(x) = g(x)^T A^-1 g(x) / tr(A^-1 S)``, with A = lamb I + the sum of g g^T over what is
    picked so far and S the mean of g g^T over all rows seen so far, x included. The pass picks
    x with the probability min(1, z u(x)), z = (picks left) / (rows left, x included): where
    u(x) is 1, as it is on average, z is the rate that meets the budget (algorithm 1 and
    section 3 of the paper). What the pass leaves open is filled with the refused rows of the
    highest u under the final A and S. While no row seen had a gradient, u is 1.

    The gradient g(x) = (p(x) - e_y) (x) h(x), y the predicted class, has C x D numbers. If
    these are more than `dimensions` = G, random signs stand in for it: with R (C, G) and
    T (D, G) of +1 and -1, g(x) is ((p(x) - e_y) R) * (h(x) T) / sqrt(G), elementwise, whose
    inner products are right on average, with a standard error below sqrt(8 / G) |g| |g'|.

    Args:
        probs: (N, C) class probabilities.
        embeddings: (N, D) embeddings of the pool.
        budget: Rows to pick, at most N.
        rng: Source of the order, if shuffled, of R and T, if needed, and of one uniform
            number a row.
        dimensions: Numbers that stand for a gradient.
        lamb: Times the identity, what A is before the first pick.
        shuffle: Whether the pass takes the rows in a random order.

    Returns:
        The rows, highest u first, and the u >= 0 that each had when it was passed or filled
        in; of equal ones the row passed first.

    Example:
        >>> probs = np.array([[0.5, 0.5], [1.0, 0.0], [1.0, 0.0], [0.5, 0.5]])
        >>> points = np.array([[1.0, 0.0], [3.0, 0.0], [0.0, 3.0], [0.0, 2.0]])
        >>> rows, scores = vessal(probs, points, 1, np.random.default_rng(0))
        >>> rows.tolist(), scores.round(4).tolist()
        ([3], [3.2])
    """
    N = len(probs)
    order = rng.permutation(N) if shuffle else np.arange(N)
    sampler = _Sampler(probs.shape[1], embeddings.shape[1], dimensions, lamb, rng)
    taken, scores = np.zeros(N, bool), np.empty(N)
    draws = rng.random(N)

    def rates(seen: _Floats, picked: int) -> _Floats:
        return (budget - picked) / (N - seen + 1)

    for start in range(0, N, _CHUNK):
        part = slice(start, start + _CHUNK)
        rows = order[part]
        taken[part], scores[part] = sampler.sweep(probs[rows], embeddings[rows], draws[part], rates)
    refused = np.flatnonzero(~taken)
    if sampler.picked < budget:
        for start in range(0, len(refused), _CHUNK):
            some = refused[start : start + _CHUNK]
            scores[some] = sampler.shares(probs[order[some]], embeddings[order[some]])
        taken[refused[best(scores[refused], budget - sampler.picked)]] = True
    at = np.flatnonzero(taken)
    at = at[best(scores[at], budget)]
    return Picks(order[at], scores[at])


class Stream:
    """VeSSAL on an endless stream: takes a share of it, the rows that widen the volume most.

    The rule is that of `vessal`; z steers the share taken so that a surplus or shortfall
    is made good over the next 100 picks. What is taken does not depend on how the stream is
    cut into micro-batches.

    Args:
        rate: Share of the rows to take, above 0 and at most 1.
        lamb: As in `vessal`.
        dimensions: As in `vessal`.
        seed: Seed of the draws.

    Raises:
        ValidationFailed: The rate, `lamb` or `dimensions` is not allowed.

    Example:
        >>> stream = Stream(1.0, seed=0)
        >>> stream.take(np.array([[0.5, 0.5]]), np.array([[1.0]])).tolist()
        [True]
    """

    def __init__(
        self, rate: float, *, lamb: float = 0.01, dimensions: int = 256, seed: int = 0
    ) -> None:
        if not 0 < rate <= 1:
            message = f"rate must be above 0 and at most 1, got {rate!r}"
            raise ValidationFailed(message, errors=[FieldError("/parameters/rate", message)])
        self._rate = rate
        self._params = check_params(get("vessal"), {"lamb": lamb, "dimensions": dimensions})
        self._rng = np.random.default_rng(seed)
        self._sampler: _Sampler | None = None
        self._shape: tuple[int, int] | None = None

    def take(self, probs: Probs, embeddings: Embeddings) -> NDArray[np.bool_]:
        """Which rows of the next micro-batch to label.

        Args:
            probs: (B, C) class probabilities.
            embeddings: (B, D) embeddings.

        Returns:
            (B,) True for the rows taken.

        Raises:
            ModelOutputInvalid: The arrays are no such views, or C or D has changed.
        """
        views = check_views(get("vessal"), {"probs": probs, "embeddings": embeddings})
        probs, embeddings = views["probs"], views["embeddings"]
        shape = probs.shape[1], embeddings.shape[1]
        if self._sampler is None:
            self._shape = shape
            dimensions, lamb = self._params["dimensions"], self._params["lamb"]
            self._sampler = _Sampler(*shape, dimensions, lamb, self._rng)
        if shape != self._shape:
            raise ModelOutputInvalid(
                f"the stream began with C, D = {self._shape}, got a micro-batch of {shape}"
            )
        taken = np.zeros(len(probs), bool)
        for start in range(0, len(probs), _CHUNK):
            part = slice(start, start + _CHUNK)
            draws = self._rng.random(len(probs[part]))
            taken[part], _ = self._sampler.sweep(probs[part], embeddings[part], draws, self._rates)
        return taken

    def _rates(self, seen: _Floats, picked: int) -> _Floats:
        owed = self._rate * (seen - 1) - picked
        return np.clip(self._rate * (1 + owed / _HORIZON), 0.0, 1.0)


class _Sampler:
    """The rows seen and picked so far, as G x G matrices.

    Attributes:
        picked: How many rows were picked.
    """

    def __init__(
        self, C: int, D: int, dimensions: int, lamb: float, rng: np.random.Generator
    ) -> None:
        self._signs: tuple[_Floats, _Floats] | None = None
        width = C * D
        if width > dimensions:
            width = dimensions
            self._signs = _signs(C, width, rng), _signs(D, width, rng) / math.sqrt(width)
        self.picked = self._seen = 0
        self._inverse = np.eye(width) / lamb
        self._second = np.zeros((width, width))

    def sweep(
        self, probs: Probs, embeddings: Embeddings, draws: _Floats, rates: _Rates
    ) -> tuple[NDArray[np.bool_], _Floats]:
        """Pass over the next rows.

        Args:
            probs: (B, C) class probabilities.
            embeddings: (B, D) embeddings.
            draws: (B,) uniform numbers.
            rates: From how many rows are seen, each row included, and how many picked, what
                share is to be taken.

        Returns:
            (B,) which rows are picked, and (B,) the u that each had.
        """
        g = self._gradients(probs, embeddings)
        leverages = np.einsum("bg,bg->b", g @ self._inverse, g)
        seen = self._seen + np.arange(1.0, len(g) + 1)
        taken, shares = np.zeros(len(g), bool), np.empty(len(g))
        before = float(np.vdot(self._inverse, self._second))
        start = 0
        while start < len(g):
            # A pick changes what comes after it, so the rest is looked at again.
            traces = (before + leverages.cumsum()) / seen
            shares[start:] = _ratios(leverages, traces)[start:]
            odds = rates(seen, self.picked) * shares
            hits = np.flatnonzero(draws[start:] < odds[start:])
            if not len(hits):
                break
            row = start + int(hits[0])
            taken[row] = True
            self.picked += 1
            along = self._inverse @ g[row] / math.sqrt(1 + leverages[row])
            self._inverse -= np.outer(along, along)
            before -= float(along @ self._second @ along)
            leverages = np.maximum(leverages - (g @ along) ** 2, 0.0)
            start = row + 1
        self._second += g.T @ g
        self._seen += len(g)
        return taken, shares

    def shares(self, probs: Probs, embeddings: Embeddings) -> _Floats:
        """(B,) the u of rows under the picks and the rows seen so far."""
        g = self._gradients(probs, embeddings)
        trace = np.vdot(self._inverse, self._second) / self._seen
        return _ratios(np.einsum("bg,bg->b", g @ self._inverse, g), np.full(len(g), trace))

    def _gradients(self, probs: Probs, embeddings: Embeddings) -> _Floats:
        """(B, G) gradients p - e_y by h, class after class, or what stands for them."""
        q = probs.astype(np.float64)
        q[np.arange(len(q)), probs.argmax(axis=1)] -= 1
        h = embeddings.astype(np.float64)
        if self._signs is not None:
            return (q @ self._signs[0]) * (h @ self._signs[1])
        return (q[:, :, None] * h[:, None, :]).reshape(len(q), -1)


def _signs(rows: int, columns: int, rng: np.random.Generator) -> _Floats:
    return 2.0 * rng.integers(0, 2, (rows, columns)) - 1.0


def _ratios(leverages: _Floats, traces: _Floats) -> _Floats:
    return np.divide(leverages, traces, out=np.ones(len(traces)), where=traces > 0)

"""What a function's signature and docstring say of the strategy that it is."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, NamedTuple, TypeAlias, get_type_hints

from alaas.core.arrays import Rows, Scores
from alaas.strategies.cost import Sizes, Work
from alaas.strategies.parameters import Param, read_annotation

AXES = {
    "probs": ("N", "C"),
    "embeddings": ("N", "D"),
    "draws": ("N", "T", "C"),
    "grads": ("N", "C"),
    "margins": ("N",),
    "predictions": ("N",),
}
"""The views of the pool that a strategy can need, and their axes."""

MODEL = {"head": ("C", "D + 1")}
"""The views that a pool has one of: what its model is, not what it makes of an item."""

LABELLED = {
    "labelled_embeddings": ("M", "D"),
    "labelled_probs": ("M", "C"),
    "labels": ("M",),
    "targets": ("M",),
}
"""The views of what is labelled already. Those that a strategy can do without default to None."""

VIEWS = {**AXES, **MODEL, **LABELLED}
"""Every view, and its axes."""

RESERVED = ("n", "budget", "rng")
"""What a picker can take beside views: rows in the pool, rows to pick, a seeded generator."""

Estimate: TypeAlias = Callable[[Sizes, Mapping[str, Any]], Work]
"""What a picker will take, from the sizes of the pool and its hyper-parameters."""


class Picks(NamedTuple):
    """What a picker returns.

    Attributes:
        rows: (K,) row numbers, best first, none twice.
        scores: (K,) the score that each row had when it was picked.
    """

    rows: Rows
    scores: Scores


@dataclass(frozen=True, slots=True)
class Strategy:
    """A strategy as it was declared.

    Attributes:
        name: The function's name.
        aliases: Other names of it.
        family: Strategies of one kind share it; the catalogue is grouped by it.
        needs: The views of the pool and of the model that it must be given.
        labelled: The views of what is labelled that it must be given.
        optional: The views of what is labelled that it uses if they are given.
        reserved: What else it takes, of `RESERVED`.
        kind: A *scorer* gives each row a score on its own; a *picker* chooses a set.
        cost: Time, in the axis letters of `alaas.core.arrays` and K for the budget.
        paper: Where it comes from.
        use: One line on when to choose it.
        params: Its hyper-parameters.
        summary: The first line of its docstring.
        floor: The least score that a scorer gives; None where there is no least.
        work: The time and memory that it takes beside its views.
        function: The function.
    """

    name: str
    aliases: tuple[str, ...]
    family: str
    needs: tuple[str, ...]
    labelled: tuple[str, ...]
    optional: tuple[str, ...]
    reserved: tuple[str, ...]
    kind: Literal["scorer", "picker"]
    cost: str
    paper: str
    use: str
    params: tuple[Param, ...]
    summary: str
    floor: float | None
    work: Estimate
    function: Callable[..., Any]


def declare(
    function: Callable[..., Any],
    *,
    family: str,
    aliases: Sequence[str],
    cost: str,
    paper: str,
    use: str,
    floor: float | None,
    work: Estimate | None,
) -> Strategy:
    """Read a strategy from its function.

    Raises:
        TypeError: The function takes something that no strategy can be given, or lacks its
            docstring, family, cost, paper or use; or it is a picker without an estimate of
            its work.
    """
    name = function.__name__
    summary = (inspect.getdoc(function) or "").partition("\n")[0]
    said = {"docstring": summary, "family": family, "cost": cost, "paper": paper, "use": use}
    for what, text in said.items():
        if not text.strip():
            raise TypeError(f"strategy {name}: it has no {what}")
    try:
        signature = _read_signature(function)
        signature.check()
        if work is None and "budget" in signature.reserved:
            raise TypeError("a picker needs `work`, the estimate of its time and memory")
    except (TypeError, ValueError) as error:
        raise TypeError(f"strategy {name}: {error}") from error
    return Strategy(
        name=name,
        aliases=tuple(aliases),
        family=family,
        needs=signature.needs,
        labelled=signature.labelled,
        optional=signature.optional,
        reserved=signature.reserved,
        kind="picker" if "budget" in signature.reserved else "scorer",
        cost=cost,
        paper=paper,
        use=use,
        params=signature.params,
        summary=summary,
        floor=floor,
        work=work or one_pass,
        function=function,
    )


def one_pass(sizes: Sizes, params: Mapping[str, Any]) -> Work:
    """What a scorer takes: one pass over its views, and one number a row."""
    numbers = sizes.N * max(1, sizes.C) * max(1, sizes.T)
    return Work(flops=20 * numbers, reads=4 * numbers, memory=8 * sizes.N)


class _Signature(NamedTuple):
    needs: tuple[str, ...]
    labelled: tuple[str, ...]
    optional: tuple[str, ...]
    reserved: tuple[str, ...]
    params: tuple[Param, ...]

    def check(self) -> None:
        if "budget" in self.reserved:
            if not set(self.needs) & set(AXES) and "n" not in self.reserved:
                raise TypeError("it takes neither a view of the pool nor n, so it knows no rows")
            return
        whole = [*self.reserved, *self.labelled, *self.optional, *(set(self.needs) & set(MODEL))]
        if whole:
            raise TypeError(
                f"it takes {', '.join(whole)} but no budget; a scorer sees one micro-batch "
                "at a time, so only a picker can take that"
            )
        if not self.needs:
            raise TypeError("it takes no view, so it has no rows to score")


def _read_signature(function: Callable[..., Any]) -> _Signature:
    hints = get_type_hints(function, include_extras=True)
    found: dict[str, list[Any]] = {field: [] for field in _Signature._fields}
    for parameter in inspect.signature(function).parameters.values():
        name, default = parameter.name, parameter.default
        known = name in (*AXES, *MODEL, *LABELLED, *RESERVED)
        if parameter.kind is parameter.KEYWORD_ONLY and not known:
            if default is parameter.empty:
                raise TypeError(f"the hyper-parameter {name} has no default")
            found["params"].append(read_annotation(name, hints.get(name), default))
        elif parameter.kind is not parameter.POSITIONAL_OR_KEYWORD or not known:
            raise TypeError(
                f"it takes {parameter}; a positional parameter is a view "
                f"({', '.join((*AXES, *MODEL, *LABELLED))}) or one of {', '.join(RESERVED)}, "
                "and a hyper-parameter is keyword-only"
            )
        elif default is parameter.empty:
            kind = (
                "labelled" if name in LABELLED else "reserved" if name in RESERVED else "needs"
            )  # fmt: skip
            found[kind].append(name)
        elif name in LABELLED and default is None:
            found["optional"].append(name)
        elif name in LABELLED:
            raise TypeError(f"{name} may be missing, so its default must be None")
        else:
            raise TypeError(f"{name} is always given, so it must have no default")
    return _Signature(**{field: tuple(names) for field, names in found.items()})

"""What a function's signature and docstring say of the strategy that it is."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Literal, NamedTuple, get_type_hints

from alaas.core.arrays import Rows, Scores
from alaas.strategies.parameters import Param, read_annotation

AXES = {
    "probs": ("N", "C"),
    "embeddings": ("N", "D"),
    "draws": ("N", "T", "C"),
    "grads": ("N", "G"),
    "margins": ("N",),
}
"""The views that a strategy can need, and their axes."""

LABELLED = {"labelled_embeddings": ("M", "D")}
"""The views that a strategy can use where there are any: rows of what is labelled already."""

RESERVED = ("n", "budget", "rng")
"""What a picker can take beside views: rows in the pool, rows to pick, a seeded generator."""


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
        needs: The views that it must be given.
        optional: The views that it uses if they are given.
        reserved: What else it takes, of `RESERVED`.
        kind: A *scorer* gives each row a score on its own; a *picker* chooses a set.
        cost: Time, in the axis letters of `alaas.core.arrays` and K for the budget.
        paper: Where it comes from.
        params: Its hyper-parameters.
        summary: The first line of its docstring.
        function: The function.
    """

    name: str
    aliases: tuple[str, ...]
    family: str
    needs: tuple[str, ...]
    optional: tuple[str, ...]
    reserved: tuple[str, ...]
    kind: Literal["scorer", "picker"]
    cost: str
    paper: str
    params: tuple[Param, ...]
    summary: str
    function: Callable[..., Any]


def declare(
    function: Callable[..., Any],
    *,
    family: str,
    aliases: Sequence[str],
    cost: str,
    paper: str,
) -> Strategy:
    """Read a strategy from its function.

    Raises:
        TypeError: The function takes something that no strategy can be given, or lacks its
            docstring, family, cost or paper.
    """
    name = function.__name__
    summary = (inspect.getdoc(function) or "").partition("\n")[0]
    said = {"docstring": summary, "family": family, "cost": cost, "paper": paper}
    for what, text in said.items():
        if not text.strip():
            raise TypeError(f"strategy {name}: it has no {what}")
    try:
        needs, optional, reserved, params = _read_signature(function)
        _check_kind(needs, reserved)
    except (TypeError, ValueError) as error:
        raise TypeError(f"strategy {name}: {error}") from error
    return Strategy(
        name=name,
        aliases=tuple(aliases),
        family=family,
        needs=needs,
        optional=optional,
        reserved=reserved,
        kind="picker" if "budget" in reserved else "scorer",
        cost=cost,
        paper=paper,
        params=params,
        summary=summary,
        function=function,
    )


def _read_signature(
    function: Callable[..., Any],
) -> tuple[tuple[str, ...], tuple[str, ...], tuple[str, ...], tuple[Param, ...]]:
    hints = get_type_hints(function, include_extras=True)
    needs: list[str] = []
    optional: list[str] = []
    reserved: list[str] = []
    params: list[Param] = []
    for parameter in inspect.signature(function).parameters.values():
        name, default = parameter.name, parameter.default
        known = name in AXES or name in LABELLED or name in RESERVED
        if parameter.kind is parameter.KEYWORD_ONLY and not known:
            if default is parameter.empty:
                raise TypeError(f"the hyper-parameter {name} has no default")
            params.append(read_annotation(name, hints.get(name), default))
        elif parameter.kind is not parameter.POSITIONAL_OR_KEYWORD or not known:
            raise TypeError(
                f"it takes {parameter}; a positional parameter is a view "
                f"({', '.join((*AXES, *LABELLED))}) or one of {', '.join(RESERVED)}, "
                "and a hyper-parameter is keyword-only"
            )
        elif name in LABELLED:
            if default is not None:
                raise TypeError(f"{name} may be missing, so its default must be None")
            optional.append(name)
        else:
            if default is not parameter.empty:
                raise TypeError(f"{name} is always given, so it must have no default")
            (needs if name in AXES else reserved).append(name)
    return tuple(needs), tuple(optional), tuple(reserved), tuple(params)


def _check_kind(needs: Sequence[str], reserved: Sequence[str]) -> None:
    if "budget" in reserved:
        if not needs and "n" not in reserved:
            raise TypeError("it takes neither a view nor n, so it cannot know the pool")
    elif reserved:
        raise TypeError(
            f"it takes {', '.join(reserved)} but no budget; a scorer sees one micro-batch "
            "at a time, so only a picker can take that"
        )
    elif not needs:
        raise TypeError("it takes no view, so it has no rows to score")

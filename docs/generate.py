"""Write the parts of the documentation that the code knows best.

    python docs/generate.py

fills the space between ``<!-- generated: NAME -->`` and ``<!-- end -->`` in the README and
in the pages beside this file, and writes `openapi.json`. A test compares what is committed
with what this gives.
"""

from __future__ import annotations

import csv
import inspect
import json
import re
import runpy
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import typer
from pydantic import BaseModel

from alaas.cli.app import app
from alaas.config import Preprocessing, PushParameters, QueryParameters, Settings, describe
from alaas.core import errors
from alaas.models.card import ModelCard
from alaas.pipeline.engine import Engine
from alaas.server import http
from alaas.server.errors import grpc_status
from alaas.server.metrics import Metrics
from alaas.server.models import Models
from alaas.server.replicas import Replicas
from alaas.server.service import Service
from alaas.strategies import Param, Strategy, registry
from alaas.strategies.wrappers import COMMON

ROOT = Path(__file__).resolve().parent.parent
AREAS = ROOT / "docs" / "strategies" / "areas.csv"
COSTS = ROOT / "docs" / "strategies" / "costs.csv"
RIVALS = ROOT / "docs" / "strategies" / "rivals.json"
BLOCK = re.compile(r"(?<=<!-- generated: )([\w-]+)( -->\n).*?(?=<!-- end -->)", re.DOTALL)
HEADINGS = ("Args:", "Returns:", "Raises:", "Example:")


def pages() -> dict[Path, str]:
    """Every file with a generated part, with its whole text as it should be."""
    made = {}
    for path in (ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))):
        text = path.read_text(encoding="utf-8")
        if BLOCK.search(text):
            made[path] = BLOCK.sub(lambda found: f"{found[1]}{found[2]}{PARTS[found[1]]()}", text)
    made[ROOT / "openapi.json"] = json.dumps(openapi(), indent=2) + "\n"
    return made


def _table(head: Iterable[str], rows: Iterable[Iterable[object]]) -> str:
    titles = list(head)
    lines = [titles, ["---"] * len(titles), *rows]
    return "".join(
        "| " + " | ".join(str(cell).replace("|", "\\|") for cell in line) + " |\n" for line in lines
    )


def families() -> str:
    """One row a family, with its strategies."""
    return _table(
        ("family", "strategies"),
        ((name, ", ".join(f"`{one.name}`" for one in members)) for name, members in _families()),
    )


def strategy_table() -> str:
    """One row a strategy."""
    return _table(
        ("strategy", "when to choose it", "reads", "family"),
        (
            (f"[{one.name}](#{one.name})", one.use, _quoted(one.needs) or "nothing", one.family)
            for one in registry.strategies()
        ),
    )


def common_parameters() -> str:
    """The hyper-parameters that every strategy has."""
    return _table(
        ("parameter", "default", "allowed", "meaning"),
        ((f"`{one.name}`", f"`{_said(one)}`", one.allowed, one.help) for one in COMMON),
    )


def strategy_sections() -> str:
    """One section a strategy, by family, from its declaration and its docstring."""
    return "\n".join(
        "\n".join([f"## Family: {name}\n", *map(_strategy, members)])
        for name, members in _families()
    )


def _families() -> list[tuple[str, list[Strategy]]]:
    by_name: dict[str, list[Strategy]] = {}
    for one in registry.strategies():
        by_name.setdefault(one.family, []).append(one)
    return sorted(by_name.items())


def _strategy(one: Strategy) -> str:
    reads = _quoted(one.needs) or "nothing of the pool"
    if one.labelled:
        reads += f"; {_quoted(one.labelled)} of what is labelled"
    if one.optional:
        reads += f"; {_quoted(one.optional)} of what is labelled, if given"
    facts = [
        f"- When to choose it: {one.use}",
        f"- Also called {_quoted(one.aliases)}." if one.aliases else "",
        f"- Reads {reads}.",
        f"- Cost: {one.cost}. Source: {one.paper}.",
        *(f"- `{p.name}`: {p.help} Default `{_said(p)}`; {p.allowed}." for p in one.params),
    ]
    picture = f"![Ten picks of {one.name} in the plane](pictures/{one.name}.png)"
    lines = [f"### {one.name}", "", *filter(None, facts), "", picture, ""]
    for heading, text in _sections(inspect.getdoc(one.function) or ""):
        if heading == "Example:":
            lines += ["```pycon", text, "```", ""]
        elif heading == "Args:":
            lines += [f"- {entry}" for entry in _entries(text)] + [""]
        else:
            lines += [f"{heading} {text}".strip(), ""]
    return "\n".join(lines)


def _quoted(names: Iterable[str]) -> str:
    return ", ".join(f"`{name}`" for name in names)


def _said(param: Param) -> str:
    """The default of a hyper-parameter as JSON has it."""
    return json.dumps(param.default)


def _sections(doc: str) -> Iterator[tuple[str, str]]:
    """A Google-style docstring as headings with their texts; the first has no heading."""
    heading, lines = "", list[str]()
    for line in [*doc.splitlines(), "Returns:"]:
        if line in HEADINGS:
            yield heading, inspect.cleandoc("\n".join(lines))
            heading, lines = line, [""]
        else:
            lines.append(line)


def _entries(text: str) -> list[str]:
    """The entries of an ``Args`` section, each on one line."""
    entries: list[str] = []
    for line in text.splitlines():
        if line.startswith(" "):
            entries[-1] += f" {line.strip()}"
        else:
            name, _, rest = line.partition(":")
            entries.append(f"`{name}`:{rest}")
    return entries


def areas() -> str:
    """One row a strategy, one column a situation: what `benchmarks.learning_curves` has found."""
    with AREAS.open(encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    cells = {(row["strategy"], row["situation"]): _area(row) for row in rows}
    situations = list(dict.fromkeys(row["situation"] for row in rows))
    names = list(dict.fromkeys(row["strategy"] for row in rows))
    return _table(
        ("strategy", *(name.replace("_", " ") for name in situations)),
        ((f"`{name}`", *(cells.get((name, one), "") for one in situations)) for name in names),
    )


def _area(row: dict[str, str]) -> str:
    """The gain over a random choice, bold where the interval leaves out 0; or the area itself."""
    gain, half = float(row["gain"]), float(row["interval"])
    if row["strategy"] == "random_sampling":
        return f"{float(row['area']):.1f} %"
    text = f"{gain:+.1f} ± {half:.1f}"
    return f"**{text}**" if abs(gain) > half else text


def costs() -> str:
    """One row a strategy: what `benchmarks.strategies` has found."""
    with COSTS.open(encoding="utf-8") as file:
        rows = {(row["strategy"], int(row["N"])): row for row in csv.DictReader(file)}
    names = list(dict.fromkeys(name for name, _ in rows))
    return _table(
        ("strategy", "100,000 items", "1,000,000 items", "growth", "the machine's limit"),
        (
            (
                f"[{name}](index.md#{name})", _cost(rows.get((name, 100_000))),
                _cost(last := rows.get((name, 1_000_000))),
                f"N^{float(last['growth']):.2f}" if last and last["growth"] else "",
                f"{float(last['limit s']):.2g} s" if last and last["limit s"] else "",
            )
            for name in names
        ),
    )  # fmt: skip


def _cost(row: dict[str, str] | None) -> str:
    if row is None:
        return ""
    if row["outcome"] != "ok":
        return row["outcome"].partition(" (")[0].partition(": ")[0]
    return f"{float(row['seconds']):.3g} s, {float(row['MiB']):.0f} MiB"


def rivals() -> str:
    """One row a comparison: what `benchmarks.rivals` has found."""
    found = json.loads(RIVALS.read_text(encoding="utf-8"))
    return _table(
        ("what", "ours", "the other library", "times as fast: least, median, most"),
        (
            (
                one["what"], f"{one['ours_s']:.3g} s",
                f"{one['rival']}: {one['theirs_s']:.3g} s",
                f"{one['least']:.1f}, **{one['ratio']:.1f}**, {one['most']:.1f}",
            )
            for one in found
        ),
    )  # fmt: skip


def knobs() -> str:
    """Every key of the configuration."""
    return _table(
        ("key", "value", "default", "meaning"),
        ((f"`{one.key}`", one.type, f"`{one.default}`", one.help) for one in describe()),
    )


def parameters() -> str:
    """The parameters of a query."""
    return _parameters(QueryParameters)


def push_parameters() -> str:
    """The parameters of a push."""
    return _parameters(PushParameters)


def _parameters(kind: type[BaseModel]) -> str:
    fields = kind.model_fields.items()
    return _table(
        ("parameter", "default", "meaning"),
        (
            (
                f"`{name}`",
                "required" if field.is_required() else f"`{_json(field)}`",
                field.description,
            )
            for name, field in fields
        ),
    )


def _json(field: Any) -> str:
    return json.dumps(field.get_default(call_default_factory=True, validated_data={}))


def problems() -> str:
    """Every error that a request can end with, by status and code."""
    ours = {kind for kind in vars(errors).values() if isinstance(kind, type)}
    leaves = (kind for kind in ours if issubclass(kind, errors.AlaasError) and not _is_group(kind))
    rows = [
        (error.status, f"`{error.code}`", f"`{grpc_status(error).name}`", _first_line(error), name)
        for error, name in ((kind(""), f"`{kind.__name__}`") for kind in leaves)
    ]
    return _table(("HTTP", "code", "gRPC", "meaning", "Python class"), sorted(rows))


def _is_group(kind: type[errors.AlaasError]) -> bool:
    """Whether no request ends with this class itself."""
    never = (errors.SetupError, errors.ConnectionFailed)
    return bool(kind.__subclasses__()) or issubclass(kind, never)


def _first_line(documented: object) -> str:
    return (inspect.getdoc(documented) or "").partition("\n")[0]


def metrics() -> str:
    """Every figure that `/metrics` has."""
    figures = Metrics([CARD], others=[Replicas(ROOT)])
    named = {f"{one.name}{TOTAL.get(one.type, '')}": one for one in figures.registry.collect()}
    return _table(
        ("metric", "labels", "kind", "meaning"),
        (
            (f"`{name}`", _quoted(figures.labels[name]), one.type, one.documentation)
            for name, one in named.items()
        ),
    )


def faults() -> str:
    """One row a fault: what happens, and the tests that prove it."""
    matrix = runpy.run_path(str(ROOT / "tests" / "faults" / "matrix.py"))
    tests: dict[int, dict[str, list[str]]] = {}
    for proof in matrix["proofs"]():
        for number in proof.rows:
            said = f"{proof.what} (slow)" if proof.slow else proof.what
            tests.setdefault(number, {}).setdefault(proof.file, []).append(said)
    return _table(
        ("", "fault", "what happens", "tests"),
        (
            (
                row.number, row.fault, row.expected,
                "<br>".join(f"`{file}`: {'; '.join(said)}"
                            for file, said in tests.get(row.number, {}).items())
                or f"open: {matrix['OPEN'].get(row.number, 'not tested yet')}",
            )
            for row in matrix["ROWS"]
        ),
    )  # fmt: skip


def commands() -> str:
    """Every command with its arguments and options."""
    return "\n".join(_commands(typer.main.get_command(app), "alaas"))


def _commands(command: Any, name: str) -> Iterator[str]:
    for below in getattr(command, "commands", {}).values():
        yield from _commands(below, f"{name} {below.name}")
    if not hasattr(command, "commands"):
        rows = [(f"`{_usage(one)}`", one.help or "") for one in command.params]
        table = _table(("argument or option", "meaning"), rows)
        yield f"## {name}\n\n{inspect.cleandoc(command.help)}\n\n{table}"


def _usage(parameter: Any) -> str:
    names = ", ".join(parameter.opts) if parameter.param_type_name == "option" else ""
    if getattr(parameter, "is_flag", False):
        return names
    # An option without a word for its value is a choice.
    value = parameter.metavar or "|".join(parameter.type_descriptor.annotation)
    return f"{names} {value}".strip()


def openapi() -> dict[str, Any]:
    """The OpenAPI document. What it describes is never called."""
    engine = cast(Engine, SimpleNamespace(card=CARD))
    return http.create_app(Service(Models([engine]), Settings(), Metrics([CARD]))).openapi()


CARD = ModelCard(
    "", "", "", "", 0, (), 0, Preprocessing(size=(1, 1), mean=(0, 0, 0), std=(1, 1, 1)), ()
)
TOTAL = {"counter": "_total"}
PARTS: dict[str, Callable[[], str]] = {
    "areas": areas,
    "commands": commands,
    "costs": costs,
    "common-parameters": common_parameters,
    "families": families,
    "faults": faults,
    "knobs": knobs,
    "metrics": metrics,
    "parameters": parameters,
    "problems": problems,
    "push-parameters": push_parameters,
    "rivals": rivals,
    "strategies": strategy_sections,
    "strategy-table": strategy_table,
}


def main() -> None:
    """Write every page whose text has changed."""
    for path, text in pages().items():
        if not path.exists() or path.read_text(encoding="utf-8") != text:
            path.write_text(text, encoding="utf-8")
            print(path.relative_to(ROOT))


if __name__ == "__main__":
    main()

"""Write the parts of the documentation that the code knows best.

    python docs/generate.py

fills the space between ``<!-- generated: NAME -->`` and ``<!-- end -->`` in the README and
in the pages beside this file, and writes `openapi.json`. A test compares what is committed
with what this gives.
"""

from __future__ import annotations

import inspect
import json
import re
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any, cast

import typer

from alaas.cli.app import app
from alaas.config import Preprocessing, QueryParameters, Settings, describe
from alaas.core import errors
from alaas.models.card import ModelCard
from alaas.pipeline.engine import Engine
from alaas.server import http
from alaas.server.errors import grpc_status
from alaas.server.metrics import Metrics
from alaas.server.service import Service
from alaas.strategies import Strategy, registry

ROOT = Path(__file__).resolve().parent.parent
BLOCK = re.compile(r"(?<=<!-- generated: )([\w-]+)( -->\n).*?(?=<!-- end -->)", re.DOTALL)
HEADINGS = ("Args:", "Returns:", "Example:")


def pages() -> dict[Path, str]:
    """Every file with a generated part, with its whole text as it should be."""
    made = {}
    for path in (ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))):
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


def strategy_table() -> str:
    """One row a strategy."""
    return _table(
        ("strategy", "also called", "prefers", "reads", "cost"),
        (
            (
                f"`{one.name}`",
                ", ".join(f"`{alias}`" for alias in one.aliases),
                one.summary.rstrip("."),
                ", ".join(f"`{view}`" for view in one.needs) or "nothing",
                one.cost,
            )
            for one in registry.strategies()
        ),
    )


def strategy_sections() -> str:
    """One section a strategy, from its declaration and its docstring."""
    return "\n".join(_strategy(one) for one in registry.strategies())


def _strategy(one: Strategy) -> str:
    facts = [
        f"- Also called {', '.join(f'`{alias}`' for alias in one.aliases)}.",
        f"- Family: {one.family}. Cost: {one.cost}. Source: {one.paper}.",
        *(f"- `{param.name}`: {param.help} Default `{param.default!r}`." for param in one.params),
    ]
    lines = [f"## {one.name}", "", *facts, ""]
    for heading, text in _sections(inspect.getdoc(one.function) or ""):
        if heading == "Example:":
            lines += ["```pycon", text, "```", ""]
        elif heading == "Args:":
            lines += [f"- {entry}" for entry in _entries(text)] + [""]
        else:
            lines += [f"Returns: {text}" if heading else text, ""]
    return "\n".join(lines)


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


def knobs() -> str:
    """Every key of the configuration."""
    return _table(
        ("key", "value", "default", "meaning"),
        ((f"`{one.key}`", one.type, f"`{one.default}`", one.help) for one in describe()),
    )


def parameters() -> str:
    """The parameters of a query."""
    fields = QueryParameters.model_fields.items()
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
    return _table(
        ("metric", "kind", "meaning"),
        (
            (f"`{one.name}{TOTAL.get(one.type, '')}`", one.type, one.documentation)
            for one in Metrics(CARD).registry.collect()
        ),
    )


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
    engine = cast(Engine, None)
    return http.create_app(Service(engine, Settings(), CARD, Metrics(CARD))).openapi()


CARD = ModelCard(
    "", "", "", "", 0, (), 0, Preprocessing(size=(1, 1), mean=(0, 0, 0), std=(1, 1, 1))
)
TOTAL = {"counter": "_total"}
PARTS: dict[str, Callable[[], str]] = {
    "commands": commands,
    "knobs": knobs,
    "metrics": metrics,
    "parameters": parameters,
    "problems": problems,
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

"""The configuration from its four sources: flags, then environment, then file, then defaults."""

from __future__ import annotations

import os
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, TypeAlias

from pydantic import ValidationError

from alaas.config.document import Document, DocumentError, parse
from alaas.config.phrases import did_you_mean, plain, shown
from alaas.config.problems import Problem, dotted, fields, problems, settable, unknown_key
from alaas.config.tree import Settings
from alaas.config.values import Section
from alaas.core.errors import ConfigError

Origin: TypeAlias = Literal["default", "file", "environment", "command line"]
Keys: TypeAlias = tuple[str, ...]

_PREFIX = "ALAAS_"
_FIELDS = dict(fields(Settings))
_SETTABLE = [path for path, field in _FIELDS.items() if settable(field)]
_FREE = [path for path, field in _FIELDS.items() if field.annotation == dict[str, Any]]
_WEIGHTS = ("active_learning", "strategy", "model", "weights")
_PRETRAINED = ("active_learning", "strategy", "model", "kwargs", "pretrained")


@dataclass(frozen=True, slots=True)
class Loaded:
    """A configuration, and where each of its values came from.

    Attributes:
        settings: The whole configuration.
        origins: Dotted key to the source of its value.
    """

    settings: Settings
    origins: Mapping[str, Origin]

    def rows(self) -> Iterator[tuple[str, Any, Origin]]:
        """Every dotted key with its value and its origin, in the order of declaration."""
        for path, value in _leaves(self.settings):
            yield dotted(path), value, self.origins[dotted(path)]


@dataclass(frozen=True, slots=True)
class _Given:
    """One value from outside the file; `name` is what the user wrote."""

    path: Keys
    value: Any
    origin: Origin
    name: str


def load(
    path: Path | str | None = None,
    *,
    overrides: Mapping[str, Any] | None = None,
    environ: Mapping[str, str] = os.environ,
    choices: Mapping[str, Collection[str]] | None = None,
) -> Loaded:
    """Read the configuration.

    Args:
        path: A YAML file; None takes none.
        overrides: Dotted key to value, as flags of the command line give them. They go first;
            None means that the flag was not given.
        environ: The environment. ``ALAAS_FETCH__ROOTS`` is `fetch.roots`; its value is read as
            YAML, an empty one is not read. It goes before the file.
        choices: Dotted key to the names that its value may have, whatever their case and
            separators.

    Raises:
        ConfigError: Something is wrong; one line for each problem, with its file and line.
    """
    document = Document() if path is None else _read(Path(path))
    faults: list[str] = []
    given = [*_from_environment(environ, faults), *_from_flags(overrides or {}, faults)]
    tree: Any = _as_written(document)
    for one in given:
        tree = _put(tree, one.path, one.value)
    settings, found = _validate(tree)
    found += _unknown_names(tree, choices or {})
    faults += [_place(problem, path, document, given) for problem in found]
    if faults or settings is None:
        raise ConfigError("\n".join(faults))
    return Loaded(settings, _origins(settings, document, given))


def _read(path: Path) -> Document:
    try:
        document = parse(path.read_text(encoding="utf-8-sig"))
    except OSError as error:
        raise ConfigError(f"{path}: cannot be read: {error.strerror}") from error
    except UnicodeDecodeError as error:
        raise ConfigError(f"{path}: is not UTF-8: byte {error.start}") from error
    except DocumentError as error:
        lines = [f"{path}:{line}" if line else str(path) for line, _ in error.faults]
        faults = [f"{at}: {reason}" for at, (_, reason) in zip(lines, error.faults, strict=True)]
        raise ConfigError("\n".join(faults)) from error
    if document.value is not None and not isinstance(document.value, dict):
        raise ConfigError(f"{path}: must be a mapping of keys, got {shown(document.value)}")
    return document


def _as_written(document: Document) -> Any:
    """The values of a file, those of text fields as they are written: 1.10, on, 2026-01-31."""
    tree = document.value or {}
    for path, field in _FIELDS.items():
        text = document.text(path) if field.annotation is str else None
        if text and _get(tree, path) is not None:
            tree = _put(tree, path, text)
    return tree


def _from_environment(environ: Mapping[str, str], faults: list[str]) -> Iterator[_Given]:
    """The values that the environment gives.

    ``ALAAS_HOME``, or what Kubernetes sets for a service called alaas, is none of ours: a name
    counts if it has ``__``, or is a key with its dots written as single underscores.
    """
    flat = {"_".join(path): path for path in _FIELDS}
    for name, text in sorted(environ.items()):
        if not name.startswith(_PREFIX) or not text:
            continue
        rest = name.removeprefix(_PREFIX).lower()
        path = tuple(rest.split("__"))
        if path in _SETTABLE or any(path[:-1] == free for free in _FREE):
            try:
                yield _Given(path, _scalar(path, text), "environment", name)
            except DocumentError as error:
                faults.append(f"{name}: {error}")
        elif path in _FIELDS:
            faults.append(f"{name}: is a section of keys; set one, such as {_example(path)}")
        elif "__" in rest:
            faults.append(f"{name}: {unknown_key(Settings, path, full=True)}")
        elif rest in flat:
            faults.append(f"{name}: unknown key; did you mean '{_variable(flat[rest])}'?")


def _scalar(path: Keys, text: str) -> Any:
    field = _FIELDS.get(path)
    return text if field is not None and field.annotation is str else parse(text).value


def _variable(path: Keys) -> str:
    return _PREFIX + "__".join(path).upper()


def _example(section: Keys) -> str:
    return _variable(next(path for path in _SETTABLE if path[: len(section)] == section))


def _from_flags(overrides: Mapping[str, Any], faults: list[str]) -> Iterator[_Given]:
    for key, value in overrides.items():
        path = tuple(key.split("."))
        if path not in _FIELDS and not any(path[:-1] == free for free in _FREE):
            faults.append(f"{key}: {unknown_key(Settings, path, full=True)}")
        elif value is not None:
            yield _Given(path, value, "command line", key)


def _put(tree: Any, path: Keys, value: Any) -> Any:
    """A copy of a tree with one value replaced. What is no mapping stays, to be refused."""
    if not path:
        return value
    if tree is not None and not isinstance(tree, Mapping):
        return tree
    head, *rest = path
    below = {} if tree is None else tree
    return {**below, head: _put(below.get(head), tuple(rest), value)}


def _get(tree: Any, path: Keys) -> Any:
    for part in path:
        tree = tree.get(part) if isinstance(tree, Mapping) else None
    return tree


def _validate(tree: Any) -> tuple[Settings | None, list[Problem]]:
    try:
        return Settings.model_validate(tree), []
    except ValidationError as error:
        return None, problems(error, Settings)


def _unknown_names(tree: Any, choices: Mapping[str, Collection[str]]) -> Iterator[Problem]:
    """The values that are not among the names that they may have."""
    for key, names in choices.items():
        path = tuple(key.split("."))
        value = _get(tree, path)
        if not isinstance(value, str) or plain(value) in map(plain, names):
            continue
        hint = did_you_mean(value, names) or f"; valid are {', '.join(names)}"
        yield Problem(path, f"unknown name {shown(value)}{hint}")


def _place(
    problem: Problem, file: Path | str | None, document: Document, given: list[_Given]
) -> str:
    """The line that reports a problem, beginning with where its value was written."""
    key = dotted(problem.path)
    for one in reversed(given):
        if one.path == problem.path[: len(one.path)]:
            name = key if one.origin == "command line" else one.name
            return f"{name}: {problem.message}"
    line = document.line(problem.path)
    return f"{file}:{line}: {key}: {problem.message}" if line else f"{key}: {problem.message}"


def _leaves(section: Section, above: Keys = ()) -> Iterator[tuple[Keys, Any]]:
    for name in type(section).model_fields:
        value = getattr(section, name)
        if isinstance(value, Section):
            yield from _leaves(value, (*above, name))
        else:
            yield (*above, name), value


def _origins(settings: Settings, document: Document, given: list[_Given]) -> dict[str, Origin]:
    origins = {path: _origin(path, document, given) for path, _ in _leaves(settings)}
    if origins[_WEIGHTS] == "default":
        origins[_WEIGHTS] = origins[_PRETRAINED]
    return {dotted(path): origin for path, origin in origins.items()}


def _origin(path: Keys, document: Document, given: list[_Given]) -> Origin:
    for one in reversed(given):
        shared = min(len(path), len(one.path))
        if path[:shared] == one.path[:shared]:
            return one.origin
    return "file" if document.has(path) else "default"

"""A YAML text as plain values that remember their lines.

Read with PyYAML's safe loader, and narrower: no tags but those of plain values, keys are
text, a key comes once, aliases cannot make a small text large, dates stay text.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import yaml

from alaas.config.phrases import shown

_STANDARD = "tag:yaml.org,2002:"
_SCALARS = {_STANDARD + kind for kind in ("null", "bool", "int", "float", "str")}
_MOST_VALUES = 100_000


class _Loader(yaml.SafeLoader):
    """Resolves no dates, and no ``<<``, whose expansion has no bound."""

    yaml_implicit_resolvers = {  # noqa: RUF012 - declared so by PyYAML
        first: [(tag, pattern) for tag, pattern in resolvers if tag in _SCALARS]
        for first, resolvers in yaml.SafeLoader.yaml_implicit_resolvers.items()
    }


class DocumentError(Exception):
    """The text cannot be read.

    Attributes:
        faults: Line (from 1, or None where it is unknown) and reason, in order.
    """

    def __init__(self, faults: Sequence[tuple[int | None, str]]) -> None:
        super().__init__("; ".join(reason for _, reason in faults))
        self.faults = tuple(faults)


@dataclass(frozen=True)
class Document:
    """A YAML text that was read.

    Attributes:
        value: Its plain value: null, truth value, number, text, list or mapping.
    """

    value: Any = None
    _root: yaml.Node | None = field(default=None, repr=False)

    def line(self, path: Sequence[str]) -> int | None:
        """Line of a key, from 1; where it is absent, that of the section it would be in."""
        found = self._walk(path)
        return found[-1][0].start_mark.line + 1 if found else None

    def has(self, path: Sequence[str]) -> bool:
        """Whether the text names this key."""
        return len(self._walk(path)) == len(path)

    def text(self, path: Sequence[str]) -> str | None:
        """A scalar as it is written, so that ``1.10`` keeps its zero."""
        found = self._walk(path)
        node = found[-1][1] if found and len(found) == len(path) else None
        return node.value if isinstance(node, yaml.ScalarNode) else None

    def _walk(self, path: Sequence[str]) -> list[tuple[yaml.Node, yaml.Node]]:
        """Nodes of the keys along a path and of their values, as far as it goes."""
        found: list[tuple[yaml.Node, yaml.Node]] = []
        node = self._root
        for part in path:
            pairs = node.value if isinstance(node, yaml.MappingNode) else ()
            pair = next((pair for pair in pairs if pair[0].value == part), None)
            if pair is None:
                break
            found.append(pair)
            node = pair[1]
        return found


def parse(text: str) -> Document:
    """Read a YAML text.

    Raises:
        DocumentError: It is not YAML, or not of the narrow kind that this module reads.

    Example:
        >>> parse("port: 8081").value
        {'port': 8081}
    """
    try:
        loader = _Loader(text)
        root = loader.get_single_node()
        builder = _Builder(loader)
        value = None if root is None else builder.build(root)
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        reason = " ".join(filter(None, (error.context, error.problem)))
        raise DocumentError(
            [(mark.line + 1 if mark else None, f"not valid YAML: {reason}")]
        ) from None
    except yaml.YAMLError as error:
        reason = str(getattr(error, "reason", "unreadable"))
        raise DocumentError([(None, f"not valid YAML: {reason}")]) from None
    except RecursionError:
        raise DocumentError([(None, "is nested too deeply")]) from None
    if builder.faults:
        raise DocumentError(builder.faults)
    return Document(value, root)


class _Builder:
    """Makes plain values of nodes. A node that aliases share is made once."""

    def __init__(self, loader: _Loader) -> None:
        self.faults: list[tuple[int | None, str]] = []
        self._loader = loader
        self._made: dict[int, tuple[Any, int]] = {}
        self._open: set[int] = set()

    def build(self, root: yaml.Node) -> Any:
        value, size = self._make(root)
        if size > _MOST_VALUES:
            self.faults.append((None, f"its aliases expand to more than {_MOST_VALUES} values"))
        return value

    def _make(self, node: yaml.Node) -> tuple[Any, int]:
        """The value of a node, and how many values it has with its aliases written out."""
        if id(node) in self._made:
            return self._made[id(node)]
        if id(node) in self._open:
            return self._refuse(node, "an alias refers to what it is in")
        self._open.add(id(node))
        made = (
            self._collection(node) if isinstance(node, yaml.CollectionNode) else self._scalar(node)
        )
        self._open.remove(id(node))
        self._made[id(node)] = made
        return made

    def _collection(self, node: yaml.CollectionNode) -> tuple[Any, int]:
        if node.tag == _STANDARD + "seq" and isinstance(node, yaml.SequenceNode):
            items = [self._make(item) for item in node.value]
            return [value for value, _ in items], 1 + sum(size for _, size in items)
        if node.tag == _STANDARD + "map" and isinstance(node, yaml.MappingNode):
            return self._mapping(node)
        return self._refuse(node, f"the tag {shown(node.tag)} is not allowed")

    def _mapping(self, node: yaml.MappingNode) -> tuple[Any, int]:
        values: dict[str, Any] = {}
        total = 1
        for key, item in node.value:
            if not isinstance(key, yaml.ScalarNode) or key.tag not in _SCALARS:
                self._refuse(key, "a key must be text")
                continue
            if key.value in values:
                self._refuse(key, f"the key {shown(key.value)} is there twice")
                continue
            values[key.value], size = self._make(item)
            total += size
        return values, total

    def _scalar(self, node: yaml.Node) -> tuple[Any, int]:
        if node.tag not in _SCALARS:
            return self._refuse(node, f"the tag {shown(node.tag)} is not allowed")
        try:
            return self._loader.construct_object(node), 1
        except (ValueError, LookupError):  # such as `!!int x`, or a number of 5,000 digits
            return self._refuse(node, f"{shown(node.value)} is not a {node.tag.rpartition(':')[2]}")

    def _refuse(self, node: yaml.Node, reason: str) -> tuple[None, int]:
        self.faults.append((node.start_mark.line + 1, reason))
        return None, 1

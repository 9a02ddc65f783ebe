"""Reading YAML from people one does not know: plain data in YAML 1.2's core schema, every mistake one line.

PyYAML parses. What could do harm or be read as something else than it says is refused: anchors and aliases (a file of a
few hundred bytes can stand for gigabytes), tags, keys that appear twice, several documents.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import yaml

from uarch.errors import InputError
from uarch.files.reading import one_line, read_text

_CORE_SCHEMA = {
    "null": (r"~|null|Null|NULL|", ("~", "n", "N", "")),
    "bool": (r"true|True|TRUE|false|False|FALSE", tuple("tTfF")),
    "int": (r"[-+]?(0|[1-9][0-9]*)", tuple("-+0123456789")),
    "float": (
        r"[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?|[-+]?\.(inf|Inf|INF)|\.(nan|NaN|NAN)",
        tuple("-+.0123456789"),
    ),
}
"""Plain scalars that are no text, by tag: their form and the characters that they begin with.

PyYAML's own rules are those of YAML 1.1, by which ``no`` is false, ``1e3`` a text and ``010`` eight.
"""


class _Loader(yaml.SafeLoader):
    """A loader that constructs mappings, lists, texts, numbers, booleans and None, and refuses everything else."""

    def compose_node(self, parent: yaml.Node | None, index: int) -> yaml.Node | None:
        """Compose the next node unless it is an alias, or has an anchor or a tag of its own."""
        event = self.peek_event()  # type: ignore[no-untyped-call]
        if isinstance(event, yaml.AliasEvent) or getattr(event, "anchor", None) is not None:
            raise yaml.MarkedYAMLError(problem="anchors and aliases are not read", problem_mark=event.start_mark)
        if getattr(event, "tag", None) is not None:
            raise yaml.MarkedYAMLError(problem="tags are not read", problem_mark=event.start_mark)
        return super().compose_node(parent, index)

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        """Construct a mapping from texts, each of which may appear once."""
        mapping: dict[Any, Any] = {}
        for key, value in node.value:
            if not isinstance(key, yaml.ScalarNode):
                raise yaml.MarkedYAMLError(problem="a key must be a text", problem_mark=key.start_mark)
            if key.value in mapping:
                raise yaml.MarkedYAMLError(problem=f"{key.value!r} appears twice", problem_mark=key.start_mark)
            mapping[key.value] = self.construct_object(value, deep=True)
        return mapping


_Loader.yaml_implicit_resolvers = {}
for _tag, (_form, _first) in _CORE_SCHEMA.items():
    _Loader.add_implicit_resolver(f"tag:yaml.org,2002:{_tag}", re.compile(f"^(?:{_form})$"), list(_first))


def read_yaml(path: Path) -> Any:
    """Contents of a YAML file: mappings, lists, texts, numbers, booleans and None.

    Raises :class:`uarch.InputError`, with the line, for a file that cannot be read, is no YAML, or uses more than plain data.
    """
    text, where = read_text(path), one_line(str(path))
    try:
        return yaml.load(text, _Loader)
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        line = f"line {mark.line + 1}: " if mark is not None else ""
        raise InputError(f"{where}: {line}{one_line(error.problem or 'not valid YAML')}") from error
    except (yaml.YAMLError, ValueError, RecursionError) as error:  # ValueError: an integer of thousands of digits
        raise InputError(f"{where}: not valid YAML: {one_line(str(error))}") from error

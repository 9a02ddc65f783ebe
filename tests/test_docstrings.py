"""A docstring makes sense where it is shown alone: in an editor, in ``help()``."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PACKAGES = ("uarch", "kernels", "workloads", "results")
FRAGMENT = re.compile(r"(Of|It|Its|The same|So|Which|As)\b")
"""Openings that refer to a line above, which is not shown."""


def docstrings(path: Path) -> Iterator[tuple[int, str]]:
    """Line and text of each docstring, those below constants and fields included."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        body = getattr(node, "body", None)
        for statement in body if isinstance(body, list) else []:
            match statement:
                case ast.Expr(value=ast.Constant(value=str(text))):
                    yield statement.lineno, text


@pytest.mark.parametrize("package", PACKAGES)
def test_no_docstring_begins_with_a_word_that_refers_to_another_line(package: str) -> None:
    fragments = [
        f"{path.relative_to(ROOT)}:{line}: {text.splitlines()[0]}"
        for path in sorted((ROOT / package).rglob("*.py"))
        for line, text in docstrings(path)
        if FRAGMENT.match(text)
    ]
    assert fragments == []

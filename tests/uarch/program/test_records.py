"""Fields of struct arrays: compiled code names only those that some dtype has, which no type checker sees."""

from __future__ import annotations

import ast
import importlib
import pkgutil
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

import kernels
import uarch

COMPILED = {"inline", "kernel", "loop_kernel", "sub_kernel", "by_type"}
"""Decorators of :mod:`uarch.jit` whose functions Numba compiles."""
MODULES = [
    module.name
    for package in (uarch, kernels)
    for module in pkgutil.walk_packages(package.__path__, f"{package.__name__}.")
    if not module.ispkg and ".commands" not in module.name and not module.name.endswith("__main__")
]


def known_fields() -> set[str]:
    """Names of the fields of all dtypes that are attributes of a module."""
    values = [value for name in MODULES for value in vars(importlib.import_module(name)).values()]
    return {field for value in values if isinstance(value, np.dtype) and value.names for field in value.names}


def named_fields(source: str) -> Iterator[tuple[int, str]]:
    """Line and name of each ``x["name"]`` in a function that is compiled."""
    for function in ast.walk(ast.parse(source)):
        if isinstance(function, ast.FunctionDef) and any(
            _decorator(each) in COMPILED for each in function.decorator_list
        ):
            for node in ast.walk(function):
                key = node.slice if isinstance(node, ast.Subscript) else None
                if isinstance(key, ast.Constant) and isinstance(key.value, str):
                    yield key.lineno, key.value


def _decorator(node: ast.expr) -> str:
    called = node.func if isinstance(node, ast.Call) else node
    return called.id if isinstance(called, ast.Name) else ""


@pytest.mark.once("reads sources")
def test_compiled_code_names_fields_that_exist() -> None:
    known, seen = known_fields(), 0
    for name in MODULES:
        path = Path(str(importlib.import_module(name).__file__))
        fields = list(named_fields(path.read_text("utf-8")))
        seen += len(fields)
        assert [(name, line, field) for line, field in fields if field not in known] == []
    assert seen > 300


def test_a_misspelt_field_would_be_found() -> None:
    source = '@inline\ndef f(x: StructArray) -> int:\n    return x["redy_ps"]\n\ndef g(x):\n    return x["anything"]\n'
    assert list(named_fields(source)) == [(3, "redy_ps")]
    assert "redy_ps" not in known_fields()

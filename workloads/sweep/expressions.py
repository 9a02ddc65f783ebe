"""Simple expressions of named fields, such as ``core.count * core.lanes <= 600``: parsed, checked and never run as code."""

from __future__ import annotations

import ast
import math
import operator
from collections.abc import Callable, Iterator, Mapping
from functools import cache
from typing import Any, Final

from uarch.errors import InputError

Value = bool | int | float | str
Lookup = Callable[[str], Value]
"""Value of a dotted name."""

LONGEST: Final = 1000
"""Characters of an expression, at most."""
_LARGEST_EXACT = 2.0**53


def _power(base: Any, exponent: Any) -> float | int:
    """Raise in floating point, where a huge result is an error instead of a huge integer; whole results are integers."""
    result = float(base) ** float(exponent)
    if isinstance(result, complex):
        raise ValueError("a root of a negative number")
    return int(result) if result.is_integer() and abs(result) < _LARGEST_EXACT else result


_BINARY: Mapping[type[ast.AST], Callable[[Any, Any], Any]] = {
    ast.Add: operator.add,
    ast.Sub: operator.sub,
    ast.Mult: operator.mul,
    ast.Div: operator.truediv,
    ast.FloorDiv: operator.floordiv,
    ast.Mod: operator.mod,
    ast.Pow: _power,
}
_UNARY: Mapping[type[ast.AST], Callable[[Any], Any]] = {
    ast.USub: operator.neg,
    ast.UAdd: operator.pos,
    ast.Not: operator.not_,
}
_COMPARISONS: Mapping[type[ast.AST], Callable[[Any, Any], bool]] = {
    ast.Lt: operator.lt,
    ast.LtE: operator.le,
    ast.Gt: operator.gt,
    ast.GtE: operator.ge,
    ast.Eq: operator.eq,
    ast.NotEq: operator.ne,
}
FUNCTIONS: Mapping[str, Callable[..., Any]] = {
    "abs": abs,
    "ceil": math.ceil,
    "floor": math.floor,
    "log2": math.log2,
    "max": max,
    "min": min,
    "round": round,
    "sqrt": math.sqrt,
}
"""Functions that an expression may call."""
_ALLOWED = (
    f"numbers, texts, dotted names, + - * / // % **, comparisons, and, or, not, A if B else C, {', '.join(FUNCTIONS)}"
)


class Expression:
    """A parsed expression.

    Parameters
    ----------
    text
        Expression in Python's syntax.

    Raises
    ------
    InputError
        The text is no expression, or has anything but names, constants, arithmetic, comparisons and known functions.

    Examples
    --------
    >>> area = Expression("core.count * 2 + spare")
    >>> area.names
    ('core.count', 'spare')
    >>> area.value({"core.count": 100, "spare": 4}.__getitem__)
    204
    """

    def __init__(self, text: str) -> None:
        self.text = " ".join(text.split())
        if len(self.text) > LONGEST:
            raise InputError(f"expression {self.text[:40]!r}...: {len(self.text)} characters; allowed: {LONGEST}")
        try:
            self._tree = ast.parse(self.text, mode="eval").body
            self.names: tuple[str, ...] = tuple(dict.fromkeys(_names(self._tree, self.text)))
        except (SyntaxError, ValueError, RecursionError, MemoryError) as error:
            if isinstance(error, InputError):
                raise
            raise InputError(f"expression {self.text!r}: not an expression; allowed: {_ALLOWED}") from error

    def value(self, lookup: Lookup) -> Value:
        """Value of the expression where ``lookup`` gives that of each name.

        Raises
        ------
        InputError
            The arithmetic has no result, such as a division by zero.
        """
        try:
            result: Value = _value(self._tree, lookup)
        except (ArithmeticError, TypeError, ValueError, RecursionError) as error:
            if isinstance(error, InputError):
                raise
            raise InputError(f"expression {self.text!r}: has no value: {error}") from error
        if isinstance(result, float) and not math.isfinite(result):
            raise InputError(f"expression {self.text!r}: has no finite value")
        return result


@cache
def parsed(text: str) -> Expression:
    """Expression of a text, parsed once."""
    return Expression(text)


def _names(node: ast.AST, text: str) -> Iterator[str]:
    """Dotted names below a node, in order; :class:`InputError` for what an expression must not have."""
    if isinstance(node, ast.Name | ast.Attribute):
        yield _dotted(node, text)
    elif isinstance(node, ast.Constant) and isinstance(node.value, bool | int | float | str):
        return
    elif isinstance(node, ast.BinOp) and type(node.op) in _BINARY:
        yield from _names(node.left, text)
        yield from _names(node.right, text)
    elif isinstance(node, ast.UnaryOp) and type(node.op) in _UNARY:
        yield from _names(node.operand, text)
    elif isinstance(node, ast.BoolOp):
        for each in node.values:
            yield from _names(each, text)
    elif isinstance(node, ast.IfExp):
        for each in (node.test, node.body, node.orelse):
            yield from _names(each, text)
    elif isinstance(node, ast.Compare) and all(type(each) in _COMPARISONS for each in node.ops):
        for each in (node.left, *node.comparators):
            yield from _names(each, text)
    elif isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id in FUNCTIONS:
        if node.keywords or not node.args:
            raise InputError(f"expression {text!r}: {node.func.id} is allowed with values alone, at least one")
        for each in node.args:
            yield from _names(each, text)
    else:
        raise InputError(f"expression {text!r}: {ast.unparse(node)!r} is not allowed; allowed: {_ALLOWED}")


def _dotted(node: ast.AST, text: str) -> str:
    if isinstance(node, ast.Name):
        return node.id
    if isinstance(node, ast.Attribute):
        return f"{_dotted(node.value, text)}.{node.attr}"
    raise InputError(f"expression {text!r}: {ast.unparse(node)!r} has no fields; allowed: {_ALLOWED}")


def _value(node: ast.AST, lookup: Lookup) -> Any:
    match node:
        case ast.Constant():
            return node.value
        case ast.BinOp():
            left, right = _value(node.left, lookup), _value(node.right, lookup)
            if isinstance(left, str) or isinstance(right, str):
                raise TypeError("texts have no arithmetic")
            return _BINARY[type(node.op)](left, right)
        case ast.UnaryOp():
            return _UNARY[type(node.op)](_value(node.operand, lookup))
        case ast.BoolOp():
            decide = all if isinstance(node.op, ast.And) else any
            return decide(_value(each, lookup) for each in node.values)
        case ast.Compare():
            values = [_value(each, lookup) for each in (node.left, *node.comparators)]
            return all(_COMPARISONS[type(op)](a, b) for op, a, b in zip(node.ops, values[:-1], values[1:], strict=True))
        case ast.IfExp():
            return _value(node.body if _value(node.test, lookup) else node.orelse, lookup)
        case ast.Call():
            assert isinstance(node.func, ast.Name)
            return FUNCTIONS[node.func.id](*(_value(each, lookup) for each in node.args))
        case _:
            return lookup(_dotted(node, ""))

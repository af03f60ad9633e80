"""Expressions of constraints, such as ``feed_forward >= 2 * width``: a part of Python's syntax.

They have names, numbers, texts in quotes, ``+ - * / // % **``, comparisons, ``and``, ``or``,
``not`` and parentheses, and nothing else: Python's parser reads them, but no Python is run.
"""

from __future__ import annotations

import ast
import operator
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from enum import Enum
from typing import Any

TEXTS = ("quantisation", "pruning", "activation", "checkpoint")
"""Names of a search file that stand for a text; all others stand for a number."""
ALLOWED = (
    "names, numbers, texts in quotes, + - * / // % **, comparisons, and, or, not and parentheses"
)
LONGEST = 300
LARGEST = 1e300
"""Of the numbers that an expression may have."""

Values = Mapping[str, Any]
"""The value of each name."""


class Kind(Enum):
    """What a part of an expression stands for."""

    NUMBER = "a number"
    TEXT = "a text"
    TRUTH = "true or false"


@dataclass(frozen=True)
class _Part:
    """A part of an expression, and how it is evaluated."""

    kind: Kind
    evaluate: Callable[[Values], Any]


_ARITHMETIC: dict[type[ast.AST], Callable[[Any, Any], Any]] = {
    ast.Add: operator.add,
    ast.Sub: operator.sub,
    ast.Mult: operator.mul,
    ast.Div: operator.truediv,
    ast.FloorDiv: operator.floordiv,
    ast.Mod: operator.mod,
    ast.Pow: operator.pow,
}
_EQUALITIES: dict[type[ast.AST], Callable[[Any, Any], bool]] = {
    ast.Eq: operator.eq,
    ast.NotEq: operator.ne,
}
_COMPARISONS = _EQUALITIES | {
    ast.Lt: operator.lt,
    ast.LtE: operator.le,
    ast.Gt: operator.gt,
    ast.GtE: operator.ge,
}


class Expression:
    """A condition over names.

    Args:
        text: It, as a person writes it.
        texts: Names that stand for a text.

    Raises:
        ValueError: It is too long, holds something else than is allowed, or is no condition.
    """

    def __init__(self, text: str, texts: Collection[str] = TEXTS) -> None:
        if len(text) > LONGEST:
            raise ValueError(f"has {len(text):,} characters; the maximum is {LONGEST}")
        self.text = text
        self._texts = texts
        self._names: set[str] = set()
        self._compared: set[tuple[str, str]] = set()
        try:
            self._condition = self._part(ast.parse(text.strip(), mode="eval").body, Kind.TRUTH)
        except SyntaxError as error:
            raise ValueError(f"cannot be read: {error.msg}; allowed are {ALLOWED}") from None
        except (RecursionError, MemoryError):
            raise ValueError("is nested too deeply") from None

    @property
    def names(self) -> frozenset[str]:
        """The names in it."""
        return frozenset(self._names)

    @property
    def compared(self) -> frozenset[tuple[str, str]]:
        """Names of texts, each with a text that it is compared with."""
        return frozenset(self._compared)

    def holds(self, values: Values) -> bool:
        """Whether it holds for some values of its names.

        It does not where it has no value: after a division by zero, a root of a negative number, or
        an overflow.
        """
        try:
            return bool(self._condition.evaluate(values))
        except (ArithmeticError, TypeError):
            return False

    def _part(self, node: ast.expr, kind: Kind) -> _Part:
        """A part that has to be of some kind."""
        part = self._any_part(node)
        if part.kind is not kind:
            raise ValueError(f"{ast.unparse(node)!r} is {part.kind.value}; it must be {kind.value}")
        return part

    def _any_part(self, node: ast.expr) -> _Part:
        match node:
            case ast.Name(id=name):
                return self._name(name)
            case ast.Attribute(value=ast.Name(id=section), attr=name):
                return self._name(f"{section}.{name}")
            case ast.Constant(value=int() | float() as number) if _is_allowed(number):
                constant = float(number)
                return _Part(Kind.NUMBER, lambda values: constant)
            case ast.Constant(value=str() as text):
                return _Part(Kind.TEXT, lambda values: text)
            case ast.BinOp(left=left, op=op, right=right) if type(op) in _ARITHMETIC:
                return _both(
                    Kind.NUMBER,
                    _ARITHMETIC[type(op)],
                    self._part(left, Kind.NUMBER),
                    self._part(right, Kind.NUMBER),
                )
            case ast.UnaryOp(op=ast.USub(), operand=operand):
                inner = self._part(operand, Kind.NUMBER).evaluate
                return _Part(Kind.NUMBER, lambda values: -inner(values))
            case ast.UnaryOp(op=ast.Not(), operand=operand):
                inner = self._part(operand, Kind.TRUTH).evaluate
                return _Part(Kind.TRUTH, lambda values: not inner(values))
            case ast.BoolOp(op=op, values=operands):
                parts = [self._part(each, Kind.TRUTH).evaluate for each in operands]
                joined = all if isinstance(op, ast.And) else any
                return _Part(Kind.TRUTH, lambda values: joined(each(values) for each in parts))
            case ast.Compare(left=left, ops=ops, comparators=rights):
                pairs = zip([left, *rights], ops, rights, strict=False)
                parts = [self._comparison(*pair).evaluate for pair in pairs]
                return _Part(Kind.TRUTH, lambda values: all(each(values) for each in parts))
        raise ValueError(f"{ast.unparse(node)!r} is not allowed; allowed are {ALLOWED}")

    def _name(self, name: str) -> _Part:
        self._names.add(name)
        if name in self._texts:
            return _Part(Kind.TEXT, lambda values: str(values[name]))
        return _Part(Kind.NUMBER, lambda values: float(values[name]))

    def _comparison(self, left: ast.expr, op: ast.cmpop, right: ast.expr) -> _Part:
        one, other = self._any_part(left), self._any_part(right)
        if Kind.TEXT not in (one.kind, other.kind):
            one, other = self._part(left, Kind.NUMBER), self._part(right, Kind.NUMBER)
            if type(op) in _COMPARISONS:
                return _both(Kind.TRUTH, _COMPARISONS[type(op)], one, other)
        elif one.kind is other.kind and type(op) in _EQUALITIES:
            match sorted((left, right), key=lambda each: isinstance(each, ast.Constant)):
                case ast.Name(id=name), ast.Constant(value=str() as text):
                    self._compared.add((name, text))
            return _both(Kind.TRUTH, _EQUALITIES[type(op)], one, other)
        shown = ast.unparse(ast.Compare(left, [op], [right]))
        raise ValueError(
            f"{shown!r} is not allowed: numbers are compared with == != < <= > >=, "
            "texts with == and !="
        )


def _is_allowed(number: float) -> bool:
    return not isinstance(number, bool) and abs(number) <= LARGEST


def _both(kind: Kind, function: Callable[[Any, Any], Any], one: _Part, other: _Part) -> _Part:
    left, right = one.evaluate, other.evaluate
    return _Part(kind, lambda values: function(left(values), right(values)))

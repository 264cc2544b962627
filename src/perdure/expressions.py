"""Conditions on the columns of a table, as text: which rows belong to a slice.

A small language, read with `ast` and worked out node by node: nothing of the text is run. It has
names of columns (in backticks where they are no identifiers), numbers, texts, `True`, `False`;
`+ - * /`; `== != < <= > >=`, `in` and `not in` with a list; `and`, `or`, `not`; parentheses. A
missing value makes a comparison false, `!=` and `not in` too.
"""

from __future__ import annotations

import ast
import operator
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import numpy as np
    import pandas as pd
    from numpy.typing import NDArray

_LONGEST = 1000
_QUOTED = re.compile(r"""'(?:\\.|[^'\\])*'|"(?:\\.|[^"\\])*"|`([^`]*)`""")
_COMPARISONS: Mapping[type[ast.cmpop], Callable[[Any, Any], Any]] = {
    ast.Eq: operator.eq,
    ast.NotEq: operator.ne,
    ast.Lt: operator.lt,
    ast.LtE: operator.le,
    ast.Gt: operator.gt,
    ast.GtE: operator.ge,
}
_ARITHMETIC: Mapping[type[ast.operator], Callable[[Any, Any], Any]] = {
    ast.Add: operator.add,
    ast.Sub: operator.sub,
    ast.Mult: operator.mul,
    ast.Div: operator.truediv,
}


@dataclass(frozen=True)
class Condition:
    """A parsed condition."""

    text: str
    columns: tuple[str, ...]
    """The columns that it names."""
    tree: ast.expr
    names: Mapping[str, str]
    """Names in the tree that stand for a column in backticks."""

    def rows(self, frame: pd.DataFrame) -> NDArray[np.bool_]:
        """Which rows of a table fulfil the condition, (rows,).

        Raises:
            ValueError: A column is missing, or its values do not suit the comparison.
        """
        import numpy as np

        missing = [name for name in self.columns if name not in frame.columns]
        if missing:
            known = ", ".join(str(name) for name in frame.columns if not str(name).startswith("_"))
            raise ValueError(f"there is no column {missing[0]!r}; there are: {known}")
        columns = {name: frame[name].to_numpy() for name in self.columns}
        with np.errstate(divide="ignore", invalid="ignore", over="ignore"):
            return np.asarray(_truth(self.tree, columns, self.names, len(frame)))


def parse(text: str) -> Condition:
    """Parse a condition.

    Raises:
        ValueError: It is none; says what is not allowed.
    """
    if len(text) > _LONGEST:
        raise ValueError(f"has {len(text)} characters; the most is {_LONGEST}")
    names: dict[str, str] = {}

    def quoted(match: re.Match[str]) -> str:
        if match[1] is None:
            return match[0]
        name = f"_column_{len(names)}_"
        names[name] = match[1]
        return name

    plain = _QUOTED.sub(quoted, text)
    try:
        tree = ast.parse(plain.strip(), mode="eval").body
        _condition(tree)
    except (SyntaxError, RecursionError, MemoryError) as error:
        raise ValueError(f"is no condition: {getattr(error, 'msg', error)}") from error
    found = dict.fromkeys(n.id for n in ast.walk(tree) if isinstance(n, ast.Name))
    columns = tuple(dict.fromkeys(names.get(name, name) for name in found))
    if not columns:
        raise ValueError("names no column")
    return Condition(text, columns, tree, names)


def _condition(node: ast.expr) -> None:
    """Check that a node is true or false of a row."""
    match node:
        case ast.BoolOp(values=parts):
            for part in parts:
                _condition(part)
        case ast.UnaryOp(op=ast.Not(), operand=part):
            _condition(part)
        case ast.Compare(left=left, ops=kinds, comparators=others):
            _value(left)
            for kind, other in zip(kinds, others, strict=True):
                if isinstance(kind, (ast.In, ast.NotIn)):
                    _list(other)
                elif isinstance(kind, (ast.Is, ast.IsNot)):
                    raise ValueError("`is` is not allowed; write ==")
                else:
                    _value(other)
            if len(kinds) > 1 and any(isinstance(k, (ast.In, ast.NotIn)) for k in kinds[:-1]):
                raise ValueError("after a list no comparison goes on; write `and`")
        case ast.Name():
            pass  # a column of true and false
        case _:
            raise ValueError(f"{_said(node)} is no condition; write a comparison, as in age >= 65")


def _value(node: ast.expr) -> None:
    match node:
        case ast.Name() | ast.Constant(value=bool() | int() | float() | str()):
            pass
        case ast.UnaryOp(op=ast.USub() | ast.UAdd(), operand=part):
            _value(part)
        case ast.BinOp(left=left, op=ast.Add() | ast.Sub() | ast.Mult() | ast.Div(), right=right):
            _value(left)
            _value(right)
        case _:
            raise ValueError(
                f"{_said(node)} is not allowed; allowed are columns, numbers, texts and + - * /"
            )


def _list(node: ast.expr) -> None:
    if not isinstance(node, (ast.List, ast.Tuple, ast.Set)):
        raise ValueError(f"{_said(node)} is no list; write it as in town in ['Oslo', 'Bergen']")
    for item in node.elts:
        constant = item.operand if isinstance(item, ast.UnaryOp) else item
        if not isinstance(constant, ast.Constant):
            raise ValueError(f"{_said(item)} is not allowed in a list; allowed are constants")
        _value(item)


def _said(node: ast.expr) -> str:
    return f"`{ast.unparse(node)}`"


Columns = Mapping[str, "NDArray[Any]"]
Names = Mapping[str, str]


def _truth(node: ast.expr, columns: Columns, names: Names, count: int) -> NDArray[np.bool_]:
    """(count,): whether a condition is true of each row."""
    import numpy as np

    match node:
        case ast.BoolOp(op=joined, values=parts):
            found = [_truth(part, columns, names, count) for part in parts]
            join = np.logical_and if isinstance(joined, ast.And) else np.logical_or
            return np.asarray(join.reduce(found))
        case ast.UnaryOp(operand=part):
            return ~_truth(part, columns, names, count)
        case ast.Compare(left=left, ops=kinds, comparators=others):
            result = np.ones(count, dtype=bool)
            for kind, other in zip(kinds, others, strict=True):
                result &= _compared(left, kind, other, columns, names, count)
                left = other
            return result
        case _:
            values = np.broadcast_to(np.asarray(_worked(node, columns, names), object), (count,))
            strange = [v for v in values if not isinstance(v, (bool, np.bool_)) and not _gone(v)]
            if strange:
                raise ValueError(f"{_said(node)} has {strange[0]!r}, neither true nor false")
            return np.array([not _gone(v) and bool(v) for v in values], dtype=bool)


def _compared(
    left: ast.expr,
    kind: ast.cmpop,
    right: ast.expr,
    columns: Columns,
    names: Names,
    count: int,
) -> NDArray[np.bool_]:
    import numpy as np

    ours = np.broadcast_to(np.asarray(_worked(left, columns, names)), (count,))
    there = _there(ours)
    if isinstance(kind, (ast.In, ast.NotIn)):
        items = getattr(right, "elts", ())  # `parse` lets in lists alone
        wanted = [_worked(item, columns, names) for item in items]
        inside = np.zeros(count, dtype=bool)
        for value in wanted:
            inside |= _elementwise(operator.eq, ours, np.broadcast_to(value, (count,)), there)
        return there & (inside if isinstance(kind, ast.In) else ~inside)
    theirs = np.broadcast_to(np.asarray(_worked(right, columns, names)), (count,))
    there &= _there(theirs)
    try:
        return _elementwise(_COMPARISONS[type(kind)], ours, theirs, there)
    except TypeError:
        raise ValueError(
            f"{_said(left)} and {_said(right)} cannot be compared: one is a text, one a number"
        ) from None


def _there(values: NDArray[Any]) -> NDArray[np.bool_]:
    """Where there is a value: not None, and equal to itself, as NaN and NaT are not."""
    import numpy as np

    if values.dtype.kind in "biuSU":
        return np.ones(len(values), dtype=bool)
    if values.dtype.kind == "f":
        return np.asarray(~np.isnan(values))
    return np.array([not _gone(value) for value in values.tolist()], dtype=bool)


def _elementwise(
    compare: Callable[[Any, Any], Any],
    left: NDArray[Any],
    right: NDArray[Any],
    there: NDArray[np.bool_],
) -> NDArray[np.bool_]:
    """Compare the rows where both have a value; false elsewhere."""
    import numpy as np

    result = np.zeros(len(there), dtype=bool)
    ours, theirs = left[there], right[there]
    if ours.dtype.kind in "biuf" and theirs.dtype.kind in "biuf":
        result[there] = compare(ours, theirs)
    else:
        result[there] = [bool(compare(a, b)) for a, b in zip(ours, theirs, strict=True)]
    return result


def _worked(node: ast.expr, columns: Columns, names: Names) -> Any:
    """The value of a node: a constant, or (rows,) of a column."""
    match node:
        case ast.Constant(value=value):
            return value
        case ast.Name(id=name):
            return columns[names.get(name, name)]
        case ast.UnaryOp(op=kind, operand=part):
            number = _number(part, columns, names)
            return -number if isinstance(kind, ast.USub) else number
        case ast.BinOp(left=left, op=kind, right=right):
            ours, theirs = _number(left, columns, names), _number(right, columns, names)
            return _ARITHMETIC[type(kind)](ours, theirs)
        case _:  # `parse` lets nothing else in
            raise ValueError(f"{_said(node)} is not allowed")


def _number(node: ast.expr, columns: Columns, names: Names) -> NDArray[np.float64]:
    import numpy as np

    try:
        return np.asarray(_worked(node, columns, names)).astype(np.float64)
    except (TypeError, ValueError):
        raise ValueError(f"{_said(node)} is no number") from None


def _gone(value: Any) -> bool:
    return value is None or value != value

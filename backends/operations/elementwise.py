"""The elementwise operations: one line each, of which the code for each processor is printed.

NumPy runs an operation by its name. Where it becomes part of a loop, or of a kernel on a GPU, its
formula is printed in the language of that: see :class:`Language`.
"""

from __future__ import annotations

import ast
from collections.abc import Sequence
from functools import cache
from typing import Any, NamedTuple

import numpy as np

from npnn.backends.recording.node import Node


class Operation(NamedTuple):
    """An elementwise operation.

    Attributes
    ----------
    formula : str
        The result for elements a, b and c of the arguments, of the dtype in which NumPy computes.
    cost : float
        How many additions take as long, in a loop; 0 where nothing is computed.
    of : str
        ``"numbers"``, which are not all bools; ``"bools"``; ``"floats"``, of which it makes floats;
        ``"any"``.
    asks : bool
        Whether the answer is True or False, whatever the dtype of the arguments.
    """

    formula: str
    cost: float = 1
    of: str = "numbers"
    asks: bool = False


OPERATIONS = {
    "add": Operation("a + b"),
    "subtract": Operation("a - b"),
    "multiply": Operation("a * b"),
    "divide": Operation("a / b", 4, "floats"),
    "reciprocal": Operation("1 / a", 4, "floats"),
    "negative": Operation("-a"),
    "positive": Operation("a"),
    "absolute": Operation("-a if a < 0 else a + 0"),
    "sign": Operation("a if a != a else 1 if a > 0 else -1 if a < 0 else 0"),
    "square": Operation("a * a"),
    "sqrt": Operation("sqrt(a)", 5),
    "power": Operation("pow(a, b)", 40, "floats"),
    "exp": Operation("exp(a)", 11),
    "exp2": Operation("exp2(a)", 20),
    "expm1": Operation("expm1(a)", 12),
    "log": Operation("log(a)", 12),
    "log2": Operation("log2(a)", 20),
    "log10": Operation("log10(a)", 20),
    "log1p": Operation("log1p(a)", 17),
    "tanh": Operation("tanh(a)", 16),
    "sin": Operation("sin(a)", 20),
    "cos": Operation("cos(a)", 20),
    "floor": Operation("floor(a)"),
    "ceil": Operation("ceil(a)"),
    "maximum": Operation("a if a >= b or a != a else b"),
    "minimum": Operation("a if a <= b or a != a else b"),
    "greater": Operation("a > b", asks=True),
    "greater_equal": Operation("a >= b", asks=True),
    "less": Operation("a < b", asks=True),
    "less_equal": Operation("a <= b", asks=True),
    "equal": Operation("a == b", of="any", asks=True),
    "not_equal": Operation("a != b", of="any", asks=True),
    "isnan": Operation("a != a", asks=True),
    "isfinite": Operation("a - a == 0", asks=True),
    "isinf": Operation("a == a and a - a != 0", asks=True),
    "logical_not": Operation("not a", of="bools", asks=True),
    "logical_and": Operation("a and b", of="bools", asks=True),
    "logical_or": Operation("a or b", of="bools", asks=True),
    "logical_xor": Operation("(a != 0) != (b != 0)", of="bools", asks=True),
    "bitwise_and": Operation("a & b"),
    "bitwise_or": Operation("a | b"),
    "bitwise_xor": Operation("a ^ b"),
    "where": Operation("b if a else c", 0, "any"),
    "astype": Operation("cast(a)", 0, "any"),
    "copy": Operation("a", 0, "any"),
}


class Language(NamedTuple):
    """How formulas are written.

    Attributes
    ----------
    calls : dict
        How each function is called that the language has, vectorised where it can be.
    choice : str
        Of two values, by a condition.
    number : str
        A number of a dtype.
    words : tuple of str
        For and, or, not.
    """

    calls: dict[str, str]
    choice: str = "({1} if {0} else {2})"
    number: str = "np.{dtype}({0})"
    words: tuple[str, str, str] = ("and", "or", "not")

    def knows(self, operation: str) -> bool:
        """Return whether the formula of an operation can be written."""
        return operation in OPERATIONS and _functions(operation) <= self.calls.keys()

    def write(self, operation: str, values: Sequence[str], dtype: str) -> str:
        """Return the expression for an operation on values, which is computed in a dtype."""
        names = dict(zip("abc", values, strict=False))
        return self._write(_tree(operation), names, dtype)

    def _write(self, tree: Any, names: dict[str, str], dtype: str) -> str:
        of = [self._write(part, names, dtype) for part in _parts(tree)]
        match tree:
            case ast.Name():
                return names[tree.id]
            case ast.Constant():
                return self.number.format(tree.value, dtype=dtype)
            case ast.Call(func=ast.Name(id=name)):
                return self.calls[name].format(*of, dtype=dtype)
            case ast.IfExp():
                return self.choice.format(*of)
            case ast.BoolOp():
                word = self.words[isinstance(tree.op, ast.Or)]
                return f"({f' {word} '.join(of)})"
            case ast.UnaryOp():
                return (
                    f"(-{of[0]})" if isinstance(tree.op, ast.USub) else f"({self.words[2]} {of[0]})"
                )
        return f"({of[0]} {_sign(tree)} {of[1]})"


@cache
def _tree(operation: str) -> Any:
    return ast.parse(OPERATIONS[operation].formula, mode="eval").body


def _parts(tree: Any) -> list[Any]:
    """Return the expressions that one is made of."""
    if isinstance(tree, ast.Call):
        return tree.args
    return [part for part in ast.iter_child_nodes(tree) if isinstance(part, ast.expr)]


def _sign(tree: Any) -> str:
    """Return the sign between two expressions."""
    a, b = ast.Name("a"), ast.Name("b")
    bare = (
        ast.Compare(a, tree.ops, [b]) if isinstance(tree, ast.Compare) else ast.BinOp(a, tree.op, b)
    )
    return ast.unparse(bare)[2:-2]


@cache
def _functions(operation: str) -> set[str]:
    calls = [t.func for t in ast.walk(_tree(operation)) if isinstance(t, ast.Call)]
    return {function.id for function in calls if isinstance(function, ast.Name)}


def suits(node: Node) -> bool:
    """Return whether the formula of an operation gives what NumPy gives for these dtypes."""
    of = OPERATIONS[node.op].of
    of_bools = all(arg.dtype.kind == "b" for arg in node.args)
    return {"numbers": not of_bools, "bools": of_bools, "floats": node.dtype.kind == "f"}.get(
        of, True
    )


def computed_in(node: Node) -> np.dtype[Any]:
    """Return the dtype in which NumPy computes an operation."""
    asks = OPERATIONS[node.op].asks
    return np.result_type(*(arg.dtype for arg in node.args)) if asks else node.dtype

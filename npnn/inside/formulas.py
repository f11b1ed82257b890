r"""The formulas that docstrings hold, told apart into those of the way forward and of the way back.

A docstring writes them in LaTeX, between ``\qquad`` where several stand in a line; a person reads
them as plain text, and a page as MathML.
"""

from __future__ import annotations

import functools
import html
import inspect
import re
from collections.abc import Iterator
from typing import Any, NamedTuple

from npnn.layers.layer import Layer

SYMBOLS = {
    "alpha": "α", "beta": "β", "gamma": "γ", "delta": "δ", "Delta": "Δ", "epsilon": "ε", "rho": "ρ",
    "theta": "θ", "lambda": "λ", "mu": "μ", "sigma": "σ", "partial": "∂", "sum": "Σ", "in": "∈",
    "leftarrow": "←", "cdot": "·", "ldots": "…", "cdots": "⋯", "le": "≤", "ge": "≥", "ne": "≠",
    "sim": "∼", "to": "→", "times": "×", "lVert": "‖", "rVert": "‖", "infty": "∞", "odot": "⊙",
    "lfloor": "⌊", "rfloor": "⌋", "lceil": "⌈", "rceil": "⌉", "added": "+=", "|": "‖",
}  # fmt: skip
"""What a command is written as; others are written as their names."""
SPACES = {",", ";", "!", " ", "Big", "big", "Bigg", "left", "right", "bmod"}
WORDS = ("mathrm", "text", "operatorname", "mathcal", "begin", "end")
ABOVE = {"hat": "\u0302", "overline": "\u0304", "bar": "\u0304", "tilde": "\u0303"}
SUPERSCRIPTS = str.maketrans("0123456789+-=()nTitxkm", "⁰¹²³⁴⁵⁶⁷⁸⁹⁺⁻⁼⁽⁾ⁿᵀⁱᵗˣᵏᵐ")
SUBSCRIPTS = str.maketrans("0123456789+-=()aehijklmnoprstuvx", "₀₁₂₃₄₅₆₇₈₉₊₋₌₍₎ₐₑₕᵢⱼₖₗₘₙₒₚᵣₛₜᵤᵥₓ")
SPACED = set("=+−←≤≥≠∼→·⊙><×∈") | {"+="}
OPERATORS = SPACED | set("()[]{}|‖,⌊⌋⌈⌉Σ")
TOKENS = re.compile(
    rf"\\(?:{'|'.join(WORDS)})\s*\{{[^{{}}]*\}}|\\[A-Za-z]+|\\.|\d+(?:\.\d+)?|\S", re.DOTALL
)


class Formulas(NamedTuple):
    """Those of a class, in LaTeX: of its way forward and, derivatives, of its way back."""

    forward: tuple[str, ...]
    backward: tuple[str, ...]


class Node(NamedTuple):
    """A part of a formula: its kind, its text, and the parts it is made of."""

    kind: str
    text: str = ""
    parts: tuple[Node, ...] = ()


def formulas_of(cls: Any) -> Formulas:
    """Return the formulas in the docstring of a class, or of the first base that has some."""
    return _formulas_of(cls)


@functools.cache
def _formulas_of(cls: Any) -> Formulas:
    for base in cls.__mro__:
        if base is Layer:  # whose formula says that there is one
            break
        found = [part for block in blocks_of(base) for part in _split(block)]
        if found:
            back = tuple(part for part in found if _is_derivative(part))
            return Formulas(tuple(part for part in found if part not in back), back)
    return Formulas((), ())


def blocks_of(cls: type) -> list[str]:
    """Return the formulas that stand by themselves in a docstring; else those within its lines."""
    text = inspect.cleandoc(vars(cls).get("__doc__") or "")
    text = text.split("\nParameters\n")[0]
    blocks, lines = [], iter(text.splitlines())
    for line in lines:
        if line.strip().startswith(".. math::"):
            blocks.append(line.split("::", 1)[1].strip() + _indented(lines))
    return [b for b in blocks if b] or re.findall(
        r":math:`([^`]*(?:=|\\leftarrow)[^`]*)`", text, re.DOTALL
    )


def _indented(lines: Iterator[str]) -> str:
    found = []
    for line in lines:
        if line.strip() and not line.startswith(" "):
            break
        found.append(line.strip())
    return " ".join(part for part in found if part)


def _split(block: str) -> list[str]:
    parts = re.split(r"\\qquad|\\quad", block)
    return [part.strip().rstrip(",").strip() for part in parts if part.strip(" ,\n")]


def _is_derivative(latex: str) -> bool:
    return bool(re.search(r"\\partial|^\\frac\{d|^d\w+/d\w+", latex))


# What LaTeX means --------------------------------------------------------------------------------


def as_text(latex: str) -> str:
    """Return a formula as a line of plain text."""
    return re.sub(r"\s+", " ", _text(_parsed(latex))).strip()


def as_mathml(latex: str) -> str:
    """Return a formula as MathML, which browsers draw."""
    return f'<math display="block">{_mathml(_parsed(latex))}</math>'


def _parsed(latex: str) -> Node:
    latex = re.sub(r"\\mathrel\{\+\}\s*=", r"\\added ", latex)
    return _row(_Reader(TOKENS.findall(latex)), "")


class _Reader:
    """Tokens, one after the other."""

    def __init__(self, tokens: list[str]) -> None:
        self.tokens, self.at = tokens, 0

    def peek(self) -> str:
        """Return the next token; an empty one at the end."""
        return self.tokens[self.at] if self.at < len(self.tokens) else ""

    def next(self) -> str:
        """Return the next token, and go on behind it."""
        self.at += 1
        return self.tokens[self.at - 1] if self.at <= len(self.tokens) else ""


def _row(reader: _Reader, end: str) -> Node:
    """Return what stands before `end`, which is taken too."""
    parts: list[Node] = []
    while reader.peek() not in (end, ""):
        _take(reader, parts)
    reader.next()
    return Node("row", "", tuple(parts))


def _take(reader: _Reader, parts: list[Node]) -> None:
    """Take the next part, or what stands above or below the last one."""
    token = reader.next()
    if token in "^_":
        base = parts.pop() if parts else Node("text")
        parts.append(Node("above" if token == "^" else "below", "", (base, _argument(reader))))
    else:
        parts += [part for part in [_atom(reader, token)] if part.kind != "nothing"]


def _argument(reader: _Reader) -> Node:
    return _atom(reader, reader.next())


def _atom(reader: _Reader, token: str) -> Node:
    name, _, words = token.lstrip("\\").partition("{") if len(token) > 1 else (token, "", "")
    if token == "{":
        return _row(reader, "}")
    if not token.startswith("\\") or len(token) == 1:
        return Node("text", {"-": "−", "'": "′"}.get(token, token))
    if name.strip() == "begin":
        return _cases(reader)
    if words:
        return Node("word", words.rstrip("}"))
    if name in ("frac", "tfrac", "dfrac"):
        return Node("frac", "", (_argument(reader), _argument(reader)))
    if name == "sqrt":
        return Node("sqrt", "", (_argument(reader),))
    if name in ABOVE:
        return Node("accent", ABOVE[name], (_argument(reader),))
    if name in SPACES:
        return Node("nothing")
    return Node("text", SYMBOLS[name]) if name in SYMBOLS else Node("word", name)


def _cases(reader: _Reader) -> Node:
    lines: list[Node] = []
    cells: list[list[Node]] = [[]]
    while not reader.peek().startswith(r"\end") and reader.peek():
        if reader.peek() == "&":
            cells.append([])
            reader.next()
        elif reader.peek() == "\\\\":
            lines.append(_line(cells))
            cells = [[]]
            reader.next()
        else:
            _take(reader, cells[-1])
    reader.next()
    return Node("cases", "", (*lines, _line(cells)))


def _line(cells: list[list[Node]]) -> Node:
    return Node("line", "", tuple(Node("row", "", tuple(cell)) for cell in cells))


# As text -----------------------------------------------------------------------------------------


def _text(node: Node) -> str:
    if node.kind == "row":
        return _in_a_row(node.parts)
    inner = [_text(part) for part in node.parts]
    if node.kind in ("text", "word"):
        return node.text
    if node.kind == "frac":
        return f"{_grouped(inner[0])}/{_grouped(inner[1])}"
    if node.kind == "sqrt":
        return f"√{_grouped(inner[0])}"
    if node.kind == "accent":
        return inner[0] + node.text if len(inner[0]) == 1 else f"mean({inner[0]})"
    if node.kind in ("above", "below"):
        return inner[0] + _script(inner[1], node.kind)
    if node.kind == "cases":
        return "; ".join(inner)
    return " if ".join(part.strip() for part in inner).replace("if else", "else")


def _in_a_row(parts: tuple[Node, ...]) -> str:
    """Return parts with spaces where a person would write them."""
    line = ""
    for part in parts:
        text, before = _text(part), line.rstrip()[-1:]
        if text in SPACED:
            is_sign = text in "+−" and (not before or before in SPACED or before in "([{,|")
            line = f"{line}{text}" if is_sign else f"{line.rstrip()} {text} "
        elif text == ",":
            line = f"{line.rstrip()}, "
        else:
            joins = (
                (before in "∂d" and before) or not before or before in "([{|‖/" or line[-1:] == " "
            )
            opens = text[:1] in ")]}|‖′/" or (text[:1] in "([" and _is_called(line))
            is_sign = before in SPACED and line[-1:] != " "
            line = f"{line}{text}" if joins or opens or is_sign else f"{line} {text}"
    return line


def _is_called(line: str) -> bool:
    """Return whether what stands before a bracket is a function's name, and no factor."""
    name = re.search(r"([^\W\d_]+)[₀-ₜᵢ]*$", line)
    return name is not None and (len(name[1]) > 1 or name[1] in "fσNL")


def _grouped(text: str) -> str:
    plain = re.fullmatch(r"[∂d]?\S[̂̄₀-ₜ⁰-ⁿ²′ᵢᵣ]*|\d+(\.\d+)?|d?[a-z]{3,}ₙ?|∂value[ₙ]|dσ²", text)
    return text if plain or re.fullmatch(r"\([^()]*\)", text) else f"({text})"


def _script(text: str, kind: str) -> str:
    table, mark = (SUPERSCRIPTS, "^") if kind == "above" else (SUBSCRIPTS, "_")
    tight = text.replace(" ", "").replace("−", "-")
    if all(ord(letter) in table for letter in tight):
        return tight.translate(table)
    return f"{mark}{tight}" if len(tight) == 1 else f"{mark}({text})"


# As MathML ---------------------------------------------------------------------------------------


def _mathml(node: Node) -> str:
    inner = [_mathml(part) for part in node.parts]
    text = html.escape(node.text)
    if node.kind == "text":
        if node.text[:1].isdigit():
            return f"<mn>{text}</mn>"
        return f"<mo>{text}</mo>" if node.text in OPERATORS else f"<mi>{text}</mi>"
    if node.kind == "word":
        return f"<mtext>{text}</mtext>"
    if node.kind == "frac":
        return f"<mfrac>{inner[0]}{inner[1]}</mfrac>"
    if node.kind == "sqrt":
        return f"<msqrt>{inner[0]}</msqrt>"
    if node.kind == "accent":
        mark = {"\u0302": "^", "\u0303": "~"}.get(node.text, "¯")
        return f'<mover accent="true">{inner[0]}<mo>{mark}</mo></mover>'
    if node.kind in ("above", "below"):
        tag = "msup" if node.kind == "above" else "msub"
        return f"<{tag}>{inner[0]}{inner[1]}</{tag}>"
    if node.kind == "cases":
        rows = "".join(f"<mtr>{line}</mtr>" for line in inner)
        return f'<mrow><mo stretchy="true">{{</mo><mtable>{rows}</mtable></mrow>'
    if node.kind == "line":
        return "".join(f"<mtd>{part}</mtd>" for part in inner)
    return f"<mrow>{''.join(inner)}</mrow>"

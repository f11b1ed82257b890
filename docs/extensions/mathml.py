"""Formulas as MathML, which browsers draw by themselves: no script, no font and no network."""

import html
import re
from functools import cache
from xml.etree import ElementTree

from docutils import nodes
from math_core import LatexError, LatexToMathML
from sphinx.application import Sphinx
from sphinx.errors import ExtensionError

LINE = "\u0332"
"""The mark that the converter puts above what ``\\overline`` is given."""


@cache
def _converter() -> LatexToMathML:
    return LatexToMathML()


def _mathml(latex: str, display: bool, where: object) -> str:
    try:
        drawn = _converter().convert_with_local_state(latex, displaystyle=display)
    except LatexError as error:
        raise ExtensionError(f"{where}: a formula cannot be drawn: {latex!r}: {error}") from None
    return _with_bars(drawn)


def _with_bars(drawn: str) -> str:
    """Have lines above terms be borders: a mark is as wide only with a font made for formulas."""
    root = ElementTree.fromstring(re.sub(r"&(?!lt|gt|amp)\w+;", _letter, drawn))
    for above in root.iter("mover"):
        if above[1].text == LINE:
            above.remove(above[1])
            above.tag, above.attrib = "mrow", {"class": "overline"}
    return ElementTree.tostring(root, encoding="unicode")


def _letter(entity: re.Match[str]) -> str:
    return html.unescape(entity[0])


def _visit_inline(translator, node: nodes.math) -> None:
    translator.body.append(_mathml(node.astext(), False, node.source))
    raise nodes.SkipNode


def _visit_block(translator, node: nodes.math_block) -> None:
    translator.body.append(
        f'<div class="formula">{_mathml(node.astext(), True, node.source)}</div>\n'
    )
    raise nodes.SkipNode


def setup(app: Sphinx) -> dict[str, bool]:
    app.add_html_math_renderer("mathml", (_visit_inline, None), (_visit_block, None))
    return {"parallel_read_safe": True, "parallel_write_safe": True}

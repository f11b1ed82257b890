"""Formulas as MathML, which browsers draw by themselves: no script, no font and no network."""

from functools import cache

from docutils import nodes
from math_core import LatexError, LatexToMathML
from sphinx.application import Sphinx
from sphinx.errors import ExtensionError


@cache
def _converter() -> LatexToMathML:
    return LatexToMathML()


def _mathml(latex: str, display: bool, where: object) -> str:
    try:
        return _converter().convert_with_local_state(latex, displaystyle=display)
    except LatexError as error:
        raise ExtensionError(f"{where}: a formula cannot be drawn: {latex!r}: {error}") from None


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

"""A directive ``solution``: a file of ``solutions``, run in the build and folded up."""

import contextlib
import io
import runpy

from docutils import nodes
from sphinx.application import Sphinx
from sphinx.util.docutils import SphinxDirective


class Solution(SphinxDirective):
    """Show a program and what it prints; one that fails fails the build."""

    required_arguments = 1

    def run(self) -> list[nodes.Node]:
        relative, path = self.env.relfn2path(f"/solutions/{self.arguments[0]}.py")
        self.env.note_dependency(relative)
        with open(path) as file:
            code = file.read()
        printed = io.StringIO()
        try:
            with contextlib.redirect_stdout(printed):
                runpy.run_path(path, run_name="__main__")
        except Exception as error:
            raise self.error(f"the solution {self.arguments[0]} fails: {error!r}") from error
        lines = [
            ".. dropdown:: The solution",
            "   :icon: check-circle",
            "",
            "   .. code-block:: python",
            "",
            *(f"      {line}" for line in code.splitlines()),
            "",
        ]
        if printed.getvalue():
            lines += ["   It prints", "", "   .. code-block:: none", ""]
            lines += [f"      {line}" for line in printed.getvalue().splitlines()]
        return self.parse_text_to_nodes("\n".join(lines) + "\n")


def setup(app: Sphinx) -> dict[str, bool]:
    app.add_directive("solution", Solution)
    return {"parallel_read_safe": True, "parallel_write_safe": True}

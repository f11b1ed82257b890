"""How the site is built: ``make docs``."""

import inspect
import os
import sys
from pathlib import Path

DOCS = Path(__file__).parent
sys.path.insert(0, str(DOCS / "extensions"))
# Each program of the gallery has a core of its own; more threads would stand in each other's way.
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
os.environ["TQDM_DISABLE"] = "1"

import gallery  # noqa: E402

import npnn  # noqa: E402

project = "npnn"
copyright = "the npnn developers"
version = release = npnn.__version__

extensions = [
    "sphinx.ext.autodoc",
    "sphinx.ext.autosummary",
    "sphinx.ext.viewcode",
    "sphinx_design",
    "sphinx_gallery.gen_gallery",
    "numpydoc",
    "myst_parser",
    "mathml",
    "pictures",
    "reference",
    "solution",
]
exclude_patterns = ["lessons", "solutions", "extensions", "examples", "_templates"]
templates_path = ["_templates"]
suppress_warnings = ["config.cache"]  # the gallery's settings are no plain values
html_math_renderer = "mathml"

autosummary_generate = True
autodoc_typehints = "none"
autodoc_member_order = "bysource"
numpydoc_show_class_members = False
numpydoc_class_members_toctree = False

myst_enable_extensions = ["dollarmath"]
myst_heading_anchors = 3

sphinx_gallery_conf = gallery.settings(DOCS)

html_theme = "pydata_sphinx_theme"
html_title = "npnn"
html_context = {"default_mode": "auto"}
html_static_path = ["_static"]
html_css_files = ["site.css"]
html_show_sourcelink = False
html_theme_options = {
    "show_prev_next": True,
    "show_toc_level": 2,
    "navigation_with_keys": True,
    "footer_start": ["copyright"],
    "footer_end": [],
    "secondary_sidebar_items": ["page-toc"],
}


def _within_the_site(app, docname, source) -> None:
    """Have links between files of the project lead to the pages that are made of them."""
    for file, page in (
        ("../CONTRIBUTING.md", "/contributing.md"),
        ("../benchmarks/RESULTS.md", "/measured.md"),
        ("benchmarks/RESULTS.md", "/measured.md"),
        *((f"docs/{file.name}", f"/{file.name}") for file in DOCS.glob("*.md")),
    ):
        source[0] = source[0].replace(f"]({file})", f"]({page})")


def _of_another_library(app, what, name, thing, skip, options) -> bool | None:
    """Leave out what a class has of NumPy's, scikit-learn's or Python's."""
    thing = getattr(thing, "fget", thing)
    return True if not (getattr(thing, "__module__", None) or "npnn").startswith("npnn") else None


def _arguments(app, what, name, thing, options, signature, returned) -> tuple[str, None] | None:
    """Show the arguments of a class's constructor, and not those of its base's ``__new__``."""
    if what != "class" or "__init__" not in dir(thing) or issubclass(thing, BaseException):
        return None
    found = inspect.signature(thing.__init__)
    shown = [p.replace(annotation=p.empty) for p in found.parameters.values()][1:]
    return str(inspect.Signature(shown)), None


def setup(app) -> None:
    app.connect("autodoc-process-signature", _arguments)
    app.connect("autodoc-skip-member", _of_another_library)
    app.connect("source-read", _within_the_site)
    app.connect("include-read", lambda app, path, parent, source: _within_the_site(app, "", source))

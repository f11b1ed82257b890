"""How the package is put together: no module imports one that imports it, at the top or later."""

import ast
import importlib.machinery
import site
import sys
import tomllib
from pathlib import Path

import array_api_strict

ROOT = Path(__file__).parent.parent
LIBRARIES = {"numpy", "numba", "cupy", "cuda", "jax", "torch", "array_api_strict"}
PLACES = {"npnn": ROOT / "npnn", "npnn.backends": ROOT / "backends"}


def modules():
    """Return the file of each module, by its name."""
    found = {}
    for package, folder in PLACES.items():
        for file in sorted(folder.rglob("*.py")):
            parts = (package, *file.relative_to(folder).with_suffix("").parts)
            found[".".join(parts).removesuffix(".__init__")] = file
    return found


def imported(tree, known):
    """Yield the modules that a module imports wherever it does, but not for types alone."""
    for node in ast.iter_child_nodes(tree):
        if isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test):
            continue
        if isinstance(node, ast.ImportFrom) and node.module:
            for alias in node.names:
                inner = f"{node.module}.{alias.name}"
                yield inner if inner in known else node.module
        elif isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        yield from imported(node, known)


def graph():
    known = modules()
    edges = {}
    for name, file in known.items():
        found = {m for m in imported(ast.parse(file.read_text()), known) if m in known}
        # A package's own namespace is what its modules make of it.
        edges[name] = {m for m in found if m != name and not name.startswith(f"{m}.")}
    return edges


def circles(edges):
    """Return the modules that can be reached from themselves."""
    reached = {name: set(found) for name, found in edges.items()}
    changed = True
    while changed:
        changed = False
        for found in reached.values():
            more = set().union(*(reached[m] for m in found)) - found
            changed |= bool(more)
            found |= more
    return {name for name, found in reached.items() if name in found}


def test_no_module_is_imported_by_what_it_imports():
    edges = graph()
    assert len(edges) > 60
    assert sum(map(len, edges.values())) > 150
    assert circles(edges) == set()


def test_a_circle_would_be_seen():
    edges = graph()
    edges["npnn.step"] = {*edges["npnn.step"], "npnn.model"}
    assert {"npnn.step", "npnn.runner", "npnn.model"} <= circles(edges)


def test_the_mathematics_name_no_array_library():
    """NumPy serves what stays on the host: data, files, initial weights, checks, the order."""
    for name, file in modules().items():
        if name.startswith("npnn.backends"):
            continue
        roots = {m.partition(".")[0] for m in imported(ast.parse(file.read_text()), {})}
        # But the file that reads what PyTorch wrote.
        own = {"torch"} if name == "npnn.torch" else set()
        assert not roots & {"cupy", "torch", "jax", "numba"} - own, name
        if name.startswith(("npnn.layers", "npnn.losses", "npnn.optimizers")) or name in {
            "npnn.step", "npnn.network", "npnn.runner", "npnn.packing", "npnn.loss_scaling",
            "npnn.metrics", "npnn.watch", "npnn.arrays",
        }:  # fmt: skip
            assert "numpy" not in roots, name


def test_a_file_is_read_in_one_sitting():
    for name, file in modules().items():
        assert len(file.read_text().splitlines()) <= 500, name


def test_every_folder_is_installed():
    known = modules()
    packages = {name for name, file in known.items() if file.name == "__init__.py"}
    settings = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["setuptools"]
    assert packages == set(settings["packages"]) - {"npnn.datasets.data"}


def test_the_first_sentence_of_a_file_says_what_lives_there():
    for name, file in modules().items():
        text = ast.get_docstring(ast.parse(file.read_text()))
        assert text, name
        assert text.splitlines()[0].endswith((".", ":")), name


def classes():
    """Return of each class its bases, its methods, and those of them that have a docstring."""
    found = {}
    for file in modules().values():
        for node in ast.walk(ast.parse(file.read_text())):
            if isinstance(node, ast.ClassDef):
                methods = [m for m in node.body if isinstance(m, ast.FunctionDef)]
                methods = [m for m in methods if not any(map(is_setter, m.decorator_list))]
                bases, names, documented = found.setdefault(node.name, (set(), set(), set()))
                bases |= {ast.unparse(base).split(".")[-1] for base in node.bases}
                names |= {m.name for m in methods if not m.name.startswith("_")}
                documented |= {m.name for m in methods if ast.get_docstring(m)}
    return found


def is_setter(decorator):
    return isinstance(decorator, ast.Attribute) and decorator.attr == "setter"


def test_every_public_method_is_documented_or_overrides_one_that_is():
    found = classes()

    def documented(name):
        bases, _, own = found.get(name, ((), (), set()))
        return own.union(*map(documented, bases))

    assert len(found) > 100
    assert "backward" in documented("Dense")
    for name, (_, methods, _) in found.items():
        if name == "Namespace":  # whose functions are the standard's
            assert methods <= set(dir(array_api_strict))
        elif not name.startswith("_"):
            assert methods <= documented(name), name


def test_python_starts_in_any_folder_of_the_backends():
    """There, no file or folder may stand before a library, or before what Python brings."""
    installed = site.getsitepackages()
    for place in (PLACES["npnn.backends"], *PLACES["npnn.backends"].rglob("*/")):
        for found in (*place.glob("*.py"), *place.glob("*/__init__.py")):
            name = found.parent.name if found.stem == "__init__" else found.stem
            if place.name != "__pycache__" and found != place / "__init__.py":
                assert name not in sys.stdlib_module_names, found
                assert name not in LIBRARIES, found
                assert importlib.machinery.PathFinder.find_spec(name, installed) is None, found

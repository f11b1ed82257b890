"""What sphinx-gallery is told: which programs it runs, and where their pictures are."""

import ast
import re
import shutil
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from matplotlib.figure import Figure
from sphinx_gallery.scrapers import figure_rst

import npnn

# The programs of examples/ in the order of the gallery, and the titles that they have there.
TITLES = {
    "film_xor": "Film: exclusive or is learnt",
    "film_sine": "Film: a curve is fitted",
    "film_vae": "Film: a plane of icons unfolds",
    "linear_regression": "A straight line",
    "sine_regression": "A curve out of smooth steps",
    "xor_sigmoid": "Exclusive or, one output",
    "xor_softmax": "Exclusive or, two classes",
    "icons": "Convolution finds icons",
    "autoencoder": "Digits through eight numbers",
    "vae": "A plane of icons",
    "lenet5": "LeNet-5 on MNIST",
    "inception": "Inception on MNIST",
}
NOT_RUN = ("lenet5", "inception")  # MNIST would have to be downloaded
IMAGES = (".png", ".gif")


class Order:
    """The order of the pages: that of the titles, or of the numbers in the names."""

    def __init__(self, folder: str) -> None:
        self.names = list(TITLES)

    def __call__(self, file: str) -> Any:
        name = Path(file).stem
        return (self.names.index(name), "") if name in self.names else (-1, name)

    def __repr__(self) -> str:
        return "<Order>"


class Pictures:
    """Takes the figures that a lesson has made, and the files that an example has written."""

    def __repr__(self) -> str:
        return "<Pictures>"

    def __call__(self, block: Any, variables: dict[str, Any], gallery_conf: dict[str, Any]) -> str:
        source, images = Path(variables["src_file"]), []
        name = source.stem
        for file in sorted((source.parent / "npnn-output").glob("*")):  # where examples write to
            if file.suffix in IMAGES:
                target = Path(next(variables["image_path_iterator"])).with_suffix(file.suffix)
                shutil.move(file, target)
                images.append(str(target))
        # An example has written its own; those that it made on the way are in there.
        seen = variables.setdefault("figures_seen", [])
        for value in list(variables["example_globals"].values()):
            if isinstance(value, Figure) and not any(value is figure for figure in seen):
                seen.append(value)
                if name not in TITLES:
                    target = next(variables["image_path_iterator"])
                    value.savefig(target)
                    images.append(str(target))
        return figure_rst(images, gallery_conf["src_dir"]) if images else ""


def settings(docs: Path) -> dict[str, Any]:
    """Return the settings of sphinx-gallery; the examples are copied and given their titles."""
    _copy_examples(docs.parent / "examples", docs / "examples")
    not_run = "|".join(NOT_RUN)
    return {
        "examples_dirs": [str(docs / "lessons"), str(docs / "examples")],
        "gallery_dirs": ["learn", "gallery"],
        "filename_pattern": rf"/(?!{not_run})\w+\.py$",
        "ignore_pattern": r"__init__\.py",
        "within_subsection_order": Order,
        "image_scrapers": (Pictures(),),
        "reset_modules": (),
        "capture_repr": ("__repr__",),
        "ignore_repr_types": r"matplotlib|function|builtin|NoneType",
        "abort_on_example_error": True,
        "run_stale_examples": True,  # the library may have changed
        "remove_config_comments": True,
        "download_all_examples": False,
        "show_memory": False,
        "show_signature": False,
        "write_computation_times": False,
        "min_reported_time": 1e9,
        "inspect_global_variables": False,
        "doc_module": (),
        "nested_sections": False,
    }


def _draw_network(program: str, picture: Path) -> None:
    """Draw the network of a program that is not run: its imports and its model alone are."""
    tree = ast.parse(program)
    tree.body = [
        line
        for line in tree.body
        if isinstance(line, (ast.Import, ast.ImportFrom))
        or (isinstance(line, ast.Assign) and ast.unparse(line.targets[0]) == "model")
    ]
    names: dict[str, Any] = {"options": SimpleNamespace(backend="numpy")}
    exec(compile(tree, "the model of an example", "exec"), names)
    npnn.draw(names["model"], picture, most_units=6)


def _copy_examples(source: Path, target: Path) -> None:
    shutil.rmtree(target, ignore_errors=True)
    target.mkdir()
    files = {file.stem: file for file in source.glob("*.py")}
    if files.keys() != TITLES.keys():
        raise ValueError(f"examples without a title, or without a file: {files.keys() ^ TITLES}")
    for name, file in files.items():
        title = TITLES[name]
        source_text = file.read_text()
        if name in NOT_RUN:
            _draw_network(source_text, target / f"{name}.png")
            source_text += f"\n# sphinx_gallery_thumbnail_path = 'examples/{name}.png'\n"
        text = re.sub(r'^"""', f'"""\n{title}\n{"=" * len(title)}\n\n', source_text, count=1)
        (target / file.name).write_text(text)
    shutil.copy(source / "README.rst", target / "GALLERY_HEADER.rst")

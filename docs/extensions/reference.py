"""The pages of the reference: a table for each part of the library, a page for each public name."""

import importlib
import inspect
from pathlib import Path

from sphinx.application import Sphinx

import npnn

# A part, what is said of it, and the names in groups; a group of None has all that are not named.
PARTS: dict[str, tuple[str, str, dict[str, list[str]]]] = {
    "model": (
        "Models",
        "What is trained, what training gives, and where models come from.",
        {
            "": [
                "npnn.Sequential",
                "npnn.History",
                "npnn.Normalization",
                "npnn.load",
                "npnn.check_gradients",
            ]
        },
    ),
    "layers": (
        "Layers",
        "Each is its formula and the derivative of that formula.",
        {
            "With weights": ["Dense", "Conv2D", "UpConv2D", "Latent"],
            "Activations": [
                "Linear",
                "ReLU",
                "LeakyReLU",
                "Tanh",
                "Sigmoid",
                "Swish",
                "Softplus",
                "Softmax",
            ],
            "Pooling, padding and shape": [
                "MaxPool",
                "AvgPool",
                "GlobalAvgPool",
                "Pad2D",
                "Flatten",
                "Shape",
            ],
            "Normalisation and noise": ["BatchNorm", "LayerNorm", "Dropout", "Sample"],
            "Made of others": ["Residual", "Parallel", "Inception"],
        },
    ),
    "losses": ("Losses", "What is made small.", {}),
    "optimizers": ("Optimizers", "How a gradient becomes a step.", {}),
    "schedules": ("Schedules", "How the learning rate goes on.", {}),
    "initializers": ("Initializers", "How weights begin.", {}),
    "callbacks": ("Callbacks", "What happens beside training.", {}),
    "training": ("Training", "What callbacks see.", {}),
    "datasets": ("Data sets", "Data to learn from, and tables of one's own.", {}),
    "inside": ("Looking inside", "What the layers of a model give, and the way back.", {}),
    "plots": ("Plots", "Pictures, and a page of them; each needs ``npnn-xp[plot]``.", {}),
    "reports": ("Reports", "Counts and tables of what was right.", {}),
    "scores": ("Scores", "Metrics of all samples at once, by name in ``fit(..., metrics=)``.", {}),
    "profiling": ("Profiling", "Where the time of a step goes.", {}),
    "sklearn": ("scikit-learn", "Estimators; they need ``npnn-xp[sklearn]``.", {}),
    "onnx": ("ONNX", "Models for where npnn is not; needs ``npnn-xp[onnx]``.", {}),
    "numpy_file": ("Files for NumPy", "Models for where there is NumPy alone.", {}),
    "torch": ("PyTorch", "Weights from there, and back.", {}),
    "keras": ("Keras", "Weights from there; needs ``npnn-xp[keras]``.", {}),
    "backends": ("Backends", "The array libraries.", {}),
    "errors": ("Errors", "What is raised beside ``ValueError`` and ``TypeError``.", {}),
}
SHORT = {"layers", "losses", "optimizers", "schedules", "errors"}
"""Their names are those of the package, too, and are shown so where they are."""
HELPERS = {"extra", "as_schedule", "hold_still"}
"""What the package's own files share."""


def public_names(part: str) -> list[str]:
    """Return what a module offers: what it lists, or what is defined in it and has a docstring."""
    module = importlib.import_module(f"npnn.{part}")
    listed = getattr(module, "__all__", None)
    found = listed or [
        name
        for name, value in vars(module).items()
        if not name.startswith("_") and getattr(value, "__module__", None) == module.__name__
    ]
    things = [(name, getattr(module, name)) for name in found]
    return [name for name, thing in things if _is_code(thing) and name not in HELPERS]


def _is_code(thing: object) -> bool:
    return inspect.isclass(thing) or inspect.isroutine(thing)


def full_name(part: str, name: str) -> str:
    """Return the name under which a page describes something."""
    return f"npnn.{name}" if part in SHORT and name in npnn.__all__ else f"npnn.{part}.{name}"


def write(folder: Path) -> None:
    """Write the tables, from which autosummary makes the pages."""
    for part, (title, said, groups) in PARTS.items():
        lines = [title, "=" * len(title), "", said, ""]
        if part == "model":
            names: dict[str, list[str]] = groups
        else:
            given = {name for group in groups.values() for name in group}
            left = [name for name in public_names(part) if name not in given]
            names = {key: [full_name(part, n) for n in group] for key, group in groups.items()}
            names["And" if groups else ""] = [full_name(part, name) for name in left]
        for heading, group in names.items():
            if not group:
                continue
            if heading:
                lines += [heading, "-" * len(heading), ""]
            lines += [".. autosummary::", "   :toctree: generated", ""]
            lines += [f"   {name}" for name in group] + [""]
        _keep(folder / f"{part}.rst", "\n".join(lines))


def _keep(file: Path, text: str) -> None:
    """Write a file, unless it says so already."""
    if not file.exists() or file.read_text() != text:
        file.write_text(text)


def setup(app: Sphinx) -> dict[str, bool]:
    # Before the files are looked for among which autosummary finds what it is to make pages of.
    write(Path(app.srcdir) / "reference")
    return {"parallel_read_safe": True, "parallel_write_safe": True}

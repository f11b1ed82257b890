"""Small pictures for the reference, drawn by the code that they show, when the site is built."""

import textwrap
from pathlib import Path

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from sphinx.application import Sphinx

import npnn
from npnn import initializers, layers, losses, schedules
from npnn.plots import style

FOLDER = "pictures"
X = np.linspace(-4.0, 4.0, 401)


def _curve(axes: Axes, x: np.ndarray, y: np.ndarray, label: str, number: int = 0) -> None:
    axes.plot(x, y, color=style.PALETTE[number], linewidth=2, label=label)


def _activation(axes: Axes, layer: npnn.Layer) -> None:
    _curve(axes, X, layer.forward(X), "y")
    _curve(axes, X, layer.backward(np.ones_like(X)), "dy/dx", 1)
    style.plain(axes, "x", "")


def _softmax(axes: Axes, layer: npnn.Softmax) -> None:
    x = np.stack([X, np.zeros_like(X), np.full_like(X, -1.0)], axis=-1)
    for n, values in enumerate(layer.forward(x).T):
        _curve(axes, X, values, f"y{n + 1}", n)
    style.plain(axes, "x1, beside x2 = 0 and x3 = -1", "")


def _regression_loss(axes: Axes, loss: losses.LossLayer) -> None:
    t = np.zeros_like(X)
    _curve(axes, X, loss.value(X, t), "value")
    _curve(axes, X, loss.derivative(X, t), "derivative", 1)
    style.plain(axes, "y - t", "")


def _binary_loss(axes: Axes, loss: losses.LossLayer) -> None:
    y = np.linspace(0.005, 0.995, 400)
    for t in (0.0, 1.0):
        _curve(axes, y, loss.value(y, np.full_like(y, t)), f"value, t = {t:g}", int(t))
    style.plain(axes, "y", "")


def _cross_entropy(axes: Axes, loss: losses.LossLayer) -> None:
    y = np.linspace(0.005, 0.995, 400)
    pair, t = np.stack([y, 1.0 - y], axis=-1), np.array([[1.0, 0.0]])
    _curve(axes, y, loss.value(pair, t).sum(axis=-1), "value")
    _curve(axes, y, loss.derivative(pair, t)[:, 0], "derivative", 1)
    axes.set_ylim(-8.0, 6.0)  # the derivative goes on to minus infinity
    style.plain(axes, "y of the right class", "")


def _divergence(axes: Axes, loss: losses.LossLayer) -> None:
    for number, variance in enumerate((0.25, 1.0, 4.0)):
        y = np.stack([X, np.full_like(X, variance)], axis=-1)
        _curve(axes, X, loss.value(y, y).sum(axis=-1), f"variance {variance:g}", number)
    style.plain(axes, "mean", "value")


def _schedule(axes: Axes, schedule: schedules.Schedule) -> None:
    factors = []
    for count in range(100):
        factors.append(schedule(count))
        schedule.observe(1.0 / (count + 1) if count < 20 else 0.05)
    axes.step(range(100), factors, where="post", color=style.FIRST, linewidth=2)
    axes.set_ylim(-0.04, 1.06)
    settings = repr(schedule).removesuffix(")").partition(", best")[0] + ")"
    title = textwrap.fill(settings, 56)
    axes.set_title(title, fontsize=9, color=style.QUIET)
    style.plain(axes, "count", "factor")


def _initializer(axes: Axes, initializer: initializers.Initializer) -> None:
    drawn = initializer(np.random.default_rng(0), (256, 128), 256, 128)
    bound = max(0.35, float(np.abs(drawn).max()))
    axes.hist(drawn.ravel(), bins=61, range=(-bound, bound), color=style.FIRST)
    spread = drawn.std()
    axes.set_title(f"256 inputs, 128 outputs: deviation {spread:.3f}", fontsize=9)
    style.plain(axes, "weight", "how many")


PICTURES = {
    **{
        f"npnn.{kind.__name__}": (_activation, kind())
        for kind in layers.Activation.__subclasses__()
        if kind is not npnn.Softmax and kind.__module__.startswith("npnn.")
    },
    "npnn.Softmax": (_softmax, npnn.Softmax()),
    "npnn.RMSLoss": (_regression_loss, npnn.RMSLoss()),
    "npnn.L1Loss": (_regression_loss, npnn.L1Loss()),
    "npnn.HuberLoss": (_regression_loss, npnn.HuberLoss()),
    "npnn.BinaryCrossEntropyLoss": (_binary_loss, npnn.BinaryCrossEntropyLoss()),
    "npnn.CrossEntropyLoss": (_cross_entropy, npnn.CrossEntropyLoss()),
    "npnn.KullbackLeiblerLoss": (_divergence, npnn.KullbackLeiblerLoss()),
    "npnn.ConstantRate": (_schedule, npnn.ConstantRate()),
    "npnn.StepDecay": (_schedule, npnn.StepDecay(every=30, factor=0.5)),
    "npnn.ExponentialDecay": (_schedule, npnn.ExponentialDecay(0.96)),
    "npnn.Cosine": (_schedule, npnn.Cosine(100, warm_up=10)),
    "npnn.ReduceOnPlateau": (_schedule, npnn.ReduceOnPlateau(factor=0.3, patience=10)),
    **{
        f"npnn.initializers.{kind.__name__}": (_initializer, kind())
        for kind in map(vars(initializers).get, initializers.Initializer.registry)
        if kind is not initializers.Constant
    },
}


def draw(folder: Path) -> None:
    """Write all pictures."""
    folder.mkdir(parents=True, exist_ok=True)
    for name, (painter, thing) in PICTURES.items():
        figure = Figure(figsize=(4.2, 2.7), dpi=110, layout="constrained", facecolor="white")
        axes = figure.add_subplot()
        painter(axes, thing)
        if axes.get_legend_handles_labels()[1]:
            axes.legend(frameon=False, fontsize=9)
        figure.savefig(folder / f"{name}.png")


WAY = (
    ("fit", "epochs,\ncallbacks"),
    ("batches", "order,\nrows, norm"),
    ("step", "forward, loss,\nbackward, update"),
    ("record", "once for each\nshape of a batch"),
    ("plan", "calls into memory\nlaid out before"),
    ("run", "NumPy, Numba,\nCUDA graph, XLA"),
)


def draw_way(folder: Path) -> None:
    """Draw the way of a batch, and write down the plan of a small model."""
    figure = Figure(figsize=(10.0, 2.3), dpi=110, layout="constrained", facecolor="white")
    axes = figure.add_subplot()
    axes.set_axis_off()
    axes.set(xlim=(-0.55, len(WAY) - 0.45), ylim=(-0.75, 1.05))
    for i, (name, said) in enumerate(WAY):
        colour = style.SECOND if name == "step" else style.FIRST
        box = {"boxstyle": "round,pad=0.5", "facecolor": "white", "edgecolor": colour}
        axes.text(i, 0.3, name, ha="center", va="center", fontsize=13, color=colour, bbox=box)
        axes.text(i, -0.15, said, ha="center", va="top", fontsize=9, color=style.QUIET)
        if i:
            arrow = {"arrowstyle": "->", "color": style.QUIET}
            axes.annotate("", (i - 0.3, 0.3), (i - 0.7, 0.3), arrowprops=arrow)
    axes.annotate(
        "", (1.0, 0.58), (5.0, 0.58),
        arrowprops={"arrowstyle": "->", "color": style.QUIET, "connectionstyle": "arc3,rad=0.05"},
    )  # fmt: skip
    axes.text(
        3.0, 0.93, "parameters, moments and state for the next batch", ha="center", fontsize=9
    )
    figure.savefig(folder / "batch.png")
    layers = [npnn.Dense(2, 4), npnn.Tanh(), npnn.Dense(4, 2), npnn.Softmax()]
    (folder / "plan.txt").write_text(npnn.Sequential(layers).plan(batch_size=16))


def _insert(app: Sphinx, what: str, name: str, thing: object, options, lines: list[str]) -> None:
    """Put the picture of a class behind its formulas, before its parameters."""
    if what != "class" or name not in PICTURES:
        return
    place = next((i for i, line in enumerate(lines) if line.startswith(":Parameters:")), len(lines))
    lines[place:place] = [
        "",
        f".. image:: /{FOLDER}/{name}.png",
        f"   :alt: A picture of {name}",
        "   :width: 420px",
        "",
    ]


def setup(app: Sphinx) -> dict[str, bool]:
    app.connect("builder-inited", lambda app: draw(Path(app.srcdir) / FOLDER))
    app.connect("builder-inited", lambda app: draw_way(Path(app.srcdir) / FOLDER))
    app.connect("autodoc-process-docstring", _insert, priority=900)  # after numpydoc
    return {"parallel_read_safe": True, "parallel_write_safe": True}
